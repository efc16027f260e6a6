"""Detect and count damaged frames.

Thumbnails are full-range Y, U, V, shape (3, H, W); each value is the average of its part of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataset_culling.footage.decode import Picture

SHOWN = ("grey", "green", "black")
SKIPPABLE = ("corrupt", *SHOWN, "frozen")
KINDS = (*SKIPPABLE, "truncated")
"""corrupt: broken data on the decoder's way to the frame. grey, green: missing parts, filled by the recorder or the
decoder with mid-grey or zeros. black: no light at all. frozen: the same picture bit for bit for longer than a live
sensor's noise allows. truncated: the file ends before the duration in its header."""

_GREEN_MOST = 16  # U and V this low together lie outside of RGB
_GREEN_SHARE = 0.05
_GREY_LUMA = (126, 132)  # 128 as stored is 128 or, from limited range, 130
_GREY_CHROMA = 2
_GREY_SHARE = 0.25
_BLACK_MOST = 12  # a lamp of four pixels lifts its part of the thumbnail above this


def picture_damage(thumb_yuv: npt.NDArray[np.uint8]) -> str:
    """Classify the damage visible in a thumbnail, (3, H, W): 'green', 'grey', 'black', or '' for no damage."""
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
class DamageLog:
    """Checks samples in time order; counts damage by kind and records its stretches."""

    skipped: frozenset[str]  # kinds whose samples are not used
    frozen_min_s: float  # identical pictures for this long are a frozen camera
    join_s: float  # damage of one kind at most this far apart is one stretch
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    stretches: list[dict[str, float | str | int]] = field(default_factory=list)
    _last_crc32: int = -1
    _same_since_s: float = 0.0

    def is_usable(self, picture: Picture, time_s: float) -> bool:
        """Check a sample and return True if it is to be used; call it for every sample, in time order."""
        kind = self._kind(picture, time_s)
        if kind:
            self.add(kind, time_s)
        return bool(picture.jpeg) and kind not in self.skipped

    def _kind(self, picture: Picture, time_s: float) -> str:
        if picture.corrupt or not picture.jpeg:
            return "corrupt"
        if picture.crc32 != self._last_crc32:
            self._last_crc32, self._same_since_s = picture.crc32, time_s
        stands = time_s > self._same_since_s and time_s - self._same_since_s >= self.frozen_min_s
        return picture_damage(picture.thumb_yuv) or ("frozen" if stands else "")

    def add(self, kind: str, start_s: float, *, end_s: float | None = None, samples: int = 1) -> None:
        """Count damaged samples of one stretch of time."""
        self.counts[kind] += samples
        until_s = start_s if end_s is None else end_s
        for stretch in reversed(self.stretches[-len(KINDS) :]):
            if stretch["kind"] == kind and start_s - float(stretch["end_s"]) <= self.join_s:
                stretch.update(end_s=until_s, samples=int(stretch["samples"]) + samples)
                return
        self.stretches.append({"kind": kind, "start_s": start_s, "end_s": until_s, "samples": samples})

    @property
    def lost(self) -> int:
        """Samples lost: skipped or never recorded. Frozen ones do not count, as they repeat a kept one."""
        gone = (self.skipped | {"truncated"}) - {"frozen"}
        return sum(self.counts[kind] for kind in gone)

    def summary(self) -> str:
        """Format the counts by kind for display."""
        return ", ".join(f"{count} {kind}" for kind, count in self.counts.items() if count) or "none damaged"
