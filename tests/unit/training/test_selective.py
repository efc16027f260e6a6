"""Selective-Backprop: the choice by hand, and what it does to a training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError
from dataset_culling.training.data import Loader
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.selective_backprop.config import SelectiveBackpropConfig, num_kept
from dataset_culling.training.techniques.selective_backprop.technique import (
    SelectiveBackprop,
    draw,
    percentiles,
    t_diff_s,
)
from squares import Squares, student, training_of, weights


def on(epochs: int = 4, batch_size: int = 4, **options: object) -> Recipe:
    """Return a recipe with Selective-Backprop."""
    section = {"enabled": True, **options}
    return parse_config(
        Recipe,
        {"epochs": epochs, "batch_size": batch_size, "techniques": {"selective_backprop": section}},
        where="test",
    )


ON = on()


def test_percentiles__worked_by_hand():
    found = percentiles(np.array([2.0, 4.0]), np.array([4.0, 2.0, 1.0, 2.0]))
    assert found.tolist() == [0.5, 0.875]  # (1 + 3) / 8, (3 + 4) / 8


def test_percentiles__of_the_first_batch_are_its_ranks():
    losses = np.array([3.0, 9.0, 1.0, 5.0])
    assert percentiles(losses, losses).tolist() == [0.375, 0.875, 0.125, 0.625]  # MosaicML's (rank + 1/2) / B


@pytest.mark.parametrize(
    ("keep", "often"), [pytest.param(0.5, 0.75, id="beta 1"), pytest.param(0.25, 27 / 28, id="beta 3")]
)
def test_draw__as_often_as_the_percentile_says(keep, often):
    rng = np.random.default_rng(0)
    found = [draw(np.array([0.25, 0.75]), keep, rng) for _ in range(4000)]
    assert np.mean([chosen == [1] for chosen in found]) == pytest.approx(often, abs=0.03)
    assert {tuple(chosen) for chosen in found} == {(0,), (1,)}


def test_draw__no_image_twice_and_in_the_batchs_order():
    rng = np.random.default_rng(1)
    for _ in range(50):
        chosen = draw(np.linspace(0.01, 0.99, 9), 0.7, rng)
        assert chosen == sorted(set(chosen))
        assert len(chosen) == 6


def test_num_kept__never_none():
    assert [num_kept(count, 0.5) for count in (1, 2, 3, 4, 32)] == [1, 1, 2, 2, 16]
    assert num_kept(4, 0.1) == 1


def test_selects__epochs_from_start_to_before_end():
    config = SelectiveBackpropConfig(enabled=True)
    assert [epoch for epoch in range(30) if config.selects(epoch, 30)] == list(range(15, 27))
    assert not any(SelectiveBackpropConfig().selects(epoch, 30) for epoch in range(30))


@pytest.mark.parametrize(("interrupt", "chosen"), [(2, [1, 3, 5]), (3, [1, 2, 4, 5]), (0, [0, 1, 2, 3, 4, 5])])
def test_chooses__every_so_many_batches_one_is_whole(interrupt, chosen):
    config = SelectiveBackpropConfig(enabled=True, interrupt=interrupt)
    selector = SelectiveBackprop(config, training_of(student(), Squares(100), ON))
    assert [batch for batch in range(6) if selector.chooses(2, batch, 4)] == chosen
    assert not any(selector.chooses(1, batch, 4) for batch in range(6))  # before the start
    assert not any(selector.chooses(2, batch, 1) for batch in range(6))  # a last batch of one


def test_choose__remembers_an_epochs_losses_and_compares_with_them():
    selector = SelectiveBackprop(SelectiveBackpropConfig(enabled=True), training_of(student(), Squares(3), ON))
    selector.choose(np.array([5.0, 6.0]))
    often = np.zeros(2)
    for _ in range(300):
        selector.history = np.array([7.0, 5.0, 6.0])
        often[selector.choose(np.array([1.0, 2.0]))] += 1
    assert selector.history.tolist() == [6.0, 1.0, 2.0]
    assert often[1] / 300 == pytest.approx(0.75, abs=0.06)  # percentiles 1/6 and 3/6


def test_selector__nothing_to_choose_is_refused():
    with pytest.raises(
        ConfigError, match=r"recipe\.techniques\.selective_backprop: .* keep 0\.5 .* found batch_size 1\."
    ):
        train(student(), Squares(2), ON.model_copy(update={"batch_size": 1}))  # not validated


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 1}, r"selective_backprop: expected batches of which keep 0\.5 .* found batch_size 1"),
        ({"keep": 0.9}, r"keep 0\.9 leaves out an image, found batch_size 4"),
        ({"interrupt": 1}, r"interrupt expects 0, or 2 and more, .* found 1"),
    ],
)
def test_recipe__selection_without_a_choice_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        on(**change)
    assert on(**change, enabled=False).batch_size  # off, as in the preset `paper`


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 1}, "none of the 1 epochs is between start 0.5 and end 0.9"),
        ({"epochs": 2, "batch_size": 8}, "interrupt left each whole"),  # the only batch is the 0th
        ({"epochs": 2, "batch_size": 2}, ""),
    ],
)
def test_train__selection_that_came_to_nothing_is_noted(change, said):
    notes = train(student(), Squares(4), on(**change)).notes
    assert bool(notes) == bool(said)
    assert all(note.startswith("selective_backprop chose from no batch: ") and said in note for note in notes)


def test_recipe__the_end_lies_behind_the_start():
    with pytest.raises(ConfigError, match=r"start must be below end, found 0\.9 and 0\.5"):
        on(start=0.9, end=0.5)


def test_t_diff_s__mean_outside_less_mean_inside():
    config = SelectiveBackpropConfig(enabled=True)
    assert t_diff_s(config, 4, [10.0, 8.0, 6.0, 5.0]) == pytest.approx(9.0 - 5.5)  # epochs 2 and 3 select
    assert t_diff_s(SelectiveBackpropConfig(), 2, [1.0, 2.0]) == 0.0


def test_train__images_are_counted_and_the_batch_is_cut():
    detector = student()
    sizes, plain = [], detector.losses

    def counted(batch, targets):
        sizes.append(len(batch))
        assert len(targets) == len(batch)
        return plain(batch, targets)

    detector.losses = counted
    record = train(detector, Squares(8), ON)
    assert record.images_backpropagated == (8, 8, 6, 6)  # of two batches of four, one is whole and one halved
    assert sizes == [4, 4, 4, 4, 4, 2, 4, 2]
    assert len(record.epoch_s) == 4
    assert bool(weights(detector).isfinite().all())


def test_train__until_it_starts_training_is_the_plain_one():
    chosen, whole = student(), student()
    record, plain = (
        train(one, Squares(8), on(enabled=enabled, interrupt=0)) for one, enabled in ((chosen, True), (whole, False))
    )
    assert record.losses[:2] == plain.losses[:2]
    assert record.losses[2] != plain.losses[2]
    assert plain.images_backpropagated == (8, 8, 8, 8)
    assert record.images_backpropagated == (8, 8, 4, 4)


def test_train__equal_seeds_choose_alike():
    found = []
    for _ in range(2):
        detector = student()
        train(detector, Squares(8), on(start=0.0).replace(batch_norm="train", soft_labels=0.5))
        found.append(weights(detector))
    assert torch.equal(*found)


def test_losses_by_image__statistics_stay_and_bfloat16_is_near():
    detector = student()
    detector.module.train()
    before = detector.state()
    images = torch.stack([torch.from_numpy(Squares()[row].image).permute(2, 0, 1) for row in range(2)])
    targets = [Loader(detector, Squares(), 0)[row].target for row in range(2)]
    torch.manual_seed(0)
    full = detector.losses_by_image(images, targets)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        half = detector.losses_by_image(images, targets)
    torch.testing.assert_close(half, full, rtol=0.1, atol=0.0)
    assert half.dtype == torch.float32
    assert all(torch.equal(value, before[key]) for key, value in detector.state().items())
    assert all(part.training for part in detector.module.modules())
