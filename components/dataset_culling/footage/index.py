"""Index a video's packets without decoding them, as the basis of sampling.

One pass over the file reads every packet's time, keyframe flag and damage flag. It costs a few microseconds a packet
(a 20-minute file: 0.2 s; decoding it: 15 s). Samples are then chosen by true times before the first frame is decoded,
and packets that no sample needs are never decoded.

P = packets, in the order in which they lie in the file and go through the decoder (decode order).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from dataset_culling.footage.paths import VideoPath
from dataset_culling.footage.probe import open_video, video_stream
from dataset_culling.types import BoolArray, IntArray

NO_TIME = np.iinfo(np.int64).min
_RESTART_S = 0.5  # a keyframe earlier than its predecessor by more than this: the clock restarted
_MAX_JUMP_S = 12 * 3600.0  # a longer leap is a clock being set, without missing footage
_MAX_READ_ERRORS = 100  # in a row, without a packet


@dataclass(frozen=True, slots=True)
class PacketIndex:
    """The packets of one video stream; 17 bytes each, 35 MiB for a day at 25 fps."""

    time_s: npt.NDArray[np.float64]  # (P,) seconds since the file's first frame; unless `timed`: in display order
    pts: IntArray  # (P,) as stored; NO_TIME: not stored
    shown: BoolArray  # (P,) False: decoded only, cut off by an edit list
    starts: IntArray  # (G,) rows at which decoding can start: keyframes and row 0
    start_position: IntArray  # (G,) their byte offsets in the file; -1: unknown
    broken: IntArray  # (B,) rows that the container marks as damaged or that follow lost data
    timed: bool  # packets carry presentation times; else (AVI with B-frames) the n-th frame out has the n-th time
    read_errors: int  # failed reads of the container
    restarts: int  # times that the clock went back or leapt

    def __len__(self) -> int:
        return len(self.time_s)

    def start_before(self, row: int) -> int:
        """Return the position in `starts` of the last start at or before a row."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1


def index_packets(path: VideoPath) -> PacketIndex:
    """Read every packet of a file's video stream once, decoding none.

    Raises:
        FootageError: If the file is not a video.
    """
    errors = ReadErrors()
    pts, dts, starts, start_position, hidden, broken = (array("q") for _ in range(6))
    with open_video(path) as container:
        stream = video_stream(container, path)
        time_base = float(stream.time_base)
        frame_s = 1 / float(stream.average_rate or stream.guessed_rate or 25)
        # AVI stores decoding times only. FFmpeg mistakes them for presentation times where H.264 and H.265 reorder
        # frames.
        reordered = container.format.name == "avi" and stream.codec_context.has_b_frames
        clockless = reordered and stream.codec_context.name in ("h264", "hevc")
        # A truncated AVI has lost its index, and FFmpeg then calls every packet a keyframe.
        doubtful = container.format.name == "avi" and not stream.codec_context.codec.intra_only
        for row, packet in enumerate(packets_of(container, stream, errors)):
            pts.append(NO_TIME if packet.pts is None else packet.pts)
            dts.append(NO_TIME if packet.dts is None else packet.dts)
            if packet.is_keyframe or row == 0:
                starts.append(row)
                start_position.append(-1 if packet.pos is None else packet.pos)
            if packet.is_discard:
                hidden.append(row)
            if packet.is_corrupt:
                broken.append(row)
    if doubtful and len(starts) == len(pts):
        del starts[1:], start_position[1:]
    shown = np.ones(len(pts), np.bool_)
    shown[_array(hidden)] = False
    times = _array(pts)
    timed = not clockless and bool(np.all(times != NO_TIME))
    if timed:
        time_s, restarts = _continuous(np.asarray(times * time_base, np.float64), _array(starts))
    else:
        time_s, restarts = np.sort(_filled(_array(dts), frame_s / time_base) * time_base), 0
    if shown.any():
        time_s -= time_s[shown].min()
    return PacketIndex(
        time_s=time_s,
        pts=times,
        shown=shown,
        starts=_array(starts),
        start_position=_array(start_position),
        broken=_array(broken),
        timed=timed,
        read_errors=errors.count,
        restarts=restarts,
    )


def _array(values: array[int]) -> IntArray:
    return np.frombuffer(values, np.int64) if len(values) else np.zeros(0, np.int64)


@dataclass(slots=True)
class ReadErrors:
    """A counter of failed reads."""

    count: int = 0


def packets_of(container: Any, stream: Any, errors: ReadErrors) -> Iterator[Any]:
    """Yield the stream's packets from the container's position, reading on past damage.

    All readers use this function, so that the n-th packet is the same for all of them.
    """
    in_a_row = 0
    while in_a_row < _MAX_READ_ERRORS:
        try:
            for packet in container.demux(stream):
                if packet.size == 0:  # PyAV's end-of-stream packet
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


def _filled(clock: IntArray, step: float) -> npt.NDArray[np.float64]:
    """Fill each missing time with the one before plus a step; a raw stream has no times at all."""
    rows = np.arange(len(clock))
    last = np.maximum.accumulate(np.where(clock != NO_TIME, rows, -1))
    base = np.where(last >= 0, clock[np.maximum(last, 0)], 0)
    return np.asarray(base + (rows - last) * step, np.float64)


def _continuous(time_s: npt.NDArray[np.float64], starts: IntArray) -> tuple[npt.NDArray[np.float64], int]:
    """Put times on one clock: a clock set back or far ahead at a keyframe continues from its last time."""
    if len(time_s) < 2:
        return time_s, 0
    sizes = np.diff(np.append(starts, len(time_s)))
    longest = int(np.argmax(sizes))
    steps = np.diff(np.sort(time_s[starts[longest] : starts[longest] + sizes[longest]]))
    usual = float(np.median(steps)) if len(steps) else 0.0
    latest = np.maximum.reduceat(time_s, starts)
    shift = np.zeros(len(starts))
    restarts = 0
    end = latest[0]
    for group in range(1, len(starts)):
        shift[group] = shift[group - 1]
        step = time_s[starts[group]] + shift[group] - end
        if step < -_RESTART_S or step > _MAX_JUMP_S:
            shift[group] += usual - step
            restarts += 1
        end = max(end, latest[group] + shift[group])
    if restarts:
        time_s = time_s + np.repeat(shift, sizes)
    return time_s, restarts
