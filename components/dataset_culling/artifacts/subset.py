"""subset/1: the frames that a training used, by epoch, as JSON lines; a file of the trained model/1.

The first line holds the method. Every other line holds the frame names used from an epoch on (counted from 0): batches
with the weights of their losses, or single frames that were batched anew every epoch.

    {"subset": "subset/1", "method": "gradmatch", "detector": "tiny", "epochs": 20, "share": 0.3, ...}
    {"epoch": 5, "batches": [["frame 12000", "frame 500"], ["frame 31000", "frame 8000"]], "weights": [1.25, 0.75]}
    {"epoch": 5, "samples": ["frame 12000", "frame 31000"]}

Equal subsets give equal bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dataset_culling.errors import InputError
from dataset_culling.types import Subset

SCHEMA = "subset/1"
FILE = "subset.jsonl"


@dataclass(frozen=True, slots=True)
class SubsetRecord:
    """All of one training's subsets."""

    chosen_by: Mapping[str, Any]  # method, detector, epochs and the like; only for display
    subsets: tuple[Subset, ...]  # ascending epochs


def subset_lines(record: SubsetRecord) -> str:
    """Return the file's text."""
    rows: list[dict[str, Any]] = [{"subset": SCHEMA, **record.chosen_by}]
    for one in record.subsets:
        if one.batched:
            batches = [list(group) for group in one.groups]
            rows.append({"epoch": one.epoch, "batches": batches, "weights": list(one.weights)})
        else:
            rows.append({"epoch": one.epoch, "samples": [name for group in one.groups for name in group]})
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def parse_subsets(lines: Iterable[str], *, where: str) -> SubsetRecord:
    """Parse the lines of a file that `subset_lines` made; `where` names it in errors.

    Raises:
        InputError: If it is not a subset/1, or a line is cut off or invalid.
    """
    chosen_by: dict[str, Any] | None = None
    found: list[Subset] = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("something that is no JSON object")
            if chosen_by is not None:
                found.append(_subset(values))
                continue
            if values.pop("subset", None) != SCHEMA:
                raise ValueError("another kind or version of file")
            chosen_by = values
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            said = f"no {error}" if isinstance(error, KeyError) else str(error)
            said = "a line that is no JSON" if isinstance(error, json.JSONDecodeError) else said
            raise InputError(
                f"{where}, line {number}: expected a {SCHEMA}, found {said}. Name the {FILE} of a trained model."
            ) from None
    if not found or chosen_by is None:
        raise InputError(f"{where}: expected a {SCHEMA}, found no subset in it. Name the {FILE} of a trained model.")
    return SubsetRecord(chosen_by, tuple(found))


def _subset(values: Mapping[str, Any]) -> Subset:
    epoch = int(values["epoch"])
    if "samples" in values:
        names = [_name(one) for one in values["samples"]]
        return Subset(epoch, tuple((name,) for name in names), (1.0,) * len(names), False)
    batches = tuple(tuple(_name(one) for one in batch) for batch in values["batches"])
    weights = tuple(float(weight) for weight in values["weights"])
    if len(weights) != len(batches):
        raise ValueError(f"{len(batches)} batches and {len(weights)} weights")
    if any(not (math.isfinite(weight) and weight > 0) for weight in weights):
        raise ValueError("a weight that is not above 0")
    return Subset(epoch, batches, weights, True)


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where a frame's name was")
    return value
