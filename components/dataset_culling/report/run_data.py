"""A finished run as the report sees it: arrays and small records, read from artifacts by the stage.

N = frames of the pool, L = labelled frames. Records that artifacts hold already are taken as they are: the protocols
name what is asked of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

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
"""What people call the tasks, in the order of the run. The graph has them too, but lies above the report."""


class ScalePoint(Protocol):
    """One input size that optResolution tried."""

    @property
    def scale(self) -> float: ...
    @property
    def side_px(self) -> int: ...
    @property
    def loss_change(self) -> float: ...
    @property
    def gflops(self) -> float: ...
    @property
    def map_50(self) -> float: ...  # agreement with the teacher; -1 where it was not measured


class ScaleChoice(Protocol):
    """What optResolution chose, and the curve behind it."""

    @property
    def scale(self) -> float: ...
    @property
    def side_px(self) -> int: ...
    @property
    def full_side_px(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def gflops_full(self) -> float: ...
    @property
    def gflops_chosen(self) -> float: ...
    @property
    def reason(self) -> str: ...
    @property
    def judge(self) -> str: ...  # "loss" or "ap"
    @property
    def curve(self) -> Sequence[ScalePoint]: ...


class DoubtedBox(Protocol):
    """A label that the teacher hardly finds again when it looks another way."""

    @property
    def frame_id(self) -> int: ...
    @property
    def time_s(self) -> float: ...
    @property
    def class_name(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def trust(self) -> float: ...
    @property
    def box_xyxy(self) -> Sequence[float]: ...
    @property
    def ignored(self) -> bool: ...


class TaskCost(Protocol):
    """What one task of the run took."""

    @property
    def seconds(self) -> float: ...
    @property
    def peak_rss_mib(self) -> float: ...
    @property
    def device(self) -> str: ...
    @property
    def counts(self) -> Mapping[str, int]: ...
    @property
    def figures(self) -> Mapping[str, float]: ...
    @property
    def notes(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of one part of the footage, in time order."""

    frame_ids: IntArray  # (N,) ascending
    time_s: npt.NDArray[np.float64]  # (N,) seconds from the start of the footage
    start_utc: str  # ISO 8601, or "" where nothing tells it
    image: Callable[[int], ImageArray]  # frame id -> RGB (H, W, 3)
    footage: Mapping[str, Any] = field(default_factory=dict)  # the footage report; any key may be missing

    def __len__(self) -> int:
        return len(self.frame_ids)


class GateCheck(Protocol):
    """One check of the promotion gate."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...  # tonight, class, hour, night or check
    @property
    def passed(self) -> bool | None: ...  # None: told, but not judged
    @property
    def text(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the trained student was promoted."""

    promoted: bool
    reason: str
    version: int = 0  # in the registry; 0 where there is none
    checks: Sequence[GateCheck] = ()  # every check of the gate, in the order in which it was made


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where one artifact comes from."""

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
    """All that the page and the summary are made from."""

    camera: str
    pool: Frames
    heldout: Frames
    scored: Detections  # the raw student on the pool
    selection: Selection  # kept by the confidence cull
    selected_by: str  # the strategy that kept them
    pool_loss: FloatArray | None  # the confidence cull's loss of every pool frame, (N,); None: not known here
    labels: Detections  # the teacher on those
    worst: Sequence[DoubtedBox]  # labels that the teacher itself hardly stands by; empty where it was not asked again
    kept: Selection  # kept by the precision cull
    kept_by: str  # the strategy that kept them
    label_loss: FloatArray | None  # the precision cull's loss of every labelled frame, (L,); None: not known here
    resolution: ScaleChoice
    student: str
    teacher: str
    training: Mapping[str, Any]  # the model card's record: epochs, losses by epoch
    heldout_labels: Detections  # the teacher on the held-out frames
    raw: Detections  # the raw student on the held-out frames
    trained: Detections
    metrics: Mapping[str, float]
    decision: Decision
    costs: Mapping[str, TaskCost]  # task -> what it took; tasks without a timing are missing
    provenance: Sequence[Provenance]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The camera's classes."""
        return self.labels.class_names
