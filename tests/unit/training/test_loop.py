"""The training loop on a detector small enough for a unit test."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dataset_culling.detectors.torch_base import Target
from dataset_culling.detectors.torchvision_rcnn import RCNNDetector
from dataset_culling.errors import ConfigError
from dataset_culling.training.augment import augment
from dataset_culling.training.data import Loader, Prepared
from dataset_culling.training.loop import TrainingDiverged, train
from dataset_culling.training.recipe import Recipe
from squares import Squares, student, weights


def test_train__equal_seeds_give_equal_weights_and_others_do_not():
    recipe = Recipe(epochs=2, batch_size=2, seed=5)
    results = []
    for seed in (5, 5, 6):
        detector = student()
        train(detector, Squares(), recipe.replace(seed=seed))
        results.append(weights(detector))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_train__leaves_torchs_own_generator_as_it_was():
    detector = student()
    before = torch.random.get_rng_state()
    train(detector, Squares(2), Recipe(epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_train__learns_four_squares():
    detector = student()
    recipe = Recipe(epochs=60, learning_rate=3e-3, flip=False, photometric=0.0, batch_norm="train", ema_decay=0.9)
    record = train(detector, Squares(), recipe)
    assert sum(record.losses[-1].values()) < 0.5 * sum(record.losses[0].values())
    assert record.steps == 60
    found = detector.predict([Squares()[0].image])[0]
    assert found.class_ids[0] == 0
    np.testing.assert_allclose(found.boxes_xyxy[0], [10, 20, 50, 60], atol=6)


def test_train__progress_counts_every_step():
    seen = []
    train(
        student(), Squares(3), Recipe(epochs=2, batch_size=2), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_train__nan_stops_it_and_names_step_and_images():
    detector = student()
    with torch.no_grad():
        next(iter(detector.module.parameters())).fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match=r"found nan at step 0 of 1 .*images frame \d, frame \d"):
        train(detector, Squares(2), Recipe(epochs=1, batch_size=2))


def test_train__no_sample_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        train(student(), Squares(0), Recipe())


def test_train__frozen_batch_norm_keeps_its_statistics():
    detector = student()
    before = {key: value for key, value in detector.state().items() if "running_mean" in key}
    train(detector, Squares(), Recipe(epochs=1, ema_decay=0.0))
    after = detector.state()
    assert before
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_augment__a_mirrored_box_mirrors_with_its_image():
    image = torch.zeros(3, 10, 20, dtype=torch.uint8)
    image[:, 2:5, 3:8] = 255
    target = Target(torch.tensor([[3.0, 2, 8, 5]]), torch.tensor([0]), torch.ones(1), torch.tensor([False]))
    recipe = Recipe(photometric=0.0)
    seen = set()
    for seed in range(10):
        batch, (out,) = augment([Prepared(image, target)], recipe, np.random.default_rng(seed))
        x1, y1, x2, y2 = (int(value) for value in out.boxes_xyxy[0])
        assert batch[0, :, y1:y2, x1:x2].min() == 255
        assert int((batch[0] == 255).sum()) == 3 * 15
        seen.add(x1)
    assert seen == {3, 12}


def test_train__early_stop_keeps_the_best_epoch(monkeypatch):
    scores = iter([0.1, 0.4, 0.3, 0.2, 0.9])
    states = []

    def graded(found, truth):
        assert (len(found), len(truth.scores)) == (2, 2)
        states.append(weights(detector))
        return SimpleNamespace(map_50_95=next(scores))

    monkeypatch.setattr("dataset_culling.training.early_stop.evaluate", graded)  # mAP after each epoch, by decree
    detector = student()
    recipe = Recipe(epochs=5, batch_size=2, early_stop_patience=2)
    record = train(detector, Squares(), recipe, watched=Squares(2))
    assert (record.best_epoch, record.watched_map) == (2, (0.1, 0.4, 0.3, 0.2))
    assert (record.steps, len(record.losses)) == (8, 4)
    assert torch.equal(weights(detector), states[1])
    assert not detector.module.training


def test_train__watching_changes_nothing_but_when_it_ends():
    watched, plain = student(), student()
    recipe = Recipe(epochs=2, batch_size=2, ema_decay=0.0)
    record = train(watched, Squares(), recipe, watched=Squares(2))
    train(plain, Squares(), recipe.replace(epochs=record.best_epoch, schedule="cosine"))
    again = train(student(), Squares(), recipe)
    assert record.losses == again.losses
    assert len(record.watched_map) == 2


def test_train__bfloat16_learns_what_float32_learns():
    recipe = Recipe(epochs=2, batch_size=4, warmup_steps=0)
    full, half = student(), student()
    of_full = train(full, Squares(), recipe)
    of_half = train(half, Squares(), recipe.replace(precision="bfloat16"))
    assert sum(of_half.losses[0].values()) == pytest.approx(sum(of_full.losses[0].values()), rel=0.05)
    assert not torch.equal(weights(half), weights(full))
    assert all(parameter.dtype == torch.float32 for parameter in half.module.parameters())


def test_train__float16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match=r"recipe\.precision: expected float32 or bfloat16 on a cpu, found float16"):
        train(student(), Squares(), Recipe(epochs=1, precision="float16"))


def test_loader__a_box_counts_by_the_teachers_score():
    detector = student()
    (loaded,) = Loader(detector, Squares(1, score=0.6), 0, soft_labels=0.5)[0].target.weights.tolist()
    assert loaded == pytest.approx(0.8)  # 1 - 0.5 * (1 - 0.6)
    assert Loader(detector, Squares(1, score=0.6), 0)[0].target.weights.tolist() == [1.0]


def test_train__soft_labels_reach_the_box_heads_loss():
    losses = []
    for score in (1.0, 0.5):
        detector = student()
        recipe = Recipe(epochs=1, batch_size=4, warmup_steps=0, flip=False, photometric=0.0, soft_labels=1.0)
        record = train(detector, Squares(score=score), recipe)
        losses.append(record.losses[0])
    whole, half = losses
    # One step: the same proposals; only regions on a box give box losses, and each counts half.
    assert half["loss_box_reg"] == pytest.approx(whole["loss_box_reg"] / 2, rel=1e-4)
    assert half["loss_classifier"] < whole["loss_classifier"]
    assert half["loss_objectness"] == whole["loss_objectness"]


def test_train__soft_labels_that_a_detector_does_not_weigh_are_refused(monkeypatch):
    monkeypatch.setattr(RCNNDetector, "weighs_labels", False)
    with pytest.raises(ConfigError, match=r"recipe\.soft_labels: expected 0 for tiny, .*found 0\.5"):
        train(student(), Squares(), Recipe(epochs=1, soft_labels=0.5))
