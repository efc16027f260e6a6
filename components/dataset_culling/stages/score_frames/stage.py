"""Student scoring: the raw student's boxes for every frame of the pool."""

from __future__ import annotations

from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.detectors.table import load_trainable
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.detecting import ScanLog, local_weights, scan
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.types import parse_classes


def run(config: ScoreFramesConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames, look at each, write detections."""
    frames = FrameReader(inputs["frames"])
    student = load_trainable(local_weights(config.student), device=context.device)
    log = ScanLog()
    watch = Stopwatch()
    detections = scan(
        frames,
        frames.table.frame_ids,
        student,
        parse_classes(config.classes),
        side_px=config.student.side_px,
        min_score=config.min_score,
        batch_size=config.batch_size,
        progress=context.progress,
        log=log,
        precision=config.precision,
        features=config.features,
        backend=config.backend,
    )
    seconds = watch.seconds()
    write_detections(outputs["detections"], detections, context.origin(config, inputs))
    return StageReport(
        counts={"frames": len(detections), "boxes": len(detections.scores)},
        figures={"seconds_per_frame": seconds / max(log.num_looked, 1)},
        notes=tuple(log.notes),
    )
