"""Teacher labeling: the teacher's boxes for the frames of a selection, or for all frames where none is given."""

from __future__ import annotations

import dataclasses

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_detector
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.detecting import ScanLog, local_weights, scan
from dataset_culling.stages.label_frames.config import LabelFramesConfig
from dataset_culling.types import parse_classes


def run(config: LabelFramesConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames, look at the selected ones, write labels."""
    frames = FrameReader(inputs["frames"])
    frame_ids = frames.table.frame_ids
    if "selection" in inputs:
        frame_ids = np.sort(read_selection(inputs["selection"]).frame_ids)
    teacher = load_detector(local_weights(config.teacher), device=context.device)
    log = ScanLog()
    watch = Stopwatch()
    boxes = scan(
        frames,
        frame_ids,
        teacher,
        parse_classes(config.classes),
        side_px=config.teacher.side_px,
        min_score=config.doubtful_score,
        batch_size=config.batch_size,
        progress=context.progress,
        log=log,
        precision=config.precision,
    )
    seconds = watch.seconds()
    labels = dataclasses.replace(boxes, ignore=boxes.scores < config.min_score)
    rows = np.searchsorted(frames.table.frame_ids, frame_ids)
    write_labels(
        outputs["labels"],
        labels,
        frames.table.width_px[rows].astype(np.int64),
        frames.table.height_px[rows].astype(np.int64),
        context.origin(config, inputs),
    )
    return StageReport(
        counts={
            "frames": len(labels),
            "boxes": int((~labels.ignore).sum()),
            "doubtful_boxes": int(labels.ignore.sum()),
        },
        figures={"seconds_per_frame": seconds / max(log.num_looked, 1)},
        notes=tuple(log.notes),
    )
