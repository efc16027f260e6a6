"""Open footage: probe and index its files, place them on one time axis, and choose samples over all of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dataset_culling.errors import FootageError
from dataset_culling.footage.find import MODIFICATION_TIMES, Source, order_by_time
from dataset_culling.footage.index import PacketIndex, index_packets
from dataset_culling.footage.probe import VideoInfo, probe
from dataset_culling.footage.sample import choose_samples, sampling_cell
from dataset_culling.types import IntArray

_MISSING_S = 2.0  # shortest missing stretch; it is also ten times the usual step between frames
_OVERLAP_S = 0.1  # shorter overlaps, or shorter than two frames, are rounding

Stretch = tuple[float, float]
"""(start_s, end_s) of the footage."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file on the footage's time axis, whose zero is the first frame of the first file."""

    info: VideoInfo
    index: PacketIndex
    start_s: float
    length_s: float  # to the end of its last frame
    frame_s: float  # the usual time between two frames
    pauses: tuple[Stretch, ...]  # stretches without frames inside the file

    @property
    def end_s(self) -> float:
        """End of its last frame."""
        return self.start_s + self.length_s

    @property
    def truncated_s(self) -> float:
        """Seconds missing from the duration in the header; 0.0 within a second, which is rounding."""
        less = self.info.duration_s - self.length_s
        return less if less > max(1.0, 2 * self.frame_s) and not self.index.restarts else 0.0


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of the footage, in time order. K = samples."""

    time_s: npt.NDArray[np.float64]  # (K,) ascending, at most one a millisecond
    segment: IntArray  # (K,)
    packet: IntArray  # (K,) row of the segment's index

    def __len__(self) -> int:
        return len(self.time_s)

    def take(self, rows: npt.NDArray[np.bool_] | IntArray) -> Samples:
        """Select some of the samples."""
        return Samples(self.time_s[rows], self.segment[rows], self.packet[rows])


@dataclass(frozen=True, slots=True)
class Footage:
    """All segments, in time order."""

    segments: tuple[Segment, ...]
    start: datetime | None  # wall clock of the first frame, in UTC; None: unknown
    left_out: tuple[str, ...]  # files of a folder that are not videos, each with the reason
    notes: tuple[str, ...]  # for display

    @property
    def recorded_s(self) -> float:
        """Seconds of video; overlaps count twice."""
        return sum(segment.length_s for segment in self.segments)


def read_footage(sources: Sequence[Source], *, name_time: re.Pattern[str], zone: str, workers: int) -> Footage:
    """Probe, order, index and lay out files.

    Args:
        name_time: Pattern of the start time in a file's name; see `find.time_in_name`.
        zone: IANA name of the time zone of names.
        workers: Files read at once.

    Raises:
        FootageError: If an explicitly named file is not a video, no file is one, or no file holds a frame.
    """
    with ThreadPoolExecutor(workers) as pool:
        probed = list(pool.map(_try_probe, sources))
        for source, found in zip(sources, probed, strict=True):
            if isinstance(found, FootageError) and (source.explicit or len(sources) == 1):
                raise found
        usable = [source for source, found in zip(sources, probed, strict=True) if isinstance(found, VideoInfo)]
        infos = [found for found in probed if isinstance(found, VideoInfo)]
        problems = [found for found in probed if isinstance(found, FootageError)]
        if not usable:
            raise problems[0]
        order, starts, how = order_by_time(usable, infos, pattern=name_time, zone=zone)
        infos = [infos[row] for row in order]
        indices = list(pool.map(index_packets, [info.path for info in infos]))
    segments = tuple(segment for segment in lay_out(infos, indices, starts) if segment.index.shown.any())
    if not segments:
        raise FootageError(f"{infos[0].path}: the video stream has no frames. Copy the file again.")
    notes = [f"left out: {problem}" for problem in problems]
    if len(infos) > 1:
        notes.append(f"{len(infos)} files, {how}")
    start = None if how == MODIFICATION_TIMES else starts[0]
    return Footage(segments, start, tuple(str(problem) for problem in problems), tuple(notes))


def _try_probe(source: Source) -> VideoInfo | FootageError:
    try:
        return probe(source.path)
    except FootageError as error:
        return error


def lay_out(
    infos: Sequence[VideoInfo], indices: Sequence[PacketIndex], starts: Sequence[datetime | None]
) -> list[Segment]:
    """Place files, given in time order, on the time axis; a file without a start follows the one before."""
    segments: list[Segment] = []
    for info, index, start in zip(infos, indices, starts, strict=True):
        begin_s = segments[-1].end_s if segments else 0.0
        if start is not None and starts[0] is not None:
            begin_s = (start - starts[0]).total_seconds()
        segments.append(_segment(info, index, begin_s))
    return segments


def _segment(info: VideoInfo, index: PacketIndex, start_s: float) -> Segment:
    time_s = np.sort(index.time_s[index.shown])
    steps = np.diff(time_s)
    frame_s = float(np.median(steps)) if len(steps) else 0.0
    length_s = float(time_s[-1]) + frame_s if len(time_s) else 0.0
    at = np.flatnonzero(steps >= max(_MISSING_S, 10 * frame_s))
    pauses = tuple((start_s + float(time_s[i]) + frame_s, start_s + float(time_s[i + 1])) for i in at)
    return Segment(info, index, start_s, length_s, frame_s, pauses)


def choose(segments: Sequence[Segment], *, frames_per_second: float, keyframe_slack_s: float) -> Samples:
    """Choose the samples of the whole footage; where files overlap, the earlier one counts to its end."""
    found = [Samples(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))]
    covered_s = -np.inf
    last_cell = -1
    for row, segment in enumerate(segments):
        packets = choose_samples(
            segment.index,
            start_s=segment.start_s,
            frames_per_second=frames_per_second,
            keyframe_slack_s=keyframe_slack_s,
            not_before_s=covered_s,
            after_cell=last_cell,
        )
        time_s = segment.index.time_s[packets] + segment.start_s
        found.append(Samples(time_s, np.full(len(packets), row, np.int64), packets))
        covered_s = max(covered_s, segment.end_s)
        if len(packets):
            last_cell = int(sampling_cell(time_s[-1:], frames_per_second)[0])
    samples = Samples(
        np.concatenate([part.time_s for part in found]),
        np.concatenate([part.segment for part in found]),
        np.concatenate([part.packet for part in found]),
    )
    # A frame id is a millisecond; the first frame in it stands for the others.
    return samples.take(np.diff(np.rint(samples.time_s * 1000), prepend=-1) > 0)


def missing_stretches(segments: Sequence[Segment]) -> list[Stretch]:
    """List the stretches without frames, between files and within them."""
    missing: list[Stretch] = []
    covered_s = 0.0
    for segment in segments:
        if segment.start_s - covered_s >= max(_MISSING_S, 10 * segment.frame_s):
            missing.append((covered_s, segment.start_s))
        missing += segment.pauses
        covered_s = max(covered_s, segment.end_s)
    return missing


def overlaps(segments: Sequence[Segment]) -> list[Stretch]:
    """List the stretches that two files cover."""
    found: list[Stretch] = []
    covered_s = -np.inf
    for segment in segments:
        if covered_s - segment.start_s > max(2 * segment.frame_s, _OVERLAP_S):
            found.append((segment.start_s, min(covered_s, segment.end_s)))
        covered_s = max(covered_s, segment.end_s)
    return found
