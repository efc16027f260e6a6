"""Results of the cells: rows, curves and overlaps, and the CSV files that hold them.

mAP is at IoU 0.5, 0 to 1; `agreement` takes the teacher as right, `accuracy` the true boxes. NaN: not known.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from dataset_culling.errors import InputError
from dataset_culling.storage.transfer import write_page

RESULTS, CURVES, OVERLAPS = "results.csv", "curves.csv", "overlaps.csv"


@dataclass(frozen=True, slots=True)
class Row:
    """One cell. Seconds are measured; `labelled_s` is frames times the teacher's measured seconds a frame."""

    camera: str
    group: str
    arm: str
    size: int  # asked for; 0: the arm takes what there is
    opt_resolution: str
    variant: str
    seed: int
    frames: int  # to learn from, as filmed
    pool: int  # of them left by the near-duplicate gate, where there is one
    labelled: int  # frames the arm would have had labelled
    trained_on: int
    epochs: int  # of the recipe
    passes: float  # over the frames trained on that were made: fewer than epochs where a training looks at less
    heldout_frames: int
    agreement: float
    accuracy: float
    raw_agreement: float  # the untrained student's
    raw_accuracy: float
    teacher_accuracy: float
    student_s: float  # seconds to score a frame
    teacher_s: float  # seconds to label a frame
    step_s: float  # seconds to train on a frame once
    scored_s: float  # student scoring that the arm needs; 0: it needs none
    labelled_s: float
    select_s: float  # both culls
    opt_s: float  # optResolution
    training_s: float
    scale: float  # of the image's side, as trained
    side_px: int
    gflops: float  # of an image at that side
    gflops_full: float
    object_px: float  # median root of the area of the camera's labelled boxes
    device: str

    @property
    def total_s(self) -> float:
        """Seconds that the arm cost on these frames."""
        return self.scored_s + self.labelled_s + self.select_s + self.opt_s + self.training_s


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One size that optResolution looked at on one camera, by the raw student."""

    camera: str
    size: int  # frames that the loss was judged on, at most
    seed: int
    scale: float
    side_px: int
    gflops: float
    loss_change: float  # squared differences of the confidence loss against full size, relative
    map_50: float  # agreement with the teacher on the same frames; -1: not measured
    chosen: int  # 1: optResolution took it


@dataclass(frozen=True, slots=True)
class Overlap:
    """Share of the frames picked by precision alone that another arm misses."""

    camera: str
    arm: str
    size: int
    seed: int
    missed_share: float
    by_chance: float  # what as many random frames would miss


Record = TypeVar("Record", Row, CurvePoint, Overlap)


def to_csv(kind: type[Record], records: Sequence[Record]) -> str:
    """Rows as CSV with a header, in the order given; figures to six digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in dataclasses.fields(kind)]
    writer.writerow(names)
    for record in records:
        writer.writerow([_text(getattr(record, name)) for name in names])
    return out.getvalue()


def write_csv(path: Path, kind: type[Record], records: Sequence[Record]) -> None:
    """Write rows, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    write_page(path, to_csv(kind, records))


def read_csv(path: Path, kind: type[Record]) -> list[Record]:
    """Rows of a CSV file that `write_csv`, or a person, has written.

    Raises:
        InputError: If it is missing, lacks a column, or a value does not fit.
    """
    types = get_type_hints(kind)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in types if name not in (reader.fieldnames or ())]:
                raise InputError(f"{path}: column '{missing[0]}' is missing. Run the reproduction again.")
            return [kind(**{name: _value(types[name], line[name]) for name in types}) for line in reader]
    except OSError as error:
        raise InputError(f"{path}: expected results as CSV, found {error.strerror}. Check the path.") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a CSV of results ({error}). Run the reproduction again.") from None


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _value(kind: type, text: str) -> Any:
    return math.nan if kind is float and text == "" else kind(text)
