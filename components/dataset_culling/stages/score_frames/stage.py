"""Student scoring: the raw student's boxes for every frame of the pool, from the camera's log if it has a record."""

from __future__ import annotations

import numpy as np

from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.frames import FrameReader, FrameTable
from dataset_culling.detectors.table import load_trainable
from dataset_culling.inference.detect import ScanLog, local_weights, scan
from dataset_culling.inference.logged_detections import Logged, read_logged
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.types import Detections, IntArray, parse_classes


def run(config: ScoreFramesConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames and the optional log, score each frame without a record, and write detections."""
    frames = FrameReader(inputs["frames"])
    frame_ids = frames.table.frame_ids
    classes = parse_classes(config.classes)
    watch = Stopwatch()
    logged = read_logged(config, frames.table, classes) if config.logged else Logged()
    seconds_reading = watch.seconds()
    rest = np.setdiff1d(np.arange(len(frame_ids)), np.fromiter(logged.images, np.int64))
    log = ScanLog()
    detections, seconds = None, 0.0
    if len(rest) or not logged.images:
        student = load_trainable(local_weights(config.student), device=context.device)
        watch = Stopwatch()
        detections = scan(
            frames, frame_ids[rest], student, classes,
            side_px=config.student.side_px, min_score=config.min_score, batch_size=config.batch_size,
            progress=context.progress, log=log, precision=config.precision, backend=config.backend,
            features=config.feature_maps or True if config.features else False,
        )  # fmt: skip
        seconds = watch.seconds()
    if logged.images:
        detections = _merge(frames.table, classes.names, logged, detections, rest)
    assert detections is not None
    write_detections(outputs["detections"], detections, context.origin(config, inputs))
    counts = {"frames": len(detections), "boxes": len(detections.scores)}
    figures = {"seconds_per_frame": seconds / max(log.num_looked, 1)}
    notes = list(log.notes)
    if config.logged:
        counts |= {
            "logged_frames": len(logged.images),
            "looked_at_frames": len(rest),
            "bad_log_lines": logged.num_bad_lines,
        }
        figures["seconds_reading_log"] = seconds_reading
        notes += [f"{len(logged.images):,} frames from the log, {len(rest):,} scored", *logged.notes]
    return StageReport(counts=counts, figures=figures, notes=tuple(notes))


def _merge(
    table: FrameTable, names: tuple[str, ...], logged: Logged, scored: Detections | None, rest: IntArray
) -> Detections:
    """Merge logged and scored frames, in frame order."""
    images = dict(logged.images)
    if scored is not None:
        images |= {int(row): scored.image(place) for place, row in enumerate(rest)}
    return Detections.from_images(
        [images[row] for row in range(len(table))], frame_ids=table.frame_ids, time_s=table.time_s, class_names=names
    )
