"""Feature distillation: hand-worked distances of maps, and that it teaches the student and no one else."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dataset_culling.detectors.embedded import build_spec
from dataset_culling.detectors.torchvision_rcnn import RCNNDetector
from dataset_culling.errors import ConfigError
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.distillation.feature_maps import FeatureDistillation, map_distance
from squares import SPEC, Squares, student, weights

WIDE = dataclasses.replace(SPEC, channels=(6, 10, 12, 16, 20), pyramid=24)


def teacher() -> RCNNDetector:
    torch.manual_seed(7)
    return build_spec("tiny_teacher", WIDE, ("a", "b"))


def test_map_distance__counts_the_pattern_and_not_its_size():
    maps = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(1, 1, 2, 2)
    assert map_distance(maps, 5 * maps + 3).item() == pytest.approx(0, abs=1e-9)
    assert map_distance(maps, -maps).item() == pytest.approx(2, abs=1e-4)
    # 1 2 3 6 has mean 3, deviation sqrt(3.5); 1 0 0 1 has mean 0.5, deviation 0.5. Correlation: (1 + 6 - 4 * 1.5) / 4
    # = 0.25 over sqrt(3.5) * 0.5, and the distance is 1 less that.
    other = torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 2, 2)
    assert map_distance(maps, other).item() == pytest.approx(1 - 0.25 / (3.5**0.5 * 0.5), abs=1e-4)


def test_map_distance__normalises_each_channel_over_the_batch():
    maps = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([1.0, 10.0, 0.1, 3.0]).reshape(1, 4, 1, 1)
    assert map_distance(maps, maps * sizes).item() == pytest.approx(0, abs=1e-8)
    per_image = torch.tensor([1.0, 10.0, 0.1]).reshape(3, 1, 1, 1)
    assert map_distance(maps, maps * per_image).item() > 0.1


def test_map_distance__resizes_the_students_map():
    rising = torch.linspace(0, 1, 32).expand(1, 1, 24, 32)
    theirs = torch.linspace(0, 1, 33).expand(1, 1, 25, 33)
    assert map_distance(rising, theirs).item() == pytest.approx(0, abs=1e-3)


def test_feature_distillation__pairs_maps_of_like_size_and_adapts_channels():
    own, big = student(), teacher()
    distillation = FeatureDistillation(own, big, height_px=96, width_px=128)
    grey = torch.zeros(1, 3, 96, 128, dtype=torch.uint8)
    mine, theirs = own.feature_maps(grey), big.feature_maps(grey)
    assert [(s, t) for s, t in distillation.pairs] == [(k, k) for k in range(len(mine))]
    for (s, t), adapter in zip(distillation.pairs, distillation.adapters, strict=True):
        assert adapter(mine[s]).shape == theirs[t].shape


def test_feature_distillation__teaches_the_student_and_never_the_teacher():
    own, big = student(), teacher()
    before = weights(big)
    plain = train(student(), Squares(), Recipe(epochs=2, batch_size=2))
    recipe = Recipe(epochs=30, batch_size=2, learning_rate=3e-3, photometric=0.0, batch_norm="train", distillation=1.0)
    record = train(own, Squares(), recipe, teacher=big)
    assert "distillation" not in plain.losses[0]
    assert record.losses[-1]["distillation"] < 0.6 * record.losses[0]["distillation"]
    assert torch.equal(weights(big), before)
    assert not big.module.training
    assert set(own.state()) == set(student().state())  # adapters are no part of the result


def test_train__distillation_without_a_torch_teacher_is_refused():
    with pytest.raises(ConfigError, match=r"recipe\.techniques\.distillation: this needs a teacher with feature maps"):
        train(student(), Squares(), Recipe(epochs=1, distillation=1.0))
