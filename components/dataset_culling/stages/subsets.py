"""The subsets that trainings look at, from and to files; how they are chosen is in `training.subset`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dataset_culling.artifacts.subset import FILE, SubsetRecord, parse_subsets
from dataset_culling.errors import InputError
from dataset_culling.stages.teaching import Learned
from dataset_culling.storage import is_remote, open_object
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import Subset


def read_recorded(recipe: Recipe) -> tuple[tuple[Subset, ...], dict[str, str]]:
    """The subsets that the recipe's `subset_replay` names, none where it names none.

    Returns:
        The subsets, and {"subset_replay": sha256 of the file}, which is part of a training's identity; {} without one.

    Raises:
        InputError: If there is no such file, or it holds something else.
        StoreError: If the store does not answer or refuses.
    """
    uri = recipe.subset_replay
    if not uri:
        return (), {}
    data, where = _bytes(uri)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{where}: expected recorded subsets, found bytes that are no text. Name the {FILE} of a trained model."
        ) from None
    record = parse_subsets(text.splitlines(), where=where)
    return record.subsets, {"subset_replay": hashlib.sha256(data).hexdigest()}


def _bytes(uri: str) -> tuple[bytes, str]:
    """The file's bytes and full name, where a URI names it, or the model/1 that it lies in."""
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
            f"{path}: expected recorded subsets, found {error.strerror or error}. Train with recipe.subset to record "
            f"them, or mend recipe.subset_replay."
        ) from None


def record_of(recipe: Recipe, learned: Learned) -> SubsetRecord | None:
    """What to write of a training's subsets; None where it looked at everything."""
    if not learned.record.subsets:
        return None
    how: dict[str, object] = {"method": recipe.subset, "share": recipe.subset_share, "every": recipe.subset_every}
    if recipe.subset_replay:
        how = {"method": "replay"}
    return SubsetRecord(
        {
            **how,
            "warm": recipe.subset_warm,
            "detector": learned.card.detector,
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "optimizer": recipe.optimizer,
            "learning_rate": recipe.learning_rate,
            "seed": recipe.seed,
        },
        learned.record.subsets,
    )
