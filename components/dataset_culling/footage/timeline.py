"""Segments laid on one time axis, their overlaps and the stretches that are missing, and the samples to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from dataset_culling.footage.packets import PacketIndex
from dataset_culling.footage.probe import VideoInfo
from dataset_culling.footage.sampling import choose_samples, sampling_cell
from dataset_culling.types import IntArray

_MISSING_S = 2.0  # a pause between frames at least this long, and ten times the usual one, is a missing stretch


@dataclass(frozen=True, slots=True)
class Segment:
    """One file on the footage's time axis, whose zero is the first frame of the first file."""

    info: VideoInfo
    index: PacketIndex
    start_s: float

    @property
    def frame_s(self) -> float:
        """The usual time between two frames."""
        times = np.sort(self.index.time_s[self.index.shown])
        steps = np.diff(times)
        return float(np.median(steps)) if len(steps) else 0.0

    @property
    def end_s(self) -> float:
        """When its last frame ceases to be shown."""
        times = self.index.time_s[self.index.shown]
        return self.start_s + (float(times.max()) + self.frame_s if len(times) else 0.0)

    @property
    def truncated_s(self) -> float:
        """How much less there is than the header promises; 0.0 within a second."""
        less = self.info.duration_s - (self.end_s - self.start_s)
        return less if less > max(1.0, 2 * self.frame_s) and not self.index.restarts else 0.0


@dataclass(frozen=True, slots=True)
class Samples:
    """What to take from the footage, in time order. K = samples."""

    time_s: npt.NDArray[np.float64]  # (K,)
    segment: IntArray  # (K,)
    packet: IntArray  # (K,)


def lay_out(
    infos: Sequence[VideoInfo], indices: Sequence[PacketIndex], starts: Sequence[datetime | None]
) -> list[Segment]:
    """Place files, given in time order, on the time axis; one without a start comes right after the one before."""
    segments: list[Segment] = []
    for info, index, start in zip(infos, indices, starts, strict=True):
        first = starts[0]
        if start is not None and first is not None:
            begin = (start - first).total_seconds()
        else:
            begin = segments[-1].end_s if segments else 0.0
        segments.append(Segment(info, index, begin))
    return segments


def choose(segments: Sequence[Segment], *, frames_per_second: float, keyframe_slack_s: float) -> Samples:
    """The samples of the whole footage; where files overlap, the earlier one is believed to its end."""
    times, rows, packets = [np.zeros(0)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    covered_s = -np.inf
    last_cell = -1
    for row, segment in enumerate(segments):
        chosen = choose_samples(
            segment.index,
            start_s=segment.start_s,
            frames_per_second=frames_per_second,
            keyframe_slack_s=keyframe_slack_s,
            not_before_s=covered_s,
            after_cell=last_cell,
        )
        time_s = segment.index.time_s[chosen] + segment.start_s
        times.append(time_s)
        rows.append(np.full(len(chosen), row, np.int64))
        packets.append(chosen)
        covered_s = max(covered_s, segment.end_s)
        if len(chosen):
            last_cell = int(sampling_cell(time_s[-1:], frames_per_second)[0])
    return Samples(np.concatenate(times), np.concatenate(rows), np.concatenate(packets))


def missing_stretches(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Stretches without frames, between files and within them, as (start_s, end_s)."""
    missing: list[tuple[float, float]] = []
    covered_s = 0.0
    for segment in segments:
        least = max(_MISSING_S, 10 * segment.frame_s)
        if segment.start_s - covered_s >= least:
            missing.append((covered_s, segment.start_s))
        times = np.sort(segment.index.time_s[segment.index.shown]) + segment.start_s
        pauses = np.flatnonzero(np.diff(times) >= least)
        missing += [(float(times[at]) + segment.frame_s, float(times[at + 1])) for at in pauses]
        covered_s = max(covered_s, segment.end_s)
    return missing


def overlaps(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Stretches that two files cover, as (start_s, end_s); less than a frame's time is rounding."""
    found: list[tuple[float, float]] = []
    covered_s = -np.inf
    for segment in segments:
        if covered_s - segment.start_s > max(2 * segment.frame_s, 0.1):
            found.append((segment.start_s, min(covered_s, segment.end_s)))
        covered_s = max(covered_s, segment.end_s)
    return found
