"""What a strategy is given and gives back, and what several of them share.

N = frames, M = boxes over all frames, C = classes, D = length of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """The frames to choose from and what is known of them; every column has the same N frames in the same order.

    Raises:
        ValueError: If a frame was not looked at by the student, or labels are of other frames.
    """

    detections: Detections  # the student's boxes; its features, where they were asked for
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
        """The teacher's boxes.

        Raises:
            ValueError: If there are none.
        """
        if self.labels is None:
            raise ValueError("this strategy compares with the teacher's labels, and there are none")
        return self.labels

    def take(self, rows: IntArray) -> CullInput:
        """Only the frames in the given rows, which must ascend."""
        return CullInput(
            self.detections.take(rows),
            None if self.labels is None else self.labels.take(rows),
        )


class Select(Protocol):
    """Chooses frames: the one function of a strategy."""

    def __call__(
        self, pool: CullInput, *, budget: int, min_gap_s: float, rng: np.random.Generator, config: Any
    ) -> Selection:
        """Choose at most `budget` frames, no two closer than `min_gap_s`, most wanted first.

        Args:
            pool: The frames to choose from.
            budget: Most frames to keep; at least 1.
            min_gap_s: Least seconds between two kept frames; 0 turns spacing off.
            rng: Where chance comes from, if the strategy uses any.
            config: The strategy's own options, of the class that the table names.

        Returns:
            The kept frames. `loss` is what they were ranked by: the larger, the more wanted.

        Raises:
            ValueError: If `budget` is below 1 or the pool lacks what the strategy needs.
        """


@dataclass(frozen=True, slots=True)
class Strategy:
    """One line of the table."""

    name: str
    select: Select
    config: type[StageConfig]
    summary: str
    reads_scores: bool = True  # the student's boxes alone decide: without any, the choice would mean nothing
    needs_labels: bool = False  # the teacher's boxes decide
    keeps_all: bool = False  # the budget does not apply

    @property
    def folder(self) -> str:
        """The name of its folder and module."""
        return self.name.replace("-", "_").replace("+", "_")


class NoOptions(StageConfig):
    """A strategy without knobs."""


class BoxFilter(StageConfig):
    """Which of the student's boxes count."""

    min_score: float = Field(0.2, ge=0, le=1, description="Student boxes scoring less do not count.")
    min_side_px: float = Field(0.0, ge=0, description="Student boxes whose shorter side is less do not count.")

    def mask(self, detections: Detections) -> BoolArray:
        """The boxes that count, shape (M,)."""
        return boxes_that_count(detections, min_score=self.min_score, min_side_px=self.min_side_px)


def boxes_that_count(detections: Detections, *, min_score: float, min_side_px: float) -> BoolArray:
    """Boxes that are not ignored, score enough and are large enough, shape (M,)."""
    mask = ~detections.ignore & (detections.scores >= np.float32(min_score))
    if min_side_px > 0:
        sides = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
        mask &= sides.min(axis=1, initial=np.inf) >= min_side_px
    return mask


def require_scored(detections: Detections) -> None:
    """Refuse frames that the student has not looked at: they are not empty, they are unknown.

    Raises:
        ValueError: Naming the first such frame.
    """
    if not detections.scored.all():
        missing = detections.frame_ids[~detections.scored]
        raise ValueError(f"frame {missing[0]} was not looked at ({len(missing)} of {len(detections)} were not)")


def require_same_frames(detections: Detections, labels: Detections) -> None:
    """Refuse to compare boxes of different frames or classes.

    Raises:
        ValueError: Naming the first difference.
    """
    if detections.class_names != labels.class_names:
        raise ValueError(
            f"student and teacher must have the same classes, got {', '.join(detections.class_names)} and "
            f"{', '.join(labels.class_names)}"
        )
    if len(detections) != len(labels) or np.any(detections.frame_ids != labels.frame_ids):
        odd = np.setxor1d(detections.frame_ids, labels.frame_ids)
        raise ValueError(
            f"student and teacher must have looked at the same frames, got {len(detections)} and {len(labels)}; "
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
    """Losses of boxes to losses of frames.

    Args:
        detections: N frames, M boxes.
        box_loss: Loss of each box, shape (M,).
        mask: Boxes that count, shape (M,).
        aggregation: Sum, mean or maximum over a frame's boxes.
        per_class: Gather each class apart, divide it by its standard deviation over the frames, then add the classes
            up. (The released code of the paper also subtracts the mean, which moves every frame alike.)
        class_weights: Class name -> factor of its boxes' losses; 1 for a class that is not named.

    Returns:
        Loss of each frame, shape (N,); 0 for a frame without a box that counts. Frames with the same boxes in another
        order get the same bits.

    Raises:
        ValueError: If `class_weights` names a class that is none.
    """
    class_weights = class_weights or {}
    if unknown := sorted(set(class_weights) - set(detections.class_names)):
        raise ValueError(f"class_weights names {unknown[0]}, known classes are {', '.join(detections.class_names)}")
    weights = np.array([class_weights.get(name, 1.0) for name in detections.class_names])
    rows, losses = detections.frame_rows()[mask], np.asarray(box_loss, np.float64)[mask]
    if not per_class and not class_weights:
        return _per_row(rows, losses, len(detections), aggregation)
    classes = detections.class_ids[mask]
    if not per_class:
        return _per_row(rows, losses * weights[classes], len(detections), aggregation)
    total = np.zeros(len(detections))
    for class_id in range(len(weights)):
        mine = classes == class_id
        loss = _per_row(rows[mine], losses[mine], len(detections), aggregation)
        spread = float(loss.std()) if len(loss) else 0.0
        total += weights[class_id] * (loss / spread if spread > 0 else loss)
    return total


def _per_row(rows: IntArray, values: Float64Array, num_rows: int, aggregation: Aggregation) -> Float64Array:
    """Values of boxes to values of rows; `rows` ascend. Shape (num_rows,), 0 for a row without values."""
    result = np.zeros(num_rows)
    if len(rows) == 0:
        return result
    if aggregation == "max":
        first = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
        result[rows[first]] = np.maximum.reduceat(values, first)
        return result
    # On a grid of 2^-36 sums up to 2^17 are exact, so that the order of addition changes no bit.
    result += np.bincount(rows, weights=np.round(values * GRID) / GRID, minlength=num_rows)
    if aggregation == "mean":
        result /= np.maximum(np.bincount(rows, minlength=num_rows), 1)
    return result


def selection_of(
    detections: Detections, rows: IntArray, loss: FloatArray, reasons: list[str] | tuple[str, ...]
) -> Selection:
    """A selection out of row indices in rank order, shape (K,), and the losses of all frames, shape (N,)."""
    return Selection(detections.frame_ids[rows], np.asarray(loss, np.float64)[rows], tuple(reasons))


def describe_boxes(detections: Detections, row: int, box_loss: FloatArray, mask: BoolArray) -> str:
    """A frame in a few words: how many boxes count, and the one that adds most (of equals the lower class)."""
    span = slice(int(detections.offsets[row]), int(detections.offsets[row + 1]))
    counted = np.flatnonzero(mask[span])
    if len(counted) == 0:
        return "no box"
    first = np.lexsort((detections.class_ids[span][counted], -np.asarray(box_loss)[span][counted]))[0]
    worst = span.start + int(counted[first])
    name, score = detections.class_names[int(detections.class_ids[worst])], float(detections.scores[worst])
    return f"{len(counted)} box{'es' if len(counted) > 1 else ''}, first {name} {score:.2f}"
