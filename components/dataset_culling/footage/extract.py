"""Decode the samples of many files in parallel and yield them in time order.

The work is cut into pieces of a few dozen samples, each starting at a keyframe. Workers decode pieces ahead, and their
pictures are yielded strictly in order. Pieces do not depend on the number of workers, and so neither does the result. A
worker too far ahead waits: memory holds a few pieces at most, however long the footage.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from dataset_culling.footage.decode import DecodeOptions, Picture, VideoFile
from dataset_culling.footage.sample import Run, plan_pieces
from dataset_culling.footage.timeline import Samples, Segment

SAMPLES_PER_PIECE = 24
HELD_PER_PIECE = 48
"""Decoded pictures of a piece that may wait."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One sample: its time in the footage, its file, its picture."""

    time_s: float
    segment: int
    picture: Picture


@dataclass(frozen=True, slots=True)
class _Piece:
    segment: int
    runs: Sequence[Run]


def extract(
    segments: Sequence[Segment], samples: Samples, options: DecodeOptions, *, workers: int, held: int = HELD_PER_PIECE
) -> Iterator[Sampled]:
    """Decode the samples, in time order.

    Args:
        workers: Pieces decoded at once; at least 1.
        held: Pictures of a piece that may wait; memory holds at most `workers` + 2 times as many.

    Raises:
        FootageError: If a file changes during reading.
    """
    stop = threading.Event()
    files = _Files(segments, options)
    flying: deque[tuple[queue.Queue[Picture | None], Future[None], int]] = deque()
    try:
        with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
            try:
                for piece in _pieces(segments, samples):
                    out: queue.Queue[Picture | None] = queue.Queue(held)
                    flying.append((out, pool.submit(_decode, files, piece, out, stop), piece.segment))
                    if len(flying) > workers + 1:
                        yield from _drain(segments, *flying.popleft())
                while flying:
                    yield from _drain(segments, *flying.popleft())
            finally:
                stop.set()
                for _, future, _ in flying:
                    future.cancel()
    finally:
        files.close()


def _pieces(segments: Sequence[Segment], samples: Samples) -> Iterator[_Piece]:
    for row, segment in enumerate(segments):
        wanted = samples.packet[samples.segment == row]
        for runs in plan_pieces(segment.index, wanted, samples_per_piece=SAMPLES_PER_PIECE):
            yield _Piece(row, runs)


def _drain(
    segments: Sequence[Segment], out: queue.Queue[Picture | None], future: Future[None], row: int
) -> Iterator[Sampled]:
    segment = segments[row]
    while (picture := out.get()) is not None:
        yield Sampled(float(segment.index.time_s[picture.packet]) + segment.start_s, row, picture)
    future.result()


def _decode(files: _Files, piece: _Piece, out: queue.Queue[Picture | None], stop: threading.Event) -> None:
    try:
        for picture in files.of(piece.segment).pictures(piece.runs):
            _put(out, picture, stop)
            if stop.is_set():
                return
    finally:
        _put(out, None, stop)


def _put(out: queue.Queue[Picture | None], picture: Picture | None, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            out.put(picture, timeout=0.2)
        except queue.Full:
            continue
        return


class _Files:
    """Each worker's open file: consecutive pieces mostly belong to the same one."""

    def __init__(self, segments: Sequence[Segment], options: DecodeOptions) -> None:
        self._segments, self._options = segments, options
        self._open: dict[int, tuple[int, VideoFile]] = {}

    def of(self, row: int) -> VideoFile:
        """Return this worker's open file of a segment."""
        thread = threading.get_ident()
        held = self._open.get(thread)
        if held is not None and held[0] == row:
            return held[1]
        if held is not None:
            held[1].close()
        segment = self._segments[row]
        file = VideoFile(segment.info.path, segment.index, self._options)
        self._open[thread] = (row, file)
        return file

    def close(self) -> None:
        """Close all files; call it when no worker runs."""
        for _, file in self._open.values():
            file.close()
        self._open.clear()
