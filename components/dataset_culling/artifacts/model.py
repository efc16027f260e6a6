"""model/1: a trained detector: model.json (detector, classes, input side, training record) and safetensors.

Training on subsets adds subset.jsonl (subset/1): the batches or frames of each epoch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from dataset_culling.artifacts.subset import FILE as SUBSET_FILE
from dataset_culling.artifacts.subset import SubsetRecord, subset_lines

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = "model/1"
FILE = "model.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """The description that a program needs to run the weights."""

    detector: str  # a name in the table of detectors
    class_names: tuple[str, ...]
    side_px: int  # short side of the network's input that it was trained for
    training: Mapping[str, Any]  # the record: losses by epoch; without epochs, images and seconds
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # sizes, if the network was made smaller


def write_model(
    path: Path, card: ModelCard, state: Mapping[str, Tensor], origin: Origin, *, subsets: SubsetRecord | None = None
) -> None:
    """Write a model into the directory `path`.

    Args:
        state: Tensors on the CPU, contiguous.
        subsets: The subsets that the training used; None: it used all frames.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        save_weights(artifact.file(WEIGHTS), card, state)
        artifact.json(FILE, card_to_json(card))
        artifact.file(SUBSET_FILE).unlink(missing_ok=True)  # of an earlier attempt
        if subsets is not None:
            artifact.file(SUBSET_FILE).write_text(subset_lines(subsets), encoding="utf-8")
        artifact.counts["parameters"] = sum(tensor.numel() for tensor in state.values())


def save_weights(file: Path, card: ModelCard, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, with the class names and layer sizes that a detector's builder needs."""
    from safetensors.torch import save

    values = card_to_json(card)
    metadata = {key: json.dumps(values[key]) for key in ("class_names", "layers") if key in values}
    # save_file would make a file that only its owner can read.
    file.write_bytes(save(dict(state), metadata=metadata))


def card_to_json(card: ModelCard) -> dict[str, Any]:
    """Return a card as JSON holds it; `layers` only for a network whose sizes differ from its builder's."""
    values = {
        "detector": card.detector,
        "class_names": list(card.class_names),
        "side_px": card.side_px,
        "training": dict(card.training),
    }
    return values | ({"layers": {name: list(sizes) for name, sizes in card.layers.items()}} if card.layers else {})


def card_from_json(values: Mapping[str, Any]) -> ModelCard:
    """Return the card that JSON holds.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: If a value is missing or invalid.
    """
    layers = {str(name): tuple(int(size) for size in sizes) for name, sizes in values.get("layers", {}).items()}
    return ModelCard(
        values["detector"], tuple(values["class_names"]), int(values["side_px"]), dict(values["training"]), layers
    )


def read_model_card(path: Path) -> ModelCard:
    """Read and check a model's description, without its weights."""
    values = read_record(path, SCHEMA, FILE, dict[str, Any])
    with corrupt_if_invalid(path / FILE, SCHEMA):
        return card_from_json(values)


def weights_file(path: Path) -> Path:
    """Return the path of a model's checked weights."""
    return check_file(path, read_header(path, SCHEMA), WEIGHTS)
