"""Storage of checkpoints: one object in a folder or a bucket, named by a digest of all that decides the training."""

from __future__ import annotations

import hashlib
import json
import os
import sys

import torch

from dataset_culling import __version__
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import CorruptObject, MissingObject, OutputError, StoreError
from dataset_culling.storage import open_store
from dataset_culling.storage.scratch import SCRATCH_URI, scratch_folder
from dataset_culling.training.config import TrainingConfig


class StoredCheckpoint:
    """One training's checkpoint; see `training.checkpoint.Checkpoints`.

    Reading refuses a store that refuses, so that wrong keys show at once. A write that fails later is a note, not the
    end of a night's training.

    Args:
        uri: Its path or s3://bucket/key.
        every_s: Least seconds between two checkpoints.
    """

    def __init__(self, uri: str, *, every_s: float) -> None:
        self.every_s = every_s
        self._store, self._key = open_store(uri)
        self.notes: list[str] = []

    @property
    def where(self) -> str:
        """Return the object's full name."""
        return self._store.uri(self._key)

    def read(self) -> bytes | None:
        """Return the last state; None if it is missing or its bytes are corrupt.

        Raises:
            StoreError: If the store does not answer or refuses.
        """
        try:
            return self._store.get_bytes(self._key)[0]
        except MissingObject:
            return None
        except CorruptObject as error:
            self._note(f"{error} Training starts over.")
            return None

    def write(self, data: bytes) -> None:
        """Replace the last state; the old one stays until the new one is whole."""
        try:
            self._store.put_bytes(self._key, data)
        except (StoreError, OutputError) as error:
            self._note(f"no checkpoint was written: {error}")

    def remove(self) -> None:
        """Remove the state of a finished training; what cannot be removed is left, which is harmless."""
        try:
            self._store.delete(self._key)
        except (StoreError, OutputError) as error:
            self._note(f"the last checkpoint was left: {error}")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            print(f"note: {text}", file=sys.stderr, flush=True)


def checkpoint_of(
    config: TrainingConfig, student: TorchDetector, inputs: dict[str, str]
) -> tuple[StoredCheckpoint | None, bool]:
    """Open the store of a training's state; say whether the stage removes it at the end.

    Args:
        config: Where, if it says so; else the task's scratch folder or prefix; else nowhere.
        student: As training starts; its weights are part of the name.
        inputs: Input name -> digest.

    Returns:
        None if no place is configured. A scratch folder is removed by the engine when the outputs are in place, so that
        a stage killed in its last second finds its state again; everywhere else the stage removes it.

    Raises:
        ConfigError: If the place is invalid.
    """
    folder = scratch_folder()
    if config.checkpoints:
        place = config.checkpoints
    elif folder is not None:
        place = str(folder)
    elif os.environ.get(SCRATCH_URI):
        place = os.environ[SCRATCH_URI]
    else:
        return None, False
    settings = config.model_dump(mode="json", exclude={"checkpoints", "checkpoint_every_s"})
    decides = {
        "version": __version__,
        "torch": torch.__version__,
        "device": student.device.type,
        "config": settings,
        "inputs": inputs,
        "student": student.fingerprint(),
    }
    name = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
    uri = f"{place.rstrip('/')}/training-{name}.safetensors"
    return StoredCheckpoint(uri, every_s=config.checkpoint_every_s), place != str(folder)
