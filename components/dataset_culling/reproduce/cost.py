"""What arms cost: as measured at the size that was run, and projected to a day by the cost model of Table 1."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from dataset_culling.planning import Cost, CostRates, full_cost
from dataset_culling.reproduce.arms import ARMS
from dataset_culling.reproduce.results import Row


def mean(values: Iterable[float]) -> float:
    """The mean of what is known; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def full_rows(rows: Sequence[Row], camera: str) -> list[Row]:
    """The full data set's rows of a camera."""
    return [row for row in rows if row.camera == camera and row.arm == "full"]


def measured_times(row: Row, rows: Sequence[Row]) -> float:
    """How many times cheaper than the full data set was on the same frames: seconds that were spent over seconds.

    NaN where the full data set was not run on this camera. Seconds of another number of epochs count as they are.
    """
    full = mean(one.total_s for one in full_rows(rows, row.camera))
    return full / row.total_s if row.total_s > 0 else math.nan


def projected(row: Row, frames: int, *, epochs: int = 0) -> Cost:
    """What the row's arm would cost on `frames` frames of the same camera, by its own measured seconds.

    Student and gate scale with the footage; labels and training only where the arm takes all. Culls and optResolution
    are counted with the student as what they are, unscaled.

    Args:
        row: A cell.
        frames: As filmed.
        epochs: For the full arm: how many; 0: as many as it ran.
    """
    grows = frames / row.frames
    all_labelled = ARMS[row.arm].labels == "all"
    labelled_s = row.labelled_s * (grows if all_labelled else 1.0)
    if row.arm == "full":
        return Cost(0.0, labelled_s, row.training_s * grows * (epochs / row.epochs if epochs else 1.0))
    return Cost(row.scored_s * grows + row.select_s + row.opt_s, labelled_s, row.training_s)


def projected_full(row: Row, rows: Sequence[Row], frames: int) -> Cost:
    """Labelling all and training on all for the row's epochs: from the full arm's seconds, else from the row's own.

    A variant that looks at less in an epoch is held against as many passes as the plain row makes. It is a projection
    either way; `planning.full_cost` is the formula.
    """
    like = (row.camera, row.arm, row.size, "plain")
    plain = [one.epochs for one in rows if (one.camera, one.arm, one.size, one.variant) == like]
    full = full_rows(rows, row.camera)
    step_s = mean(one.step_s for one in full) if full else row.step_s
    teacher_s = mean(one.teacher_s for one in full) if full else row.teacher_s
    rates = CostRates(
        student_s=max(row.student_s, 1e-9), teacher_s=max(teacher_s, 1e-9), step_s=max(step_s, 1e-9),
        epochs=max(row.epochs, *plain, 1), variants=1,
    )  # fmt: skip
    return full_cost(frames, rates)


def projected_times(row: Row, rows: Sequence[Row], frames: int) -> float:
    """How many times cheaper than labelling and training on everything, at `frames` frames, by the cost model."""
    own = projected(row, frames, epochs=row.epochs).total_s
    return projected_full(row, rows, frames).total_s / own if own > 0 else math.nan
