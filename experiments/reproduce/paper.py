"""The paper's figures, to stand beside ours. Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173).

mAP in points at IoU 0.5 against the teacher; hours of one K80.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableOne:
    """One group's rows of Table 1: columns are target sizes, 0 is the full data set."""

    frames: int
    map_points: Mapping[int, float]
    total_h: Mapping[int, float]
    training_h: Mapping[int, float]
    student_h: Mapping[int, float]
    teacher_h: Mapping[int, float]
    times: Mapping[int, int]  # speed-up against the full data set, as printed
    untrained_points: float


TABLE_1: Mapping[str, TableOne] = {
    "surveillance": TableOne(
        86_400,
        {64: 85.56, 128: 88.3, 256: 89.3, 0: 88.5},
        {64: 1.9, 128: 2.0, 256: 2.2, 0: 104},
        {64: 0.07, 128: 0.14, 256: 0.28, 0: 96},
        {64: 1.54, 128: 1.54, 256: 1.54, 0: 0},
        {64: 0.33, 128: 0.33, 256: 0.33, 0: 8},
        {64: 54, 128: 50, 256: 47},
        58.6,
    ),
    "sports": TableOne(
        3_600,
        {64: 93.7, 128: 93.8, 256: 93.8, 0: 93.8},
        {64: 0.16, 128: 0.23, 256: 0.40, 0: 2.5},
        {64: 0.07, 128: 0.14, 256: 0.28, 0: 2},
        {64: 0.06, 128: 0.06, 256: 0.06, 0: 0},
        {64: 0.03, 128: 0.03, 256: 0.06, 0: 0.5},
        {64: 16, 128: 11, 256: 6},
        80.7,
    ),
}

TABLE_2: Mapping[str, tuple[float, float]] = {
    "uniform": (73.1, 0.15),
    "confidence-sum": (91.1, 1.7),
    "precision": (95.4, 8.0),
    "confidence+precision": (94.8, 2.0),
    "full": (95.8, 104),
}
"""Arm -> mAP and hours, Jackson, n = 128."""

MISSED: Mapping[str, str] = {"confidence-sum": "more than 50 %", "confidence+precision": "20 %"}
"""Arm -> what it misses of the frames that precision alone keeps."""

FIGURE_3: Mapping[str, tuple[float, float, float, float, float, float]] = {
    "Coral": (78.2, 90.2, 89.6, 28, 7, 0.5),
    "Jackson": (71.3, 94.8, 93.2, 28, 18, 0.8),
    "Kentucky": (52.7, 81.6, 80.7, 28, 18, 0.8),
}
"""Scene -> mAP untrained, trained (n = 128), trained with optResolution; GFLOPs full and chosen; the scale they mean.

Figure 4 prints the scales of Coral and Jackson; Kentucky's follows from its GFLOPs.
"""

TIMES = 47
"""The claim: this many times cheaper at 86,400 frames and n = 256, at no loss."""
