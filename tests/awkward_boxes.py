"""Boxes on which evaluations tend to disagree: equal scores, equal overlaps, ignore regions, classes without truth."""

from __future__ import annotations

import numpy as np

from builders import random_truth, seen_badly
from dataset_culling.types import Detections

AWKWARD = {
    "ordinary": {},
    "equal scores and overlaps": {"grid": 50},
    "ignore regions": {"ignored_share": 0.4},
    "equal scores in ignore regions": {"grid": 50, "ignored_share": 0.4},
    "crowded": {"boxes_per_frame": 40, "grid": 25, "ignored_share": 0.1},
    "many classes, mostly without truth": {"num_classes": 40, "boxes_per_frame": 2},
    "hardly anything there": {"boxes_per_frame": 0.1},
}


def data(name: str, seed: int, *, num_frames: int = 40, false_per_frame: float = 3) -> tuple[Detections, Detections]:
    rng = np.random.default_rng(seed)
    truth = random_truth(rng, num_frames, **AWKWARD[name])
    grid = AWKWARD[name].get("grid", 0)
    return seen_badly(rng, truth, false_per_frame=false_per_frame, grid=grid), truth
