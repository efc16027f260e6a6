"""The interface of a strategy, and the functions that strategies share.

N = frames, M = boxes over all frames, C = classes, D = length of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.types import BoolArray, Detections, FloatArray, IntArray, Selection

Float64Array = npt.NDArray[np.float64]
Aggregation = Literal["sum", "mean", "max"]
GRID = 2.0**36


@dataclass(frozen=True, slots=True)
class CullInput:
    """The pool: frames to choose from, with the same N frames in the same order in every column.

    Raises:
        ValueError: If the student has not scored a frame, or the labels belong to other frames.
    """

    detections: Detections  # the student's boxes; with features if the student kept them
    labels: Detections | None = None  # the teacher's boxes

    def __post_init__(self) -> None:
        require_scored(self.detections)
        if self.labels is not None:
            require_same_frames(self.detections, self.labels)

    def __len__(self) -> int:
        return len(self.detections)

    @property
    def time_s(self) -> Float64Array:
        """Seconds from the start of the footage, shape (N,)."""
        return self.detections.time_s

    def require_labels(self) -> Detections:
        """Return the teacher's boxes, or raise ValueError without them."""
        if self.labels is None:
            raise ValueError("this strategy needs the teacher's labels, and the pool has none")
        return self.labels

    def take(self, rows: IntArray) -> CullInput:
        """Keep only the frames in the given rows, which must ascend."""
        return CullInput(self.detections.take(rows), None if self.labels is None else self.labels.take(rows))


class Select(Protocol):
    """The function of a strategy: choose frames."""

    def __call__(
        self, pool: CullInput, *, budget: int, min_gap_s: float, rng: np.random.Generator, config: Any
    ) -> Selection:
        """Choose at most `budget` frames, no two closer than `min_gap_s`, best first.

        Args:
            pool: The frames to choose from.
            budget: Most frames to keep; at least 1.
            min_gap_s: Least seconds between two kept frames; 0 turns spacing off.
            rng: Source of randomness, for strategies that use any.
            config: The strategy's own options, of the class that the table names.

        Returns:
            The kept frames; `loss` is the value they were ranked by, larger first.

        Raises:
            ValueError: If `budget` is below 1 or the pool lacks a column that the strategy needs.
        """


@dataclass(frozen=True, slots=True)
class Strategy:
    """One row of the table."""

    name: str
    select: Select
    config: type[StageConfig]
    summary: str
    reads_scores: bool = True  # ranks by the student's boxes alone, so without boxes the choice has no meaning
    needs_labels: bool = False  # ranks by the teacher's boxes
    keeps_all: bool = False  # ignores the budget

    @property
    def folder(self) -> str:
        """The name of its folder and module."""
        return self.name.replace("-", "_").replace("+", "_")


class NoOptions(StageConfig):
    """Options of a strategy that has none."""


class BoxFilter(StageConfig):
    """Bounds of the student boxes that count."""

    min_score: float = Field(0.2, ge=0, le=1, description="Student boxes scoring less do not count.")
    min_side_px: float = Field(0.0, ge=0, description="Student boxes whose shorter side is less do not count.")

    def mask(self, detections: Detections) -> BoolArray:
        """Mark the boxes that are not ignored, score enough and are large enough, shape (M,)."""
        mask = ~detections.ignore & (detections.scores >= np.float32(self.min_score))
        if self.min_side_px > 0:
            sides = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
            mask &= sides.min(axis=1, initial=np.inf) >= self.min_side_px
        return mask


def require_scored(detections: Detections) -> None:
    """Raise ValueError if the student has not scored a frame: such a frame is unknown, not empty."""
    if not detections.scored.all():
        missing = detections.frame_ids[~detections.scored]
        raise ValueError(f"frame {missing[0]} was not scored ({len(missing)} of {len(detections)} were not)")


