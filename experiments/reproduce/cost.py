"""Cost of the arms: measured at the size that was run, and projected to a day by the cost model of Table 1."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dataset_culling.planning import Cost, CostRates, full_cost
from experiments.reproduce.arms import ARMS, VARIANTS
from experiments.reproduce.results import Row


def mean(values: Iterable[float]) -> float:
    """The mean of what is known; NaN of nothing."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else math.nan


def evened(rows: Sequence[Row]) -> list[Row]:
    """The same rows with seconds of training as if all trainings that are alike had run at one pace: their median.

    Cells run side by side and beside whatever else the machine does, so that equal work takes unequal time. Alike are
    those of one camera, side and device whose recipe and student no variant has changed; each variant that changes
    them is alike over its seeds.
    """
    paces: dict[tuple[str, int, str, str], list[float]] = {}
    for row in rows:
        if row.step_s > 0:
            paces.setdefault(alike(row), []).append(row.step_s)
    found = []
    for row in rows:
        pace = statistics.median(paces[alike(row)]) if row.step_s > 0 else row.step_s
        factor = pace / row.step_s if row.step_s > 0 else 1.0
        found.append(replace(row, step_s=pace, training_s=row.training_s * factor))
    return found


def alike(row: Row) -> tuple[str, int, str, str]:
    """Trainings of one key take the same seconds a frame, but for what else the machine does; see `evened`."""
    variant = VARIANTS[row.variant]
    changes = bool(variant.preset or variant.replays) or bool({"student", "train_student"} & variant.settings.keys())
    return row.camera, row.side_px, row.device, row.variant if changes else "plain"


def plain_epochs(rows: Sequence[Row]) -> int:
    """Passes that the full data set is projected to: those of the arms as in the paper; 0 where there are none."""
    return max(
        (row.epochs for row in rows if row.arm not in ("full", "untrained") and row.variant == "plain"), default=0
    )


def full_rows(rows: Sequence[Row], camera: str) -> list[Row]:
    """The full data set's rows of a camera."""
    return [row for row in rows if row.camera == camera and row.arm == "full"]


def measured_times(row: Row, rows: Sequence[Row]) -> float:
    """Return the measured speed-up over the full data set on the same frames, a ratio of seconds.

    NaN where the full data set was not run on this camera. Seconds of another number of epochs count as they are.
    """
    full = mean(one.total_s for one in full_rows(rows, row.camera))
    return full / row.total_s if row.total_s > 0 else math.nan


def projected(row: Row, frames: int, *, epochs: int = 0) -> Cost:
    """Project the cost of the row's arm to `frames` frames of the same camera, by its own measured seconds.

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
    """Labelling all and training on all, the usual way, for the row's epochs.

    At the seconds a frame of the camera's full data set, or where that was not run of its plain trainings: never at
    those of a variant, whose slowness would look like a saving. NaN where there is neither. It is a projection either
    way; `planning.full_cost` is the formula.
    """
    plain = [
        one for one in rows
        if one.camera == row.camera and one.step_s > 0 and (one.variant, one.opt_resolution) == ("plain", "off")
    ]  # fmt: skip
    usual = full_rows(plain, row.camera) or plain
    if not usual:
        return Cost(math.nan, math.nan, math.nan)
    rates = CostRates(
        student_s=max(row.student_s, 1e-9), teacher_s=max(mean(one.teacher_s for one in usual), 1e-9),
        step_s=max(mean(one.step_s for one in usual), 1e-9), epochs=max(row.epochs, 1), variants=1,
    )  # fmt: skip
    return full_cost(frames, rates)


def projected_times(row: Row, rows: Sequence[Row], frames: int) -> float:
    """Return the speed-up over labelling and training on all of `frames` frames, by the cost model."""
    own = projected(row, frames, epochs=row.epochs).total_s
    return projected_full(row, rows, frames).total_s / own if own > 0 else math.nan
