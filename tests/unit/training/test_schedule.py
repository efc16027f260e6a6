"""The learning rate, step by step."""

from __future__ import annotations

import pytest

from dataset_culling.training.recipe import PAPER, Recipe
from dataset_culling.training.schedule import schedule_share, warmup_share
from dataset_culling.training.techniques.table import hook_class
from squares import Squares, student, training_of

CYCLE = Recipe(techniques={"cyclical": {"enabled": True, "cycle_epochs": 4, "floor": 0.25}}, warmup_steps=0)
"""Ten steps an epoch: up in 20 steps, down in 20."""


@pytest.mark.parametrize(
    ("recipe", "step", "wanted"),
    [
        pytest.param(PAPER, 8 * 10, 1.0, id="the paper's epoch 8"),
        pytest.param(PAPER, 9 * 10, 0.1, id="a tenth at epoch 9"),
        pytest.param(PAPER, 18 * 10, 0.01, id="a hundredth at epoch 18"),
        pytest.param(Recipe(warmup_steps=0), 100, 0.5, id="cosine is half way down in the middle"),
        pytest.param(Recipe(warmup_steps=9, schedule="constant"), 4, 0.5, id="warm-up rises linearly"),
        pytest.param(CYCLE, 0, 0.25, id="a cycle starts at its floor"),
        pytest.param(CYCLE, 10, 0.625, id="half way up"),
        pytest.param(CYCLE, 20, 1.0, id="the top after half a cycle"),
        pytest.param(CYCLE, 35, 0.4375, id="three quarters down"),
        pytest.param(CYCLE, 60, 1.0, id="the second top"),
        pytest.param(
            CYCLE.replace(warmup_steps=39), 19, 0.5 * (0.25 + 0.75 * 0.95), id="warm-up dampens the first rise"
        ),
    ],
)
def test_rate__worked_by_hand(recipe, step, wanted):
    share = schedule_share(step, 200, 10, recipe)
    if config := recipe.techniques.on().get("cyclical"):
        cyclical = hook_class("cyclical")(config, training_of(student(), Squares(1), recipe))
        share = cyclical.learning_rate_share(step, 10)
    assert warmup_share(step, recipe) * share == pytest.approx(wanted)
