"""Data of a finished run for the report. The stage `render-report` reads it from the artifacts.

N = frames of the pool, L = labelled frames, H = held-out frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_culling.artifacts.decision import Decision
from dataset_culling.artifacts.labels import WorstBox
from dataset_culling.artifacts.resolution import Resolution
from dataset_culling.artifacts.timing import Timing
from dataset_culling.types import Detections, FloatArray, ImageArray, IntArray, Selection

TASK_NAMES: Mapping[str, str] = {
    "extract-frames": "Frame extraction",
    "recall-replay": "Earlier nights",
    "score-frames": "Student scoring",
    "cull-confidence": "Confidence cull",
    "label-selection": "Teacher labeling",
    "cull-precision": "Precision cull",
    "choose-resolution": "optResolution",
    "train-student": "Student training",
    "train-control": "Control arm",
    "label-heldout": "Teacher labeling (held-out)",
    "evaluate-student": "Evaluation",
    "promote-student": "Promotion",
    "keep-night": "Keeping the night",
    "render-report": "Report",
}
"""Display names of the tasks, in the order of the run. A test compares them with the graph, which lies above the
report."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one part of the footage, in time order."""

    frame_ids: IntArray  # (N,) ascending
    time_s: npt.NDArray[np.float64]  # (N,) seconds from the start of the footage
    start_utc: str  # ISO 8601, or "" if unknown
    image: Callable[[int], ImageArray]  # frame id -> RGB (H, W, 3)
    footage: Mapping[str, Any] = field(default_factory=dict)  # the footage report; any key may be missing

    def __len__(self) -> int:
        return len(self.frame_ids)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of one artifact."""

    output: str  # "task.output"
    schema: str
    made_by: str
    digest: str  # SHA-256 of its header
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    counts: Mapping[str, int]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that the page and the summary are made from."""

    camera: str
    pool: Frames
    heldout: Frames
    scored: Detections  # the raw student on the pool
    selection: Selection  # the shortlist: kept by the confidence cull
    selected_by: str  # name of that cull's strategy
    pool_loss: FloatArray | None  # the confidence cull's loss of every pool frame, (N,); None: unknown
    labels: Detections  # the teacher on the shortlist
    worst: Sequence[WorstBox]  # labels that the teacher's second pass hardly confirms; empty without a second pass
    kept: Selection  # kept by the precision cull
    kept_by: str  # name of that cull's strategy
    label_loss: FloatArray | None  # the precision cull's loss of every labelled frame, (L,); None: unknown
    resolution: Resolution
    student: str
    teacher: str
    training: Mapping[str, Any]  # the model card's record: epochs, losses by epoch
    heldout_labels: Detections  # the teacher on the held-out frames
    raw: Detections  # the raw student on the held-out frames
    trained: Detections  # the trained student on the held-out frames
    metrics: Mapping[str, float]
    decision: Decision
    costs: Mapping[str, Timing]  # task -> its timing; tasks without one are missing
    provenance: Sequence[Provenance]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The camera's classes."""
        return self.labels.class_names
