"""Open footage: probe files, put them in time order, index them and place them on one time axis."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from dataset_culling.errors import FootageError
from dataset_culling.footage.find import MODIFICATION_TIMES, Source, order_by_time
from dataset_culling.footage.index import index_packets
from dataset_culling.footage.probe import VideoInfo, probe
from dataset_culling.footage.timeline import Segment, lay_out


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
        sources: The files.
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
