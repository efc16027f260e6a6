"""Training on subsets: what each epoch looks at, that replaying is the same again, and whose gradients are matched."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.training.data import Loader
from dataset_culling.training.freezing import set_training_mode
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.expand_nets.factors import contract, expand
from dataset_culling.training.techniques.gradmatch.technique import batch_gradients
from dataset_culling.types import Subset
from squares import Squares, student, training_of, weights

EIGHT = Recipe(
    epochs=4, batch_size=2, subset="random-pb", subset_share=0.5, subset_every=2, subset_warm=0.25, scale_jitter=0.5
)
"""Eight images: one epoch of four steps, then three of two; one subset for epochs 1 and 2, another for epoch 3."""


@dataclass
class OfAnotherNight(Squares):
    """The same images under other names."""

    def name(self, row: int) -> str:
        return f"frame {1000 + row}"


def all_names(subset: Subset) -> list[str]:
    return [name for group in subset.groups for name in group]


@pytest.mark.parametrize("method", ["gradmatch", "random-pb"])
def test_train__after_the_warm_epochs_it_looks_at_batches_that_stay_as_they_are(method):
    seen = []
    record = train(
        student(), Squares(8), EIGHT.replace(subset=method), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(step + 1, 10) for step in range(10)]
    assert [one.epoch for one in record.subsets] == [1, 3]
    batches = set()
    for subset in record.subsets:
        assert subset.batched
        assert [len(group) for group in subset.groups] == [2, 2]
        assert sum(subset.weights) == pytest.approx(2)
        assert len(set(all_names(subset))) == 4
        batches |= {frozenset(group) for group in subset.groups}
    assert sum(len(batch) for batch in batches) == len(frozenset().union(*batches))  # no frame in two batches
    assert all(sum(loss.values()) > 0 for loss in record.losses)


def test_train__random_subsets_are_of_frames_and_batches_are_made_anew():
    record = train(student(), Squares(8), EIGHT.replace(subset="random", subset_share=0.6, subset_every=1))
    assert record.steps == 4 + 3 * 3  # five of eight frames are three batches
    assert [one.epoch for one in record.subsets] == [1, 2, 3]
    assert all(not one.batched and len(set(all_names(one))) == 5 for one in record.subsets)
    assert len({frozenset(all_names(one)) for one in record.subsets}) > 1


def test_train__without_subsets_nothing_is_recorded_and_a_share_of_one_looks_at_all():
    assert train(student(), Squares(2), Recipe(epochs=1)).subsets == ()
    record = train(student(), Squares(5), EIGHT.replace(subset="gradmatch", subset_share=1, epochs=2, subset_warm=0))
    assert sorted(all_names(record.subsets[0])) == [f"frame {row}" for row in range(5)]


@pytest.mark.parametrize("method", ["gradmatch", "random"])
def test_train__replaying_its_own_record_gives_the_same_weights_bit_for_bit(method):
    chosen, replayed = student(), student()
    recipe = EIGHT.replace(subset=method)
    record = train(chosen, Squares(8), recipe)
    assert record.figures["choosing_s"] > 0
    again = train(replayed, Squares(8), recipe.replace(subset="none", subset_replay="r.jsonl"), recorded=record.subsets)
    assert torch.equal(weights(replayed), weights(chosen))
    assert again.subsets == record.subsets
    assert again.notes == ()


def test_train__a_replay_under_another_recipe_looks_at_what_was_recorded():
    record = train(student(), Squares(8), EIGHT)
    other = Recipe(epochs=6, batch_size=3, optimizer="sgd", learning_rate=1e-4, subset_replay="r.jsonl", ema_decay=0.0)
    again = train(student(), Squares(8), other, recorded=record.subsets)
    first, last = record.subsets
    assert again.subsets == (replace(first, epoch=0), last)  # without warm epochs the first one comes at once
    assert again.steps == 6 * 2  # recorded batches stay batches of two


@pytest.mark.parametrize(
    ("clip_norm", "long"), [pytest.param(0.0, None, id="unclipped"), pytest.param(0.01, 0.001, id="clipped")]
)
def test_train__a_batchs_step_is_as_long_as_its_weight_says(clip_norm, long):
    recipe = Recipe(
        epochs=1, batch_size=1, optimizer="sgd", learning_rate=0.1, weight_decay=0.0, clip_norm=clip_norm,
        subset_replay="r.jsonl", ema_decay=0.0, warmup_steps=0,
    )  # fmt: skip
    before, moved = weights(student()), {}
    for heavy in (0.5, 1.0, 2.0):  # one step each, so Adam would make them alike
        detector = student()
        train(detector, Squares(1), recipe, recorded=[Subset(0, (("frame 0",),), (heavy,), True)])
        moved[heavy] = float((weights(detector) - before).norm())
    assert moved[1.0] > 1e-4
    assert moved[0.5] == pytest.approx(0.5 * moved[1.0], rel=1e-3)
    assert moved[2.0] == pytest.approx(2 * moved[1.0], rel=1e-3)
    assert long is None or moved[1.0] == pytest.approx(long, rel=1e-3)  # rate times clip_norm


def test_train__warm_epochs_that_are_all_are_noted():
    (note,) = train(student(), Squares(2), EIGHT.replace(epochs=2, subset_warm=0.8)).notes
    assert note.startswith("no subset: warm 0.8 of 2 epochs is all of them")


def test_train__frames_that_are_not_there_any_more_are_left_out_with_a_note():
    groups = (("frame 0", "frame 7"), ("frame 1",), ("frame 8",))
    recorded = [Subset(0, groups, (1.5, 0.5, 1.0), True), Subset(1, (("frame 9",),), (1.0,), True)]
    record = train(student(), Squares(3), Recipe(epochs=2, subset_replay="r.jsonl"), recorded=recorded)
    (left,) = record.subsets  # of the second one nothing is left, so the first one goes on
    assert left.groups == (("frame 0",), ("frame 1",))
    assert left.weights == (1.5, 0.5)
    assert record.steps == 4
    assert record.notes == (
        "subset replay: 3 of the 5 samples that r.jsonl names are not among these and were left out",
    )


def test_train__a_replay_with_nothing_in_common_is_refused():
    record = train(student(), Squares(2), EIGHT.replace(epochs=1, subset_warm=0))
    with pytest.raises(
        InputError, match=r"^r\.jsonl: expected subsets of these 2 samples \(frame 1000, \.\.\.\), found"
    ):
        train(student(), OfAnotherNight(2), Recipe(epochs=1, subset_replay="r.jsonl"), recorded=record.subsets)


def test_recipe__a_replay_goes_without_a_method():
    with pytest.raises(ConfigError, match="gradmatch and recorded_subsets both choose an epoch's batches"):
        parse_config(Recipe, {"subset": "gradmatch", "subset_replay": "r.jsonl"}, where="test")


def test_last_layers__of_an_rcnn_are_its_four_predictors():
    detector = student()
    loader = Loader(detector, Squares(1), 0)
    set_training_mode(detector.module, batch_norm="frozen", frozen=[])
    batch, targets = torch.stack([loader[0].image]), [loader[0].target]
    assert set(detector.last_layers(batch, targets)) == {
        "rpn.head.cls_logits", "rpn.head.bbox_pred", "roi_heads.box_predictor.cls_score",
        "roi_heads.box_predictor.bbox_pred",
    }  # fmt: skip
    detector.module.rpn.head.cls_logits.requires_grad_(False)
    assert "rpn.head.cls_logits" not in detector.last_layers(batch, targets)


def test_batch_gradients__are_those_that_training_would_take():
    detector = student()
    training = training_of(detector, Squares(4), Recipe(seed=3))
    loader = training.loader
    found = batch_gradients(training, [[0, 1], [2, 3]])
    batch, targets = torch.stack([loader[row].image for row in (2, 3)]), [loader[row].target for row in (2, 3)]
    layers = detector.last_layers(batch, targets)
    torch.manual_seed(3)
    sum(detector.losses(batch, targets).values()).backward()
    wanted = torch.cat([one.grad.flatten() for layer in layers.values() for one in (layer.weight, layer.bias)])
    np.testing.assert_allclose(found[1], wanted.numpy(), atol=1e-6)
    assert found.shape == (2, len(wanted))
    assert not np.allclose(found[0], found[1])
    assert all(one.requires_grad for one in detector.module.parameters())


def test_batch_gradients__of_expanded_kernels_are_those_of_the_kernels():
    detector = student()
    training = training_of(detector, Squares(2), Recipe())
    plain = batch_gradients(training, [[0, 1]])
    expand(detector.module, 2)
    np.testing.assert_allclose(batch_gradients(training, [[0, 1]]), plain, atol=1e-4, rtol=1e-3)
    contract(detector.module)


def test_batch_gradients__load_an_image_that_is_not_kept_once_and_the_fullest_batch_twice(monkeypatch):
    monkeypatch.setattr("dataset_culling.training.data.CACHE_BYTES", 0)
    loaded = []

    class Seen(Squares):
        def __getitem__(self, row):
            loaded.append(row)
            return super().__getitem__(row)

    detector = student()
    training = training_of(detector, Seen(4), Recipe())
    batches = training.loader.batches(np.arange(4), 2)
    loaded.clear()
    batch_gradients(training, batches)
    assert sorted(loaded) == [0, 0, 1, 1, 2, 3]


def test_batch_gradients__draw_from_generators_of_their_own():
    detector = student()
    before = torch.random.get_rng_state()
    batch_gradients(training_of(detector, Squares(1), Recipe(seed=3)), [[0]])
    assert torch.equal(torch.random.get_rng_state(), before)
