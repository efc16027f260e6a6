"""A training's whole state as bytes: safetensors with the plain facts as JSON in its header. No file is touched here.

Tensors are named PART.KEY, such as model.KEY, optimizer.NUMBER.KEY or technique.NAME.KEY (see `training.saver`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dataset_culling.errors import CullingError

VERSION = 3
"""Raised with whatever a training writes and goes on from; one of another version starts over."""
_FACTS = "training"


class Checkpoints(Protocol):
    """A store that holds one state of a training, which a later process resumes."""

    every_s: float
    """Least seconds between two checkpoints inside an epoch; 0: after every step."""

    @property
    def where(self) -> str:
        """The place, for people."""

    def read(self) -> bytes | None:
        """Return the last state, whole; None if the store is empty."""

    def write(self, data: bytes) -> None:
        """Put this state in the place of the last one, whole or not at all."""


class UnusableCheckpoint(CullingError):
    """A checkpoint is corrupt or of another training; the loop starts over then."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Tensors by name, and facts that JSON can hold."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


def pack(snapshot: Snapshot) -> bytes:
    """The snapshot as bytes that hold tensors and text only; equal snapshots give equal bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in sorted(snapshot.tensors.items())}
    facts = json.dumps({"version": VERSION, **snapshot.facts}, sort_keys=True)
    return bytes(save(tensors, metadata={_FACTS: facts}))


def unpack(data: bytes, *, where: str) -> Snapshot:
    """Unpack the bytes of `pack`.

    Raises:
        UnusableCheckpoint: If the bytes are something else, cut off, or of another version.
    """
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_FACTS])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UnusableCheckpoint(f"{where}: expected a checkpoint, found {error}.") from None
    if facts.pop("version", None) != VERSION:
        raise UnusableCheckpoint(f"{where}: expected a checkpoint of version {VERSION}, found another.")
    return Snapshot(tensors, facts)


def named(part: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict's tensors under 'part.'."""
    return {f"{part}.{key}": value for key, value in state.items()}


def of(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under 'part.', without it."""
    return {name[len(part) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{part}.")}


def check_fits(module: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Refuse the weights of another network.

    Raises:
        UnusableCheckpoint: If names or shapes differ.
    """
    wanted = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    if wanted != {key: tuple(value.shape) for key, value in state.items()}:
        raise UnusableCheckpoint(f"{where}: expected a checkpoint of this network, found another's.")
