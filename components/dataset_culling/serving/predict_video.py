"""Run a model on a video: boxes as JSON lines, COCO json and a video with the boxes drawn in."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataset_culling import __version__
from dataset_culling.artifacts.detection_log import FORMATS, VIDEO_FILE, LoggedFrame, LogHeader, LogWriter
from dataset_culling.artifacts.frames import frame_id_of
from dataset_culling.errors import ConfigError, FootageError
from dataset_culling.footage.decode import DecodeOptions
from dataset_culling.footage.extract import extract
from dataset_culling.footage.find import find_sources, utc_text
from dataset_culling.footage.timeline import Footage, Samples, choose, overlaps, read_footage
from dataset_culling.report.drawing import draw_boxes
from dataset_culling.report.progress import show_progress
from dataset_culling.serving.bundle import Served, Thresholds, serve
from dataset_culling.serving.overlay import DrawnVideo, draw_video
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.storage.atomic import appearing_together
from dataset_culling.types import ImageArray, ImageDetections

EVERY_FRAME = 1000.0
"""Frames per second that keep every frame, as a frame is identified by its millisecond."""

MOST_WAITING_BYTES = 128 * 2**20
"""Bytes of decoded pictures that may wait for the network."""

MOST_DECODERS = 4


@dataclass(slots=True)
class Predicted:
    """Files, counts and timings of a prediction."""

    served: Served
    files: tuple[Path, ...]
    notes: list[str] = field(default_factory=list)
    boxes: dict[str, int] = field(default_factory=dict)  # by class
    num_frames: int = 0
    num_damaged: int = 0  # frames that the decoder could not decode whole; skipped
    footage_s: float = 0.0  # without stretches that are missing
    seconds: float = 0.0  # from the first frame to the last file, without loading the model
    seconds_ready: float = 0.0  # loading the model and indexing the video

    @property
    def frames_per_s(self) -> float:
        """Frames per second of work."""
        return self.num_frames / max(self.seconds, 1e-9)

    @property
    def x_real_time(self) -> float:
        """Seconds of footage per second of work."""
        return self.footage_s / max(self.seconds, 1e-9)

    def lines(self) -> Iterator[str]:
        """Return lines of text."""
        yield from (str(file) for file in self.files)
        yield f"boxes: {', '.join(f'{name} {count:,}' for name, count in self.boxes.items())}"
        yield (
            f"{self.num_frames:,} frames of {self.footage_s:.1f} s in {self.seconds:.1f} s: {self.frames_per_s:.1f} "
            f"frames/s, {self.x_real_time:.1f} x real time ({self.served.detector.name} by {self.served.runner}; "
            f"{self.seconds_ready:.1f} s to get ready)"
        )
        yield from (f"note: {note}" for note in self.notes)

    def values(self) -> dict[str, Any]:
        """Return values for JSON."""
        return {
            "files": [str(file) for file in self.files],
            "detector": self.served.detector.name,
            "runner": self.served.runner,
            "model_digest": self.served.model.model_digest,
            "camera": self.served.model.camera,
            "version": self.served.model.version,
            "frames": self.num_frames,
            "damaged_frames": self.num_damaged,
            "boxes": self.boxes,
            "footage_s": self.footage_s,
            "seconds": self.seconds,
            "seconds_ready": self.seconds_ready,
            "frames_per_s": self.frames_per_s,
            "x_real_time": self.x_real_time,
            "notes": self.notes,
        }


def predict_video(
    model: str,
    videos: Sequence[str],
    *,
    out: Path,
    draw: bool = True,
    frames_per_second: float = 0.0,
    formats: Sequence[str] = tuple(FORMATS),
    threshold: float | None = None,
    batch_size: int = 8,
    device: str = "auto",
    quiet: bool = True,
) -> Predicted:
    """Run a model on a video and write its boxes. Memory does not grow with the video, but for its packet index.

    Args:
        model: See `serving.serve`.
        videos: Files, folders, globs, s3:// prefixes.
        out: Folder of the results; files of these names are replaced, and those not asked for are removed.
        draw: Whether to write a video with the boxes.
        frames_per_second: Frames to run on per second of footage; 0: all.
        formats: Keys of `detection_log.FORMATS`.
        threshold: Least score for every class; None: the model's own.
        batch_size: Frames in a batch.
        device: auto, cpu, cuda or cuda:N.
        quiet: Show no progress.

    Raises:
        ConfigError: If an option does not fit the model.
        InputError: If model or footage is missing or cannot be used.
        StoreError: If the store does not give them.
        OutputError: If the results cannot be written.
    """
    watch = Stopwatch()
    how = ExtractFramesConfig()
    footage = read_footage(
        find_sources(videos),
        name_time=re.compile(how.name_time_pattern),
        zone=how.name_time_zone,
        workers=len(os.sched_getaffinity(0)),
    )
    samples = choose(footage.segments, frames_per_second=frames_per_second or EVERY_FRAME, keyframe_slack_s=0.0)
    sizes = sorted({(segment.info.height_px, segment.info.width_px) for segment in footage.segments})
    served = serve(model, device, sizes=sizes, num_frames=len(samples))
    thresholds = _thresholds(model, served, threshold)
    names = [FORMATS[name][0] for name in formats] + ([VIDEO_FILE] if draw else [])
    every = [file for file, _ in FORMATS.values()] + [VIDEO_FILE]
    done = Predicted(served, tuple(out / name for name in names), notes=[*footage.notes, *served.notes])
    if note := thresholds.note():
        done.notes.append(note)
    header = LogHeader(
        model=served.model,
        class_names=served.detector.class_names,
        score_thresholds=dict(thresholds.scores),
        side_px=min(served.detector.network_size(*sizes[0], served.side_px)),
        start_utc=utc_text(footage.start) if footage.start else "",
        frames_per_second=frames_per_second,
        sources=tuple(str(segment.info.path) for segment in footage.segments),
        made_by=f"dataset-culling {__version__}",
    )
    done.seconds_ready = watch.seconds()
    watch = Stopwatch()
    shown_per_s = frames_per_second or _native_rate(footage)
    with (
        appearing_together(out, names, stale=[name for name in every if name not in names]) as paths,
        ExitStack() as stack,
    ):
        writers: list[LogWriter] = []
        for name, path in zip(formats, paths, strict=False):
            file = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
            writers.append(stack.enter_context(closing(FORMATS[name][1](file, header))))
        video = stack.enter_context(draw_video(paths[-1], frames_per_second=shown_per_s)) if draw else None
        progress = stack.enter_context(show_progress("looking", quiet=quiet))
        _look(footage, samples, served, thresholds, batch_size, writers, video, progress, done)
        for writer in writers:
            writer.finish()
    done.seconds = watch.seconds()
    done.footage_s = _shown_s(footage)
    if done.num_damaged:
        done.notes.append(f"{done.num_damaged:,} damaged frames were left out")
    return done


def parse_formats(text: str) -> tuple[str, ...]:
    """Keys of `detection_log.FORMATS` out of 'jsonl,coco'.

    Raises:
        ConfigError: If a format is unknown.
    """
    wanted = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not wanted or set(wanted) - set(FORMATS):
        raise ConfigError(f"--format {text}: expected {', '.join(FORMATS)} or several of them, joined by commas.")
    return wanted


def _thresholds(model: str, served: Served, threshold: float | None) -> Thresholds:
    if threshold is None:
        return served.thresholds
    if threshold < served.floor:
        raise ConfigError(
            f"--threshold {threshold:g}: expected at least {served.floor:g}, below which {model} gives no boxes."
        )
    return Thresholds(dict.fromkeys(served.detector.class_names, threshold))


@dataclass(frozen=True, slots=True)
class _Frame:
    """A decoded frame."""

    number: int
    time_s: float
    source: int
    image: ImageArray

    def with_boxes(self, found: ImageDetections) -> LoggedFrame:
        height_px, width_px = self.image.shape[:2]
        return LoggedFrame(
            self.number, frame_id_of(self.time_s), self.time_s, width_px, height_px, found, source=self.source
        )


def _look(
    footage: Footage,
    samples: Samples,
    served: Served,
    thresholds: Thresholds,
    batch_size: int,
    writers: Sequence[LogWriter],
    video: DrawnVideo | None,
    progress: Callable[[int, int], None],
    done: Predicted,
) -> None:
    """Decode, look, write; pictures are drawn and encoded in a thread while the network looks at the next ones.

    Raises:
        FootageError: If no frame can be decoded.
    """
    names = served.detector.class_names
    least = np.array([thresholds.scores[name] for name in names], np.float32)
    counts = np.zeros(len(names), np.int64)
    with _behind() as behind:
        for batch in _batches(_frames(footage, samples, done), batch_size):
            boxes = served.detector.predict(
                [frame.image for frame in batch],
                side_px=served.side_px,
                min_score=float(least.min()),
                batch_size=batch_size,
            )
            boxes = [found.rows(found.scores >= least[found.class_ids]) for found in boxes]
            for frame, found in zip(batch, boxes, strict=True):
                for writer in writers:
                    writer.add(frame.with_boxes(found))
                counts += np.bincount(found.class_ids, minlength=len(names))
            if video is not None:
                behind(functools.partial(_draw, video, batch, boxes, names))
            done.num_frames += len(batch)
            progress(done.num_frames + done.num_damaged, len(samples))
    if not done.num_frames:
        raise FootageError(
            f"{footage.segments[0].info.path}: expected frames that can be decoded, found {done.num_damaged} damaged "
            f"ones. Copy the file again."
        )
    done.boxes = dict(zip(names, counts.tolist(), strict=True))


def _frames(footage: Footage, samples: Samples, done: Predicted) -> Iterator[_Frame]:
    """Frames in time order; damaged ones are counted and left out, as extraction leaves them out of training."""
    largest = max(segment.info.height_px * segment.info.width_px for segment in footage.segments)
    workers = min(MOST_DECODERS, len(os.sched_getaffinity(0)))
    held = max(2, min(24, MOST_WAITING_BYTES // (3 * largest * (workers + 2))))
    options = DecodeOptions(jpeg_quality=92, max_side_px=0, nvdec=False, strict=True, rgb=True)
    number = 0
    for sample in extract(footage.segments, samples, options, workers=workers, held=held):
        if sample.picture.corrupt or not sample.picture.rgb.size:
            done.num_damaged += 1
            continue
        yield _Frame(number, sample.time_s, sample.segment, sample.picture.rgb)
        number += 1


def _batches(frames: Iterator[_Frame], size: int) -> Iterator[list[_Frame]]:
    while batch := list(itertools.islice(frames, size)):
        yield batch


def _draw(video: DrawnVideo, batch: Sequence[_Frame], boxes: Sequence[ImageDetections], names: Sequence[str]) -> None:
    for frame, found in zip(batch, boxes, strict=True):
        video.add(draw_boxes(frame.image, found, names), frame.time_s)


@contextmanager
def _behind() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Does work in a thread, one piece after another: a new one is taken when the last is done, so none pile up."""
    last: Future[None] | None = None

    def work(piece: Callable[[], None]) -> None:
        nonlocal last
        if last is not None:
            last.result()
        last = pool.submit(piece)

    with ThreadPoolExecutor(1, thread_name_prefix="draw") as pool:
        yield work
        if last is not None:
            last.result()


def _native_rate(footage: Footage) -> float:
    """Frames per second as recorded, of the first file."""
    frame_s = footage.segments[0].frame_s
    return 1 / frame_s if frame_s else 1.0


def _shown_s(footage: Footage) -> float:
    """Seconds of footage that there are pictures of, each counted once."""
    twice = sum(end - start for start, end in overlaps(footage.segments))
    paused = sum(end - start for segment in footage.segments for start, end in segment.pauses)
    return max(footage.recorded_s - twice - paused, 0.0)
