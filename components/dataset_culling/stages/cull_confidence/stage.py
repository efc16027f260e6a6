"""Confidence cull: the frames with the least certain student boxes (paper, section 2.1, first stage)."""

from __future__ import annotations

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.errors import InputError
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.cull_confidence.config import CullConfidenceConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.table import find_strategy


def run(config: CullConfidenceConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read the student's detections, choose frames, write the selection."""
    path = inputs["detections"]
    detections = read_detections(path, features=True)
    if not detections.scored.all():
        raise InputError(
            f"{path}: {int((~detections.scored).sum())} of {len(detections)} frames are not scored. "
            f"Re-run score-frames."
        )
    watch = Stopwatch()
    selection = config.choose(CullInput(detections))
    seconds = watch.seconds()
    if len(selection) == 0:
        raise InputError(f"{path}: there are no frames to choose from. Check the footage and its rate.")
    if find_strategy(config.strategy).reads_scores and not selection.loss.any():
        raise InputError(
            f"{path}: the student found no box that counts in {len(detections)} frames, so they cannot be ranked. "
            f"Check the footage and the classes ({', '.join(detections.class_names)}), lower score_frames.min_score "
            f"and min_score in the cull's options, or set cull_confidence.strategy to uniform."
        )
    write_selection(outputs["selection"], selection, context.origin(config, inputs))
    return StageReport(
        counts={
            "frames": len(detections),
            "frames_with_boxes": int((detections.offsets[1:] > detections.offsets[:-1]).sum()),
            "kept": len(selection),
        },
        figures={"select_seconds": seconds},
    )
