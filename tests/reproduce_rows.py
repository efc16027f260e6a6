"""Rows of a reproduction by hand: one second a frame for the teacher, a tenth for the student, 0.01 to train once."""

from __future__ import annotations

import math
from typing import Any

from experiments.reproduce.arms import ARMS
from experiments.reproduce.results import Row

TEACHER_S, STUDENT_S, STEP_S, EPOCHS = 1.0, 0.1, 0.01, 20


def row(
    arm: str, agreement: float, *, size: int = 128, camera: str = "street", frames: int = 1000, **changes: Any
) -> Row:
    """A cell whose costs follow from its arm; `agreement` in points."""
    how = ARMS[arm]
    kept = size if how.sized else frames if how.trains else 0
    labelled = {"none": 0, "kept": kept, "pool": min(frames, 4 * kept), "all": frames}[how.labels]
    values: dict[str, Any] = {
        "camera": camera, "group": "surveillance", "arm": arm, "size": size if how.sized else 0,
        "opt_resolution": "off", "variant": "plain", "seed": 0, "frames": frames, "pool": frames, "labelled": labelled,
        "trained_on": kept, "epochs": EPOCHS if how.trains else 0, "passes": float(EPOCHS if how.trains else 0),
        "heldout_frames": 100,
        "agreement": agreement / 100, "accuracy": math.nan, "raw_agreement": 0.6, "raw_accuracy": math.nan,
        "teacher_accuracy": math.nan, "student_s": STUDENT_S, "teacher_s": TEACHER_S, "step_s": STEP_S,
        "scored_s": STUDENT_S * frames if how.scores else 0.0, "labelled_s": labelled * TEACHER_S, "select_s": 0.0,
        "opt_s": 0.0, "training_s": kept * EPOCHS * STEP_S, "scale": 1.0, "side_px": 288, "gflops": 2.0,
        "gflops_full": 2.0, "object_px": 40.0, "device": "cpu",
    }  # fmt: skip
    return Row(**{**values, **changes})
