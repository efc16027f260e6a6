"""Run a model on a video: boxes as JSON lines, COCO json and a video with the boxes drawn in."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
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

    def lines(self) -> Iterator[str]:
        """Yield lines of text."""
        values = self.values()
        yield from (str(file) for file in self.files)
        yield f"boxes: {', '.join(f'{name} {count:,}' for name, count in self.boxes.items())}"
        yield (
            f"{self.num_frames:,} frames of {self.footage_s:.1f} s in {self.seconds:.1f} s: "
            f"{values['frames_per_s']:.1f} frames/s, {values['x_real_time']:.1f} x real time "
            f"({self.served.detector.name} by {self.served.runner}; {self.seconds_ready:.1f} s to get ready)"
        )
        yield from (f"note: {note}" for note in self.notes)

    def values(self) -> dict[str, Any]:
        """Return values for JSON."""
        model, worked_s = self.served.model, max(self.seconds, 1e-9)
        return {
            "files": [str(file) for file in self.files], "detector": self.served.detector.name,
            "runner": self.served.runner, "model_digest": model.model_digest, "camera": model.camera,
            "version": model.version, "frames": self.num_frames, "damaged_frames": self.num_damaged,
            "boxes": self.boxes, "footage_s": self.footage_s, "seconds": self.seconds,
            "seconds_ready": self.seconds_ready, "frames_per_s": self.num_frames / worked_s,
            "x_real_time": self.footage_s / worked_s, "notes": self.notes,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """Options of `predict_video`."""

    out: Path  # folder of the results; files of these names are replaced, and those not asked for are removed
    draw: bool = True  # write a video with the boxes
    frames_per_second: float = 0.0  # frames per second of footage; 0: all
    formats: Sequence[str] = tuple(FORMATS)
    threshold: float | None = None  # least score for every class; None: the model's own
    batch_size: int = 8
    device: str = "auto"  # auto, cpu, cuda or cuda:N
    quiet: bool = True  # show no progress


def predict_video(model: str, videos: Sequence[str], options: PredictOptions) -> Predicted:
    """Run a model on a video and write its boxes. Memory does not grow with the video, but for its packet index.

    Args:
        model: See `serving.bundle.serve`.
        videos: Files, folders, globs, s3:// prefixes.
        options: The options.

    Raises:
        ConfigError: If an option does not fit the model.
        InputError: If model or footage is missing or cannot be used.
        StoreError: If the store does not give them.
        OutputError: If the results cannot be written.
    """
    watch = Stopwatch()
    extraction = ExtractFramesConfig()
    footage = read_footage(
        find_sources(videos),
        name_time=re.compile(extraction.name_time_pattern),
        zone=extraction.name_time_zone,
        workers=len(os.sched_getaffinity(0)),
    )
    rate = options.frames_per_second
    samples = choose(footage.segments, frames_per_second=rate or EVERY_FRAME, keyframe_slack_s=0.0)
    sizes = sorted({(segment.info.height_px, segment.info.width_px) for segment in footage.segments})
    served = serve(model, options.device, sizes=sizes, num_frames=len(samples))
    thresholds = _thresholds(model, served, options.threshold)
    files = [FORMATS[name][0] for name in options.formats] + ([VIDEO_FILE] if options.draw else [])
    every = [file for file, _ in FORMATS.values()] + [VIDEO_FILE]
    done = Predicted(served, tuple(options.out / file for file in files), notes=[*footage.notes, *served.notes])
    if note := thresholds.note():
        done.notes.append(note)
    header = LogHeader(
        model=served.model,
        class_names=served.detector.class_names,
        score_thresholds=dict(thresholds.scores),
        side_px=min(served.detector.network_size(*sizes[0], served.side_px)),
        start_utc=utc_text(footage.start) if footage.start else "",
        frames_per_second=rate,
        sources=tuple(str(segment.info.path) for segment in footage.segments),
        made_by=f"dataset-culling {__version__}",
    )
    done.seconds_ready = watch.seconds()
    watch = Stopwatch()
    native = footage.segments[0].frame_s  # of the first file
    shown_per_s = rate or (1 / native if native else 1.0)
    stale = [file for file in every if file not in files]
    with appearing_together(options.out, files, stale=stale) as paths, ExitStack() as stack:
        writers: list[LogWriter] = []
        for name, path in zip(options.formats, paths, strict=False):
            file = stack.enter_context(path.open("w", encoding="utf-8", newline="\n"))
            writers.append(stack.enter_context(closing(FORMATS[name][1](file, header))))
        video = stack.enter_context(draw_video(paths[-1], frames_per_second=shown_per_s)) if options.draw else None
        progress = stack.enter_context(show_progress("looking", quiet=options.quiet))
        # Closed before the video is: its thread may still draw.
        predictions = stack.enter_context(
            closing(_predictions(footage, samples, served, thresholds, options.batch_size, video, done))
        )
        for batch, boxes in predictions:
            for frame, found in zip(batch, boxes, strict=True):
                for writer in writers:
                    writer.add(frame.with_boxes(found))
            progress(done.num_frames + done.num_damaged, len(samples))
        for writer in writers:
            writer.finish()
    done.seconds = watch.seconds()
    # Footage with pictures, each stretch counted once.
    twice = sum(end - start for start, end in overlaps(footage.segments))
    paused = sum(end - start for segment in footage.segments for start, end in segment.pauses)
    done.footage_s = max(footage.recorded_s - twice - paused, 0.0)
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


def _predictions(
    footage: Footage, samples: Samples, served: Served, thresholds: Thresholds, batch_size: int,
    video: DrawnVideo | None, done: Predicted,
) -> Generator[tuple[list[_Frame], list[ImageDetections]], None, None]:  # fmt: skip
    """Run the network on the frames, batch by batch; a thread draws and encodes a batch while the next one is computed.

    Raises:
        FootageError: If no frame can be decoded.
    """
    names = served.detector.class_names
    least = np.array([thresholds.scores[name] for name in names], np.float32)
    counts = np.zeros(len(names), np.int64)
    drawing: Future[None] | None = None
    frames = _frames(footage, samples, done)
    with ThreadPoolExecutor(1, thread_name_prefix="draw") as drawer:
        while batch := list(itertools.islice(frames, batch_size)):
            images = [frame.image for frame in batch]
            boxes = served.detector.predict(
                images, side_px=served.side_px, min_score=float(least.min()), batch_size=batch_size
            )
            boxes = [found.rows(found.scores >= least[found.class_ids]) for found in boxes]
            counts += sum(np.bincount(found.class_ids, minlength=len(names)) for found in boxes)
            if video is not None:
                if drawing is not None:
                    drawing.result()  # one batch at a time, so that none pile up
                drawing = drawer.submit(_draw, video, batch, boxes, names)
            done.num_frames += len(batch)
            yield batch, boxes
        if drawing is not None:
            drawing.result()
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


def _draw(video: DrawnVideo, batch: Sequence[_Frame], boxes: Sequence[ImageDetections], names: Sequence[str]) -> None:
    for frame, found in zip(batch, boxes, strict=True):
        video.add(draw_boxes(frame.image, found, names), frame.time_s)