def require_same_frames(detections: Detections, labels: Detections) -> None:
    """Raise ValueError if student and teacher boxes are of different frames or classes."""
    if detections.class_names != labels.class_names:
        raise ValueError(
            f"student and teacher must have the same classes, got {', '.join(detections.class_names)} and "
            f"{', '.join(labels.class_names)}"
        )
    if len(detections) != len(labels) or np.any(detections.frame_ids != labels.frame_ids):
        odd = np.setxor1d(detections.frame_ids, labels.frame_ids)
        raise ValueError(
            f"student and teacher must have the same frames, got {len(detections)} and {len(labels)}; "
            f"frame {odd[0]} is only in one of them"
        )
    require_scored(detections)
    require_scored(labels)


def gather(
    detections: Detections,
    box_loss: FloatArray,
    mask: BoolArray,
    *,
    aggregation: Aggregation = "sum",
    per_class: bool = False,
    class_weights: Mapping[str, float] | None = None,
) -> Float64Array:
    """Combine the losses of boxes into losses of frames.

    Args:
        detections: N frames, M boxes.
        box_loss: Loss of each box, shape (M,).
        mask: Boxes that count, shape (M,).
        aggregation: Sum, mean or maximum over a frame's boxes.
        per_class: Combine each class on its own, divide by its standard deviation over the frames, then add the
            classes. (The paper's released code also subtracts the mean, which moves every frame alike.)
        class_weights: Class name -> factor of its boxes' losses; 1 for a class without an entry.

    Returns:
        Loss of each frame, shape (N,); 0 for a frame without a box that counts. The order of a frame's boxes changes
        no bit.

    Raises:
        ValueError: If `class_weights` names an unknown class.
    """
    class_weights = class_weights or {}
    if unknown := sorted(set(class_weights) - set(detections.class_names)):
        raise ValueError(f"class_weights names {unknown[0]}, known classes are {', '.join(detections.class_names)}")
    weights = np.array([class_weights.get(name, 1.0) for name in detections.class_names])
    rows, losses = detections.frame_rows()[mask], np.asarray(box_loss, np.float64)[mask]
    classes = detections.class_ids[mask]
    if not per_class:
        return _per_row(rows, losses * weights[classes] if class_weights else losses, len(detections), aggregation)
    total = np.zeros(len(detections))
    for class_id, weight in enumerate(weights):
        mine = classes == class_id
        loss = _per_row(rows[mine], losses[mine], len(detections), aggregation)
        spread = float(loss.std()) if len(loss) else 0.0
        total += weight * (loss / spread if spread > 0 else loss)
    return total


def _per_row(rows: IntArray, values: Float64Array, num_rows: int, aggregation: Aggregation) -> Float64Array:
    """Combine values of boxes by row; `rows` ascend. Shape (num_rows,), 0 for a row without values."""
    result = np.zeros(num_rows)
    if len(rows) == 0:
        return result
    if aggregation == "max":
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        result[rows[first]] = np.maximum.reduceat(values, first)
        return result
    # On a grid of 2^-36 sums up to 2^17 are exact, so that the order of addition changes no bit.
    result += np.bincount(rows, weights=np.round(values * GRID) / GRID, minlength=num_rows)
    if aggregation == "mean":
        result /= np.maximum(np.bincount(rows, minlength=num_rows), 1)
    return result


def selection_of(detections: Detections, rows: IntArray, loss: FloatArray, reasons: Sequence[str]) -> Selection:
    """Build a selection from row indices in rank order, shape (K,), and the losses of all frames, shape (N,)."""
    return Selection(detections.frame_ids[rows], np.asarray(loss, np.float64)[rows], tuple(reasons))


def describe_boxes(detections: Detections, row: int, box_loss: FloatArray, mask: BoolArray) -> str:
    """Describe a frame: the number of boxes that count, and the one with the largest loss (ties: lower class)."""
    span = slice(int(detections.offsets[row]), int(detections.offsets[row + 1]))
    counted = np.flatnonzero(mask[span])
    if len(counted) == 0:
        return "no box"
    first = np.lexsort((detections.class_ids[span][counted], -np.asarray(box_loss)[span][counted]))[0]
    worst = span.start + int(counted[first])
    name, score = detections.class_names[int(detections.class_ids[worst])], float(detections.scores[worst])
    return f"{len(counted)} box{'es' if len(counted) > 1 else ''}, first {name} {score:.2f}"
