"""What a file holds, packet by packet, without decoding any: the ground on which sampling stands.

One pass over the file reads every packet's time, whether decoding can start at it, and whether the container knows it
to be broken. That costs a few microseconds a packet (a 20-minute file: 0.2 s; decoding it: 15 s) and buys exactness:
which frames are wanted is settled by their true times before the first is decoded, and so is what need not be decoded.

P = packets, in the order in which they lie in the file and go through the decoder (decode order).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from dataset_culling.footage.probe import open_video, video_stream
from dataset_culling.types import BoolArray, IntArray

NO_TIME = np.iinfo(np.int64).min
_RESTART_S = 0.5  # decode time falling by more is a clock that restarted; by less, a sloppy writer
_MAX_JUMP_S = 12 * 3600.0  # a clock that leaps further was set, and nothing is missing in between
_MAX_READ_ERRORS = 100  # in a row, without a packet


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The packets of one video stream; 26 bytes each, 54 MiB for a day in one file at 25 fps."""

    time_s: npt.NDArray[np.float64]  # (P,) seconds since the file's first frame; where not `timed`: in display order
    pts: IntArray  # (P,) as stored, NO_TIME where it is not
    position: IntArray  # (P,) byte offset in the file, -1 where the container does not tell
    keyframe: BoolArray  # (P,) decoding can start here
    shown: BoolArray  # (P,) False for packets that are only decoded (cut off by an edit list)
    timed: bool  # packets carry presentation times; else (AVI with B-frames) the n-th frame out has the n-th time
    read_errors: int  # how often the container could not be read on
    restarts: int  # how often the clock went back or leapt

    def __len__(self) -> int:
        return len(self.time_s)


def index_packets(path: Path) -> PacketIndex:
    """Read every packet of a file's video stream once, decoding none.

    Raises:
        FootageError: If the file is no video.
    """
    errors = ReadErrors()
    pts, dts, position, flags = [], [], [], []
    with open_video(path) as container:
        stream = video_stream(container, path)
        time_base = float(stream.time_base)
        for packet in packets_of(container, stream, errors):
            pts.append(NO_TIME if packet.pts is None else packet.pts)
            dts.append(NO_TIME if packet.dts is None else packet.dts)
            position.append(-1 if packet.pos is None else packet.pos)
            flags.append(packet.is_keyframe | packet.is_discard << 1)
    return _index(
        np.array(pts, np.int64),
        np.array(dts, np.int64),
        np.array(position, np.int64),
        np.array(flags, np.uint8),
        time_base,
        errors.count,
    )


@dataclass(slots=True)
class ReadErrors:
    """How often a container could not be read on."""

    count: int = 0


def packets_of(container: Any, stream: Any, errors: ReadErrors) -> Iterator[Any]:
    """The stream's packets from where the container stands, reading on past damage.

    Every reader of packets uses this one, so that the n-th packet is the same for all of them.
    """
    in_a_row = 0
    while in_a_row < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                if packet.size == 0:  # PyAV's own sign for the end of the stream
                    return
                in_a_row = 0
                yield packet
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            errors.count += 1
            in_a_row += 1
        else:
            return


def _index(
    pts: IntArray, dts: IntArray, position: IntArray, flags: npt.NDArray[np.uint8], time_base: float, read_errors: int
) -> PacketIndex:
    timed = bool(np.all(pts != NO_TIME))
    clock = np.where(dts != NO_TIME, dts, pts)
    known = clock != NO_TIME
    if not known.all():
        # A raw stream without a clock: packets without a time come right after the one before.
        step = int(np.median(np.diff(clock[known]))) if known.sum() > 2 else 1
        clock = _fill(clock, known, step)
    shift, restarts = _continuous(clock * time_base)
    shown_at = np.sort(clock * time_base + shift) if not timed else pts * time_base + shift
    keyframe, shown = (flags & 1).astype(np.bool_), (flags & 2) == 0
    if len(shown_at):
        shown_at = shown_at - (shown_at[shown].min() if shown.any() else shown_at.min())
    return PacketIndex(shown_at, pts, position, keyframe, shown, timed, read_errors, restarts)


def _fill(clock: IntArray, known: BoolArray, step: int) -> IntArray:
    last = np.maximum.accumulate(np.where(known, np.arange(len(clock)), -1))
    since = np.arange(len(clock)) - last
    base = np.where(last >= 0, clock[np.maximum(last, 0)], 0)
    return (base + since * step).astype(np.int64)


def _continuous(clock_s: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], int]:
    """What to add to each time so that a clock that restarts or leaps runs on where it was."""
    if len(clock_s) < 2:
        return np.zeros(len(clock_s)), 0
    steps = np.diff(clock_s)
    broken = (steps < -_RESTART_S) | (steps > _MAX_JUMP_S)
    usual = float(np.median(steps[~broken])) if (~broken).any() else 0.0
    return np.concatenate([[0.0], np.cumsum(np.where(broken, usual - steps, 0.0))]), int(broken.sum())
