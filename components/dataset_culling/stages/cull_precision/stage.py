"""Precision cull: the frames on which student and teacher agree least (paper, section 2.1, second stage)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.labels import read_frame_trust, read_labels
from dataset_culling.artifacts.selection import read_selection, write_selection
from dataset_culling.errors import InputError
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.cull_precision.config import CullPrecisionConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.precision_loss import PrecisionConfig, per_image_ap
from dataset_culling.types import Detections, IntArray


def run(config: CullPrecisionConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read detections, labels and the first cull's selection; choose frames among those; write what is kept."""
    frame_ids = np.sort(read_selection(inputs["selection"]).frame_ids)
    student, teacher = read_detections(inputs["detections"], features=True), read_labels(inputs["labels"])
    for name, boxes in (("detections", student), ("labels", teacher)):
        if (absent := np.setdiff1d(frame_ids, boxes.frame_ids[boxes.scored])).size:
            raise InputError(
                f"{inputs[name]}: expected {name} of the {len(frame_ids)} selected frames, found none for "
                f"{absent.size} of them, frame {absent[0]} the first. Pass {name} and selection of the same run."
            )
    if student.class_names != teacher.class_names:
        raise InputError(
            f"{inputs['labels']}: expected the student's classes ({', '.join(student.class_names)}), found "
            f"{', '.join(teacher.class_names)}. Pass detections and labels of the same run."
        )
    pool = CullInput(student.take(student.rows_of(frame_ids)), teacher.take(teacher.rows_of(frame_ids)))
    labels = pool.require_labels()
    if not np.any(~labels.ignore):
        raise InputError(
            f"{inputs['labels']}: expected objects to learn, found none: the teacher is sure of nothing in "
            f"{len(frame_ids)} frames. Check the footage and the classes ({', '.join(labels.class_names)}), or lower "
            f"label_frames.min_score."
        )
    believed = believed_rows(inputs["labels"], teacher, frame_ids, config.min_trust)
    num_doubtful = len(pool) - len(believed)
    pool, labels = pool.take(believed), labels.take(believed)
    watch = Stopwatch()
    kept = config.choose(pool)
    seconds = watch.seconds()
    chosen = pool.take(np.sort(pool.detections.rows_of(kept.frame_ids)))
    if not np.any(~chosen.require_labels().ignore):
        raise InputError(
            f"{inputs['labels']}: expected objects to learn in the {len(kept)} frames kept, found none, though the "
            f"teacher saw {int((~labels.ignore).sum())} in the others. Raise cull_precision.budget."
        )
    counted = PrecisionConfig.model_validate(config.options.get("precision", {}))
    write_selection(outputs["kept"], kept, context.origin(config, inputs))
    return StageReport(
        counts={
            "frames": len(pool),
            **({"doubtful_frames": num_doubtful} if num_doubtful else {}),
            "kept": len(kept),
            "teacher_boxes_kept": int((~chosen.require_labels().ignore).sum()),
        },
        figures={
            "select_seconds": seconds,
            "mean_ap": _mean_ap(pool, counted),
            "mean_ap_kept": _mean_ap(chosen, counted),
        },
    )


def believed_rows(path: Path, teacher: Detections, frame_ids: IntArray, min_trust: float) -> IntArray:
    """Which of the frames to choose from the teacher is believed on.

    Args:
        path: The labels/1 artifact.
        teacher: Its labels, read.
        frame_ids: The frames to choose from, ascending, shape (K,).
        min_trust: Least agreement of the teacher with itself.

    Returns:
        Rows of `frame_ids`: all of them where no trust was written.

    Raises:
        InputError: If there is none.
    """
    of_all = read_frame_trust(path)
    if of_all is None:
        return np.arange(len(frame_ids))
    trust = of_all[teacher.rows_of(frame_ids)]
    rows = np.flatnonzero(trust >= min_trust)
    if len(rows) == 0:
        raise InputError(
            f"{path}: expected frames on which the teacher agrees with itself to {min_trust:g}, found at most "
            f"{trust.max():.2f} in {len(trust)} frames. Lower cull_precision.min_trust, or use another teacher."
        )
    return rows


def _mean_ap(pool: CullInput, counted: PrecisionConfig) -> float:
    student = pool.detections.keep_boxes(counted.mask(pool.detections))
    return float(per_image_ap(student, pool.require_labels(), iou=counted.iou).mean())
