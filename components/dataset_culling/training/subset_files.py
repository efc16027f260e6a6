"""The subsets that trainings look at, from and to files; how they are chosen is in `training.techniques.gradmatch.matching`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dataset_culling.artifacts.subset import FILE, SubsetRecord, parse_subsets
from dataset_culling.config import parse_config
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
    if not recipe.subset_replay:
        return (), {}
    record, data = _record(recipe.subset_replay)
    return record.subsets, {"subset_replay": hashlib.sha256(data).hexdigest()}


def by_lot_instead(recipe: Recipe) -> Recipe:
    """A recipe that replays, for frames that the record does not name: as large subsets, as often, by lot.

    Its warm epochs stay its own: they are what a replay goes by, too.

    Raises:
        ConfigError: If the record's share, or how often it was chosen, cannot be.
        InputError, StoreError: As `read_recorded`.
    """
    uri = recipe.subset_replay
    record, _ = _record(uri)
    told = {f"subset_{name}": record.chosen_by[name] for name in ("share", "every") if name in record.chosen_by}
    return parse_config(
        Recipe, {**recipe.model_dump(), "subset_replay": "", "subset": "random-pb", **told},
        where=f"recipe.subset_replay {uri}",
    )  # fmt: skip


def _record(uri: str) -> tuple[SubsetRecord, bytes]:
    """What a file holds, and its bytes."""
    data, where = _bytes(uri)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(
            f"{where}: expected recorded subsets, found bytes that are no text. Name the {FILE} of a trained model."
        ) from None
    return parse_subsets(text.splitlines(), where=where), data


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
