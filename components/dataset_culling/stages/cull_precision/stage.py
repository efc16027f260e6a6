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
                f"{inputs[name]}: {absent.size} of the {len(frame_ids)} selected frames have no {name}, "
                f"frame {absent[0]} the first. Pass {name} and selection of the same run."
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
            f"{inputs['labels']}: the teacher is sure of no object in {len(frame_ids)} frames, so there is nothing to "
            f"learn. Check the footage and the classes ({', '.join(labels.class_names)}), or lower "
            f"label_frames.min_score."
        )
    trusted = _trusted_rows(inputs["labels"], teacher, frame_ids, config.min_trust)
    num_doubtful = len(pool) - len(trusted)
    pool, labels = pool.take(trusted), labels.take(trusted)
    watch = Stopwatch()
    kept = config.choose(pool)
    seconds = watch.seconds()
    chosen = pool.take(np.sort(pool.detections.rows_of(kept.frame_ids)))
    if not np.any(~chosen.require_labels().ignore):
        raise InputError(
            f"{inputs['labels']}: the {len(kept)} frames kept hold no object to learn, while the others hold "
            f"{int((~labels.ignore).sum())}. Raise cull_precision.budget."
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


def _trusted_rows(path: Path, teacher: Detections, frame_ids: IntArray, min_trust: float) -> IntArray:
    """Return the rows of `frame_ids` (K,) with enough trust; all if labels/1 at `path` holds no trust."""
    frame_trust = read_frame_trust(path)
    if frame_trust is None:
        return np.arange(len(frame_ids))
    trust = frame_trust[teacher.rows_of(frame_ids)]
    rows = np.flatnonzero(trust >= min_trust)
    if len(rows) == 0:
        raise InputError(
            f"{path}: the teacher agrees with itself to at most {trust.max():.2f} in {len(trust)} frames, less than "
            f"{min_trust:g}. Lower cull_precision.min_trust, or use another teacher."
        )
    return rows


def _mean_ap(pool: CullInput, counted: PrecisionConfig) -> float:
    student = pool.detections.keep_boxes(counted.mask(pool.detections))
    return float(per_image_ap(student, pool.require_labels(), iou=counted.iou).mean())
