"""The group Lasso's proximal step, and neurons that are taken away."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import ConfigError
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.pruning.neurons import (
    dead,
    parameters_without,
    remove,
    shrink,
    silence,
    weakest,
)
from dataset_culling.training.techniques.pruning.wiring import Wiring, walk, wiring_of
from squares import Squares, student, weights


def chain(first: list[list[float]]) -> tuple[nn.Sequential, Wiring]:
    """Two 1x1 convolutions; the first one's rows are given, 3 numbers each."""
    module = nn.Sequential(nn.Conv2d(3, len(first), 1, bias=False), nn.ReLU(), nn.Conv2d(len(first), 1, 1, bias=False))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(first)[:, :, None, None])
    return module, walk(module)


def test_shrink__worked_by_hand():
    # |w| = 5, 1 and 13 with P = 3: t sqrt(3) = 2 takes 2 off the length of each, and all there is of the second.
    module, wiring = chain([[3.0, 4, 0], [0, 0, 1], [5, 12, 0]])
    last = module[2].weight.detach().clone()
    shrink(module, wiring, 2 / 3**0.5)
    wanted = torch.tensor([[3.0 * 3 / 5, 4 * 3 / 5, 0], [0, 0, 0], [5 * 11 / 13, 12 * 11 / 13, 0]])
    torch.testing.assert_close(module[0].weight[:, :, 0, 0].detach(), wanted)
    assert torch.equal(module[2].weight, last)
    assert dead(module, wiring)[wiring.outputs["0"]].tolist() == [False, True, False]


def test_shrink__the_l1_share_moves_single_numbers():
    # t = 4: a quarter of it moves each number by 1; then sqrt(3) 3 comes off |(2, 3, 0)| = sqrt(13), nothing is left,
    # and off |(7, 11, 0)| = sqrt(170).
    module, wiring = chain([[3.0, -4, 0.5], [8, 12, 1]])
    shrink(module, wiring, 4.0, l1_share=0.25)
    kept = 1 - 3 * 3**0.5 / 170**0.5
    wanted = torch.tensor([[0.0, 0, 0], [7 * kept, 11 * kept, 0]])
    torch.testing.assert_close(module[0].weight[:, :, 0, 0].detach(), wanted)


def test_shrink__the_strongest_of_a_layer_stays():
    module, wiring = chain([[1.0, 0, 0], [0, 2, 0]])
    shrink(module, wiring, 100.0)
    assert module[0].weight[:, :, 0, 0].tolist() == [[0, 0, 0], [0, 2, 0]]


def test_shrink__the_strongest_of_a_layer_stays_whatever_the_l1_share():
    module, wiring = chain([[1.0, 0, 0], [0.5, 2, 0]])
    shrink(module, wiring, 100.0, l1_share=1.0)
    assert module[0].weight[:, :, 0, 0].tolist() == [[0, 0, 0], [0.5, 2, 0]]
    # t = 1: the first loses its only number; the second keeps (0, 1, 0), which is something.
    module, wiring = chain([[1.0, 0, 0], [0.5, 2, 0]])
    shrink(module, wiring, 1.0, l1_share=1.0)
    assert module[0].weight[:, :, 0, 0].tolist() == [[0, 0, 0], [0, 1, 0]]


def test_dead__never_a_whole_layer():
    module, wiring = chain([[0.0, 0, 0], [0, 0, 0]])
    assert dead(module, wiring)[wiring.outputs["0"]].tolist() == [False, True]


def _some(wiring: Wiring, share: float) -> torch.Tensor:
    """Neurons at random, none that must stay and no layer's last one."""
    gone = (torch.rand(len(wiring), generator=torch.Generator().manual_seed(2)) < share) & wiring.removable
    for neurons in wiring.outputs.values():
        gone[neurons[0]] = False
    return gone


@pytest.mark.parametrize("name", ["squares", "tiny_1d", "yolox_nano", "yolox_tiny"])
def test_remove__says_what_the_masked_network_says(name):
    torch.manual_seed(0)
    if name == "squares":
        detector = student()
    else:
        detector = load_trainable(DetectorRef(name=name, weights="embedded" if name == "tiny_1d" else "none"))
    wiring = wiring_of(detector)
    gone = _some(wiring, 0.3)
    assert gone.sum() > 0.2 * wiring.removable.sum()
    silence(detector.module, wiring, gone)
    small = copy.deepcopy(detector)
    expected = parameters_without(detector.module, wiring, gone)
    remove(small, wiring, gone)
    assert small.num_parameters() == pytest.approx(expected, abs=len(wiring.outputs))
    assert small.num_parameters() < 0.75 * detector.num_parameters()
    image = torch.randint(0, 256, (1, 3, 96, 128), dtype=torch.uint8)
    for mine, theirs in zip(_said(small, image), _said(detector, image), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))
    assert small.gflops(96, 128, 96) < 0.9 * detector.gflops(96, 128, 96)
    assert small.layers()
    assert not detector.layers()


