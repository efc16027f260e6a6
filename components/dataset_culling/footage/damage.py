"""Pictures that are no pictures: what damage looks like on a thumbnail, and who counts it.

Thumbnails are full-range Y, U, V, shape (3, H, W), each value the average of its part of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

KINDS = ("corrupt", "grey", "green", "black", "frozen", "truncated")
"""corrupt: the decoder met broken data on the way to the frame. grey, green: parts never arrived, and the recorder or
the decoder filled them with mid-grey or with zeros. black: no light at all. frozen: the same picture again, bit for
bit. truncated: the file ends before the time that its header promises."""

_GREEN_MOST = 16  # U and V this low together lie outside of what RGB can show
_GREEN_SHARE = 0.05
_GREY_LUMA = (126, 132)  # 128 as stored is 128 or, from limited range, 130
_GREY_CHROMA = 2
_GREY_SHARE = 0.25
_BLACK_MOST = 12  # a lamp of four pixels lifts its part of the thumbnail above this


def picture_damage(thumb_yuv: npt.NDArray[np.uint8]) -> str:
    """The kind of damage that a picture shows: 'green', 'grey', 'black', or '' for none.

    Args:
        thumb_yuv: Full-range Y, U, V, shape (3, H, W).
    """
    luma, blue, red = thumb_yuv.astype(np.int16)
    if np.mean((blue < _GREEN_MOST) & (red < _GREEN_MOST)) >= _GREEN_SHARE:
        return "green"
    neutral = (np.abs(blue - 128) <= _GREY_CHROMA) & (np.abs(red - 128) <= _GREY_CHROMA)
    middle = (luma >= _GREY_LUMA[0]) & (luma <= _GREY_LUMA[1])
    # A wall can be grey, but light falls off along it; filled-in blocks equal their neighbours exactly.
    flat = np.zeros_like(middle)
    flat[:-1, :-1] = (luma[1:, :-1] == luma[:-1, :-1]) & (luma[:-1, 1:] == luma[:-1, :-1])
    if np.mean(neutral & middle & flat) >= _GREY_SHARE:
        return "grey"
    return "black" if luma.max() <= _BLACK_MOST else ""


@dataclass(slots=True)
class FrozenWatch:
    """Notices pictures that repeat bit for bit for longer than a live sensor's noise allows."""

    min_s: float
    _crc32: int = -1
    _since_s: float = 0.0

    def is_frozen(self, crc32: int, time_s: float) -> bool:
        """Whether this picture has been standing for at least `min_s`; call it for every picture, in order."""
        if crc32 != self._crc32:
            self._crc32, self._since_s = crc32, time_s
        return time_s > self._since_s and time_s - self._since_s >= self.min_s


@dataclass(slots=True)
class DamageLog:
    """Damaged samples by kind, and the stretches of footage in which they lie."""

    join_s: float  # damage of one kind no further apart than this is one stretch
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    stretches: list[dict[str, float | str | int]] = field(default_factory=list)

    def add(self, kind: str, time_s: float, *, until_s: float | None = None, samples: int = 1) -> None:
        """Count damage at a time, or from it to `until_s`."""
        self.counts[kind] += samples
        end_s = time_s if until_s is None else until_s
        for stretch in reversed(self.stretches[-len(KINDS) :]):
            if stretch["kind"] == kind and time_s - float(stretch["end_s"]) <= self.join_s:
                stretch["end_s"] = end_s
                stretch["samples"] = int(stretch["samples"]) + samples
                return
        self.stretches.append({"kind": kind, "start_s": time_s, "end_s": end_s, "samples": samples})

    def lost(self, skipped: Mapping[str, bool]) -> int:
        """Samples that are gone: all of the kinds that are skipped, but for frozen ones, which repeat a kept one."""
        return sum(count for kind, count in self.counts.items() if kind != "frozen" and skipped.get(kind, True))
