"""model/1: a trained detector: model.json (which detector, classes, input side, training record) and safetensors.

Where its training looked at subsets, they lie beside it as subset.jsonl (subset/1).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataset_culling.artifacts.header import Origin, check_file, read_header, read_json_file, write_artifact
from dataset_culling.artifacts.subset import FILE as SUBSET_FILE
from dataset_culling.artifacts.subset import SubsetRecord, subset_lines
from dataset_culling.errors import CorruptArtifact

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "model/1"
FILE = "model.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What another program needs to know to run the weights."""

    detector: str  # a name in the table of detectors
    class_names: tuple[str, ...]
    side_px: int  # short side of the network's input that it was trained for
    training: Mapping[str, Any]  # the record: epochs, images, seconds are not in it; losses by epoch are
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # sizes, of a network that was made smaller


def write_model(
    path: Path, card: ModelCard, state: Mapping[str, Tensor], origin: Origin, *, subsets: SubsetRecord | None = None
) -> None:
    """Write a model into the directory `path`.

    Args:
        path: The artifact's directory.
        card: Which detector it is.
        state: Tensors on the CPU, contiguous.
        origin: Who writes it, from what.
        subsets: What its training looked at, where it did not look at everything.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        save_weights(artifact.file(WEIGHTS), card, state)
        artifact.json(
            FILE,
            {
                "detector": card.detector,
                "class_names": list(card.class_names),
                "side_px": card.side_px,
                "training": dict(card.training),
                **said_layers(card),
            },
        )
        artifact.file(SUBSET_FILE).unlink(missing_ok=True)  # of an earlier attempt
        if subsets is not None:
            artifact.file(SUBSET_FILE).write_text(subset_lines(subsets), encoding="utf-8")
        artifact.counts["parameters"] = sum(tensor.numel() for tensor in state.values())


def save_weights(file: Path, card: ModelCard, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, with what a detector's builder sizes the network by: class names and layers."""
    from safetensors.torch import save

    said = {"class_names": list(card.class_names), **said_layers(card)}
    # Not its save_file, whose files are their owner's alone: another user's process could not read the model.
    file.write_bytes(save(dict(state), metadata={key: json.dumps(value) for key, value in said.items()}))


def said_layers(card: ModelCard) -> dict[str, dict[str, list[int]]]:
    """The card's `layers` as JSON holds them; nothing for a network that is as its builder makes it."""
    return {"layers": {name: list(sizes) for name, sizes in card.layers.items()}} if card.layers else {}


def card_of(values: Mapping[str, Any]) -> ModelCard:
    """A card as JSON holds it.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: If it is none.
    """
    layers = {str(name): tuple(int(size) for size in sizes) for name, sizes in values.get("layers", {}).items()}
    return ModelCard(
        values["detector"], tuple(values["class_names"]), int(values["side_px"]), dict(values["training"]), layers
    )


def read_model_card(path: Path) -> ModelCard:
    """Read and check which detector a model is, without its weights.

    Raises:
        ArtifactError: If it is no model/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    values = read_json_file(path, header, FILE)
    try:
        return card_of(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptArtifact(path / FILE, expected="a model card", found=repr(error)) from None


def weights_file(path: Path) -> Path:
    """Where a model's checked weights lie.

    Raises:
        ArtifactError: If it is no model/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    return check_file(path, WEIGHTS, header.files.get(WEIGHTS, {"bytes": 0, "sha256": ""}))
