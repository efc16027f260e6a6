"""Recorded subsets of trainings, from and to files (subset/1)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dataset_culling.artifacts.subset import FILE, SubsetRecord, parse_subsets
from dataset_culling.config import parse_config
from dataset_culling.errors import InputError
from dataset_culling.storage import is_remote, open_object
from dataset_culling.training.loop import TrainingRecord
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.base import SubsetConfig
from dataset_culling.types import Subset

REPLAY, RANDOM = "recorded_subsets", "random_pb"
"""The techniques that replay a record, and that stands in for it where the frames are others."""


def source_of(recipe: Recipe) -> str:
    """Return the URI of the record that a recipe replays; empty if it replays none."""
    return str(getattr(recipe.techniques.of(REPLAY), "source", ""))


def read_recorded(recipe: Recipe) -> tuple[tuple[Subset, ...], dict[str, str]]:
    """Read the subsets that a recipe replays.

    Returns:
        The subsets, and {"subset_replay": sha256 of the file} for a training's identity; empty without a replay.

    Raises:
        InputError: If the file is missing or holds something else.
        StoreError: If the store does not answer or refuses.
    """
    if not (source := source_of(recipe)):
        return (), {}
    record, data = _record(source)
    return record.subsets, {"subset_replay": hashlib.sha256(data).hexdigest()}


def random_instead(recipe: Recipe) -> tuple[Recipe, str]:
    """Replace a replay for frames that the record does not name: random batches, as many and as often.

    Returns:
        The recipe, and a note; the same recipe and "" without a replay.

    Raises:
        ConfigError: If the record's share, or how often it was chosen, is out of range.
        InputError, StoreError: As `read_recorded`.
    """
    if not (source := source_of(recipe)):
        return recipe, ""
    record, _ = _record(source)
    replay = recipe.techniques.of(REPLAY)
    told = {name: record.chosen_by[name] for name in ("share", "every") if name in record.chosen_by}
    options = {**told, "enabled": True, "warm": getattr(replay, "warm", 0.0)}
    values = recipe.model_dump()
    before = values["techniques"][RANDOM]
    values["techniques"] |= {REPLAY: {}, RANDOM: {**before, **options}}
    found = parse_config(Recipe, values, where=f"recipe.techniques.{REPLAY} {source}")
    used = found.techniques.of(RANDOM)
    return found, (
        f"the control arm has other frames than recipe.techniques.{REPLAY} names: it trained on "
        f"{getattr(used, 'share', 0):g} of its batches at random, drawn anew every {getattr(used, 'every', 0)} epochs"
    )


def _record(uri: str) -> tuple[SubsetRecord, bytes]:
    """Parse a file; return its bytes, too."""
    data, where = _bytes(uri)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{where}: expected recorded subsets, found bytes that are not text. Name the {FILE} of a trained model."
        ) from None
    return parse_subsets(text.splitlines(), where=where), data


def _bytes(uri: str) -> tuple[bytes, str]:
    """Read a file, or the record in a model/1 that the URI names; return its full name, too."""
    if is_remote(uri):
        file = uri if uri.endswith(".jsonl") else f"{uri.rstrip('/')}/{FILE}"
        with open_object(file) as stream:
            return stream.read(), file
    path = Path(uri)
    path = path / FILE if path.is_dir() else path
    try:
        return path.read_bytes(), str(path)
    except OSError as error:
        raise InputError(
            f"{path}: expected recorded subsets, found {error.strerror or error}. Train with the technique "
            f"gradmatch to record them, or correct recipe.techniques.recorded_subsets.source."
        ) from None


def record_of(recipe: Recipe, record: TrainingRecord, detector: str) -> SubsetRecord | None:
    """Return what to write of a training's subsets; None if it trained on everything."""
    chosen = [config for config in recipe.techniques.on().values() if isinstance(config, SubsetConfig)]
    if not record.subsets or not chosen:
        return None
    options = chosen[0].model_dump(exclude={chosen[0].switch})
    general = recipe.model_dump(include={"epochs", "batch_size", "optimizer", "learning_rate", "seed"})
    return SubsetRecord({"method": chosen[0].method, **options, "detector": detector, **general}, record.subsets)
