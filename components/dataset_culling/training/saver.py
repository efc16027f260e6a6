"""Saving and resuming a training's state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dataset_culling.training.checkpoint import (
    Checkpoints,
    Snapshot,
    UnusableCheckpoint,
    check_fits,
    named,
    of,
    pack,
    unpack,
)

SHARE_OF_TIME = 0.1
"""Most of the time that checkpoints at the ends of epochs may take; where they take longer, some ends go without."""


class Stateful(Protocol):
    """A part of a training with state: tensors, and values that JSON can hold."""

    def state(self) -> Mapping[str, Any]:
        """Return the state."""

    def restore(self, state: Mapping[str, Any], /) -> None:
        """Continue from a state."""


class Generators:
    """Random numbers: numpy's for shuffling and augmentation, torch's for the detector's own sampling."""

    def __init__(self, random: np.random.Generator, device: torch.device) -> None:
        self._random, self._device = random, device

    def state(self) -> Mapping[str, Any]:
        """Return the generators' states."""
        cuda = {"cuda": torch.cuda.get_rng_state(self._device)} if self._device.type == "cuda" else {}
        return {"numpy": self._random.bit_generator.state, "cpu": torch.random.get_rng_state(), **cuda}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue the generators."""
        self._random.bit_generator.state = state["numpy"]
        torch.random.set_rng_state(state["cpu"])
        if self._device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"], self._device)


class Saver:
    """Saves and restores the parts of one training.

    Args:
        checkpoints: Store of the state; None: nothing is saved.
        module: The network, saved as the part `model`.
        parts: The other parts by name.
        total: Steps of the whole training; a checkpoint of another number is not used.
    """

    def __init__(
        self, checkpoints: Checkpoints | None, module: nn.Module, parts: Mapping[str, Stateful], total: int
    ) -> None:
        self._checkpoints, self._module, self._parts, self._total = checkpoints, module, parts, total
        self._saved_s, self._saving_s = time.monotonic(), 0.0

    def save_if_due(self, *, epoch_ends: bool = False) -> None:
        """Save after `every_s` seconds, and at the end of an epoch where that is cheap."""
        if self._checkpoints is None:
            return
        since_s = time.monotonic() - self._saved_s
        cheap = since_s * SHARE_OF_TIME >= self._saving_s
        if not (since_s >= self._checkpoints.every_s or (epoch_ends and cheap)):
            return
        started_s = time.monotonic()
        if not all(bool(value.isfinite().all()) for value in self._module.state_dict().values()):
            return  # the next loss reports it; the last good checkpoint stays
        self._checkpoints.write(pack(self._snapshot()))
        self._saved_s = time.monotonic()
        self._saving_s = self._saved_s - started_s

    def _snapshot(self) -> Snapshot:
        tensors: dict[str, Tensor] = named("model", self._module.state_dict())
        facts: dict[str, Any] = {"total": self._total}
        for name, part in self._parts.items():
            state = part.state()
            held = {key: value for key, value in state.items() if isinstance(value, Tensor)}
            tensors |= named(name, held)
            facts[name] = {key: value for key, value in state.items() if key not in held}
        return Snapshot(tensors, facts)

    def resume(self) -> str:
        """Continue from an earlier process's state.

        Returns:
            A note if a state was found that cannot be used, so that training starts over; else "".
        """
        data = self._checkpoints.read() if self._checkpoints is not None else None
        if data is None or self._checkpoints is None:
            return ""
        where = self._checkpoints.where
        try:
            snapshot = unpack(data, where=where)
            check_fits(self._module, of("model", snapshot.tensors), where=where)
            if snapshot.facts.get("total") != self._total:
                raise UnusableCheckpoint(f"{where}: expected {self._total} steps in all, found another number.")
        except UnusableCheckpoint as error:
            return f"{error} Training starts over."
        self._module.load_state_dict(of("model", snapshot.tensors))
        for name, part in self._parts.items():
            part.restore({**snapshot.facts.get(name, {}), **of(name, snapshot.tensors)})
        return ""