@torch.no_grad()
def _said(detector, image) -> list[torch.Tensor]:
    """Everything that the network says of an image; an R-CNN's box head of the whole of it and of a part."""
    if not hasattr(detector.module, "roi_heads"):
        return list(detector.module(image.float()))
    module = detector.module
    maps = module.backbone(image.float() / 255)
    scores, boxes = module.rpn.head(list(maps.values()))
    regions = [torch.tensor([[0.0, 0, 128, 96], [20, 10, 60, 70]])]
    hidden = module.roi_heads.box_head(module.roi_heads.box_roi_pool(maps, regions, [(96, 128)]))
    return [*scores, *boxes, *module.roi_heads.box_predictor(hidden)]


def test_remove__what_must_stay_is_refused():
    detector = student()
    wiring, before = wiring_of(detector), detector.state()
    with pytest.raises(ValueError, match="only removable"):
        remove(detector, wiring, torch.ones(len(wiring), dtype=torch.bool))
    with pytest.raises(ValueError, match="must keep a channel"):
        remove(detector, wiring, wiring.removable.clone())
    after = detector.state()
    assert not detector.layers()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_weakest__as_many_as_it_takes():
    module, wiring = chain([[3.0, 4, 0], [0, 0, 1], [5, 12, 0], [0, 2, 0]])
    # 4 neurons of 3 + 1 parameters; 9 are 2 neurons and one too many.
    gone = weakest(module, wiring, 9)
    assert gone[wiring.outputs["0"]].tolist() == [False, True, False, True]
    assert parameters_without(module, wiring, gone) == 8
    assert weakest(module, wiring, 0)[wiring.outputs["0"]].tolist() == [True, True, False, True]


def test_train__pruned_and_equal_to_the_masked_student_of_the_same_training(monkeypatch):
    recipe = Recipe(epochs=8, batch_size=2, learning_rate=2e-3, prune=10.0, batch_norm="train", ema_decay=0.9)
    masked, pruned = student(), student()
    whole = pruned.num_parameters()
    with monkeypatch.context() as patched:
        patched.setattr("dataset_culling.training.techniques.pruning.technique.remove", lambda *_: None)
        train(masked, Squares(), recipe)
    record = train(pruned, Squares(), recipe)
    assert masked.num_parameters() == whole
    assert pruned.num_parameters() < 0.95 * whole
    assert any("pruned" in note for note in record.notes)
    image = torch.randint(0, 256, (1, 3, 96, 128), dtype=torch.uint8)
    for mine, theirs in zip(_said(pruned, image), _said(masked, image), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5 * float(theirs.abs().max()))


def test_train__pruned_by_early_stops_best_epoch():
    # At a constant rate the best epoch's student is what a training that ends there gives.
    recipe = Recipe(
        epochs=3, batch_size=2, learning_rate=2e-3, schedule="constant", warmup_steps=0, prune=60.0, ema_decay=0.9
    )
    watched, best, longest = student(), student(), student()
    whole = watched.num_parameters()
    record = train(watched, Squares(), recipe, watched=Squares(2))
    train(best, Squares(), recipe.replace(epochs=record.best_epoch))
    train(longest, Squares(), recipe)
    assert longest.num_parameters() < best.num_parameters() < whole
    assert watched.layers() == best.layers()
    assert torch.equal(weights(watched), weights(best))


def test_train__an_l1_share_that_kills_all_leaves_a_channel_of_each_layer():
    detector = student()
    whole = detector.num_parameters()
    recipe = Recipe(epochs=1, batch_size=2, learning_rate=0.5, warmup_steps=0, prune=100.0, prune_l1_share=1.0)
    train(detector, Squares(2), recipe.replace(optimizer="sgd", clip_norm=1e-6))
    assert detector.num_parameters() < 0.1 * whole
    assert all(min(sizes) >= 1 for sizes in detector.layers().values())


def test_train__a_step_that_float16_leaves_out_prunes_nothing(monkeypatch):
    detector = student()
    weight = detector.module.roi_heads.box_predictor.cls_score.weight
    before = detector.state()
    weight.register_hook(lambda gradient: gradient * float("inf"))
    monkeypatch.setattr("dataset_culling.training.loop.compute_type", lambda *_: torch.float16)
    train(detector, Squares(2), Recipe(epochs=1, batch_size=2, warmup_steps=0, prune=100.0))
    after = detector.state()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_train__prune_and_expand_together_are_refused():
    both = Recipe(expand=2).techniques.model_copy(update={"pruning": Recipe(prune=1.0).techniques.of("pruning")})
    clash = Recipe(epochs=1).model_copy(update={"techniques": both})
    with pytest.raises(ConfigError, match=r"recipe\.techniques\.expand_nets: rate: expected 0 with pruning"):
        train(student(), Squares(), clash)  # not validated


@pytest.mark.parametrize("smaller", ["prune", "low_rank"])
def test_recipe__what_is_expanded_stays_as_large(smaller):
    said = r"expand_nets: rate: expected 0 with pruning or low_rank, .* found 2\. Set one of them to 0"
    with pytest.raises(ConfigError, match=said):
        Recipe().replace(expand=2, **{smaller: 1.0})
