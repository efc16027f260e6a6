"""control/1: the control arm's student, trained on a random set, or a note that the run has no control arm.

Its kind differs from model/1 on purpose, so that a deployment cannot take it for the camera's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_culling.artifacts.header import (
    Origin,
    check_file,
    corrupt_if_invalid,
    read_header,
    read_record,
    write_artifact,
)
from dataset_culling.artifacts.model import ModelCard, card_from_json, card_to_json, save_weights

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "control/1"
FILE = "control.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Control:
    """The control arm's model and its training set."""

    card: ModelCard
    frame_ids: tuple[int, ...]  # drawn at random, ascending
    num_boxes: int  # labels on them


def write_control(path: Path, origin: Origin, control: Control | None, state: Mapping[str, Tensor]) -> None:
    """Write a control arm into the directory `path`.

    Args:
        control: None: the run has no control arm.
        state: Tensors on the CPU, contiguous; empty without a control arm.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.counts["frames"] = 0 if control is None else len(control.frame_ids)
        artifact.file(WEIGHTS).unlink(missing_ok=True)
        values: dict[str, Any] = {"asked_for": control is not None}
        if control is not None:
            save_weights(artifact.file(WEIGHTS), control.card, state)
            values |= card_to_json(control.card)
            values |= {"frame_ids": list(control.frame_ids), "num_boxes": control.num_boxes}
        artifact.json(FILE, values)


def read_control(path: Path) -> Control | None:
    """Read and check a control arm, without its weights; None if the run has none."""
    values = read_record(path, SCHEMA, FILE, dict[str, Any])
    with corrupt_if_invalid(path / FILE, SCHEMA):
        if not values["asked_for"]:
            return None
        return Control(card_from_json(values), tuple(values["frame_ids"]), int(values["num_boxes"]))


def control_weights(path: Path) -> Path:
    """Return the path of a control arm's checked weights.

    Raises:
        ArtifactError: If it is not a valid control/1, or the run has no control arm.
    """
    return check_file(path, read_header(path, SCHEMA), WEIGHTS)
