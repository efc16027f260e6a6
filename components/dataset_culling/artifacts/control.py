"""control/1: the student of the control arm, trained on a random set; or the note that no control arm was asked for.

It is no model/1 on purpose: nothing that deploys models can take it for the camera's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_culling.artifacts.header import Origin, check_file, read_header, read_json_file, write_artifact
from dataset_culling.artifacts.model import ModelCard, card_of, said_layers, save_weights
from dataset_culling.errors import CorruptArtifact

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "control/1"
FILE = "control.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Control:
    """What was trained on what."""

    card: ModelCard
    frame_ids: tuple[int, ...]  # drawn by lot, ascending
    num_boxes: int  # labels on them


def write_control(path: Path, origin: Origin, control: Control | None, state: Mapping[str, Tensor]) -> None:
    """Write a control arm into the directory `path`.

    Args:
        path: The artifact's directory.
        origin: Who writes it, from what.
        control: None where none was asked for.
        state: Tensors on the CPU, contiguous; empty where none was asked for.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.counts["frames"] = 0 if control is None else len(control.frame_ids)
        artifact.file(WEIGHTS).unlink(missing_ok=True)
        if control is None:
            artifact.json(FILE, {"asked_for": False})
            return
        save_weights(artifact.file(WEIGHTS), control.card, state)
        artifact.json(
            FILE,
            {
                "asked_for": True,
                "detector": control.card.detector,
                "class_names": list(control.card.class_names),
                "side_px": control.card.side_px,
                "training": dict(control.card.training),
                "frame_ids": list(control.frame_ids),
                "num_boxes": control.num_boxes,
                **said_layers(control.card),
            },
        )


def read_control(path: Path) -> Control | None:
    """Read and check a control arm, without its weights; None where none was asked for.

    Raises:
        ArtifactError: If it is no control/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    values: dict[str, Any] = read_json_file(path, header, FILE)
    try:
        if not values["asked_for"]:
            return None
        card = card_of(values)
        return Control(card, tuple(values["frame_ids"]), int(values["num_boxes"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptArtifact(path / FILE, expected="a control arm", found=repr(error)) from None


def control_weights(path: Path) -> Path:
    """Where the checked weights of a control arm lie.

    Raises:
        ArtifactError: If it is no control/1, damaged, or none was asked for.
    """
    header = read_header(path, SCHEMA)
    return check_file(path, WEIGHTS, header.files.get(WEIGHTS, {"bytes": 0, "sha256": ""}))
