"""What holds for every technique of training: it trains, survives a kill, is off by default, has a card."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dataset_culling.training.techniques as techniques
from dataset_culling.training.checkpoint import unpack
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.table import TECHNIQUES, config_class
from dataset_culling.types import Subset
from squares import Squares, student, weights

FOLDER = Path(techniques.__file__).parent
CARD_SECTIONS = ("## What it does", "## When to use it", "## Cost", "## Measured", "## Source")
ON: dict[str, dict[str, object]] = {
    "gradmatch": {"enabled": True, "share": 0.5, "every": 1},
    "random_pb": {"enabled": True, "share": 0.5, "every": 1},
    "random_subset": {"enabled": True, "share": 0.6, "every": 1},
    "recorded_subsets": {"source": "r.jsonl"},
    "selective_backprop": {"enabled": True, "start": 0.0, "interrupt": 0},
    "distillation": {"weight": 1.0},
    "expand_nets": {"rate": 2},
    "low_rank": {"strength": 30.0, "energy": 0.8},
    "pruning": {"strength": 20.0},
    "cyclical": {"enabled": True, "cycle_epochs": 1.0},
}
RECORDED = (Subset(0, (("frame 0", "frame 3"), ("frame 1",)), (1.2, 0.8), True),)


class Killed(Exception):
    """Stands for the death of the process."""


class Memory:
    """A checkpoint in memory, written after every step."""

    every_s = 0.0
    where = "memory"
    data: bytes | None = None

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data


def recipe_with(name: str) -> Recipe:
    return Recipe(epochs=3, batch_size=2, warmup_steps=0, seed=5, techniques={name: ON[name]})


def trained(recipe: Recipe, **more: object) -> tuple[torch.Tensor, object]:
    detector = student()
    record = train(detector, Squares(5), recipe, teacher=student(), recorded=RECORDED, **more)
    return weights(detector), record


@pytest.mark.parametrize("name", TECHNIQUES)
def test_technique__changes_training_and_survives_a_kill(name):
    recipe, memory = recipe_with(name), Memory()

    def kill(done: int, total: int) -> None:
        if done == total // 2:
            raise Killed

    whole, record = trained(recipe)
    plain, _ = trained(Recipe(epochs=3, batch_size=2, warmup_steps=0, seed=5))
    assert whole.shape != plain.shape or not torch.equal(whole, plain)
    with pytest.raises(Killed):
        trained(recipe, checkpoints=memory, progress=kill)
    assert memory.data is not None
    assert unpack(memory.data, where="memory").facts["progress"]["step"] > 0
    resumed, again = trained(recipe, checkpoints=memory)
    assert again.resumed_at_step > 0
    assert torch.equal(resumed, whole)
    assert (again.losses, again.subsets) == (record.losses, record.subsets)


@pytest.mark.parametrize("name", TECHNIQUES)
def test_technique__is_off_by_default(name):
    assert not config_class(name)().is_on
    assert Recipe().techniques.on() == {}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_technique__has_a_folder_with_code_and_a_card(name):
    assert {path.name for path in (FOLDER / name).iterdir()} >= {
        "__init__.py",
        "config.py",
        "technique.py",
        "README.md",
    }
    card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    assert [section for section in CARD_SECTIONS if section not in card] == []


def test_table__has_a_row_for_every_folder():
    assert {path.parent.name for path in FOLDER.glob("*/__init__.py")} == set(TECHNIQUES) == set(ON)


@pytest.mark.parametrize(
    ("flat", "section"),
    [
        ({"prune": 0.3, "prune_l1_share": 0.1}, {"pruning": {"strength": 0.3, "l1_share": 0.1}}),
        ({"low_rank": 0.6, "low_rank_energy": 0.9}, {"low_rank": {"strength": 0.6, "energy": 0.9}}),
        ({"expand": 4}, {"expand_nets": {"rate": 4}}),
        ({"distillation": 1.0}, {"distillation": {"weight": 1.0}}),
        ({"schedule": "cyclical", "cycle_epochs": 2}, {"cyclical": {"enabled": True, "cycle_epochs": 2}}),
        ({"selective_backprop": True, "selective_keep": 0.25}, {"selective_backprop": {"enabled": True, "keep": 0.25}}),
        ({"subset": "random"}, {"random_subset": {"enabled": True}}),
        ({"subset_replay": "r.jsonl", "subset": "none"}, {"recorded_subsets": {"source": "r.jsonl"}}),
    ],
)
def test_recipe__accepts_flat_names_of_earlier_releases(flat, section):
    assert Recipe.model_validate(flat) == Recipe(techniques=section)
