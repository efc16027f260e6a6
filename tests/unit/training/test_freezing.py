"""Frozen layers: those that an image meets first."""

from __future__ import annotations

import pytest
import torch

from dataset_culling.detectors.compact import LowRank
from dataset_culling.errors import ConfigError
from dataset_culling.training.freezing import early_layers
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.low_rank.ranks import factorise
from squares import Squares, student


def test_early_layers__in_the_order_of_a_forward_pass():
    detector = student()
    stem = detector.module.backbone.stem
    # Three convolutions, each with its batch norm; a fourth begins the next stage.
    assert early_layers(detector, 3) == [stem[0][0], stem[0][1], stem[1][0], stem[1][1], stem[2][0], stem[2][1]]
    assert early_layers(detector, 0) == []
    assert not detector.module.training
    assert not any(layer._forward_pre_hooks for layer in detector.module.modules())


def test_early_layers__all_of_them_is_refused():
    with pytest.raises(ConfigError, match=r"frozen_layers: expected less than the \d+ convolutions of tiny, found 999"):
        early_layers(student(), 999)


def test_early_layers__what_is_held_as_two_counts_once():
    whole, small = student(), student()
    factorise(small, 0.3)
    stem = small.module.backbone.stem
    assert isinstance(stem[0][0], LowRank)
    assert isinstance(stem[1][0], LowRank)
    assert early_layers(small, 2) == [*stem[0][0], stem[0][1], *stem[1][0], stem[1][1]]
    assert len(early_layers(whole, 2)) == 4


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_train__frozen_layers_keep_every_bit_and_the_rest_learns(batch_norm):
    detector = student()
    detector.module.backbone.stem[1][0].weight.requires_grad_(False)  # it was frozen before, and stays so
    before = detector.state()
    train(detector, Squares(), Recipe(epochs=1, frozen_layers=2, batch_norm=batch_norm, ema_decay=0.0))
    after = detector.state()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert not any(key.startswith(("backbone.stem.0", "backbone.stem.1")) for key in changed)
    assert "backbone.stem.2.0.weight" in changed
    assert ("backbone.stem.2.1.running_mean" in changed) == (batch_norm == "train")
    assert detector.module.backbone.stem[0][0].weight.requires_grad
    assert not detector.module.backbone.stem[1][0].weight.requires_grad
