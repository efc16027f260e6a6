"""Expanded convolutions: they say what they said, learn as several layers would, and are plain again afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import cached

from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.expand_nets.factors import (
    contract,
    expand,
    expanded,
    factors,
    product,
    widths_of_3x3,
)
from layer_by_layer import layer_by_layer
from squares import Squares, student, weights

ZOO = [
    pytest.param({"kernel_size": 3, "padding": 1}, 3, id="3x3"),
    pytest.param({"kernel_size": 3, "stride": 2, "bias": False}, 3, id="3x3, a stride, no border, no bias"),
    pytest.param({"kernel_size": 3, "padding": 6, "dilation": 6}, 3, id="SSD's dilated 3x3"),
    pytest.param({"kernel_size": (1, 5), "padding": (0, 2)}, 3, id="1x5"),
    pytest.param({"kernel_size": 2, "padding": "same"}, 3, id="2x2, same"),
    pytest.param({"kernel_size": 1}, 3, id="1x1"),
    pytest.param({"kernel_size": 1, "padding": 1, "stride": 2}, 3, id="1x1 with a border"),
    pytest.param({"kernel_size": 5, "padding": 3, "dilation": 2}, 2, id="5x5 as two 3x3, dilated"),
    pytest.param({"kernel_size": 7, "padding": 3, "stride": 2, "bias": False}, 3, id="ResNet's stem as three 3x3"),
]


def stir(conv: nn.Conv2d, share: float = 0.3) -> None:
    """Move the factors from where expansion has put them, as training would."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for kernel in factors(conv):
            kernel.add_(share * kernel.std() * torch.randn(kernel.shape, generator=random))


@pytest.mark.parametrize("rate", [1, 4])
@pytest.mark.parametrize(("settings", "num_factors"), ZOO)
def test_expand__equals_the_layers_one_after_another_and_the_plain_convolution(settings, num_factors, rate):
    torch.manual_seed(0)
    conv, seen = nn.Conv2d(3, 16, **settings), torch.randn(2, 3, 24, 23)
    plain, names = conv(seen).detach(), list(conv.state_dict())
    assert expand(conv, rate) == ("",)
    assert len(factors(conv)) == num_factors or rate == 1
    torch.testing.assert_close(conv(seen), plain, rtol=0, atol=1e-5)
    stir(conv)
    learnt = conv(seen).detach()
    assert float((learnt - plain).abs().max()) > 0.05
    torch.testing.assert_close(layer_by_layer(conv, seen), learnt, rtol=0, atol=1e-5)
    assert contract(conv) == ("",)
    torch.testing.assert_close(conv(seen), learnt, rtol=0, atol=1e-5)
    assert (type(conv), list(conv.state_dict())) == (nn.Conv2d, names)
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in conv.parameters())


def test_expand__gradients_are_those_of_the_layers():
    torch.manual_seed(0)
    conv, seen = nn.Conv2d(3, 8, 3, padding=1), torch.randn(2, 3, 9, 9)
    expand(conv, 2)
    of_product = torch.autograd.grad(conv(seen).square().mean(), factors(conv))
    of_layers = torch.autograd.grad(layer_by_layer(conv, seen).square().mean(), factors(conv))
    for mine, theirs in zip(of_product, of_layers, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_expand__channels_worked_by_hand():
    conv, stem = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 64, 7)
    expand(nn.ModuleList([conv, stem]), 2)
    assert [tuple(kernel.shape) for kernel in factors(conv)] == [(6, 3, 1, 1), (16, 6, 3, 3), (8, 16, 1, 1)]
    # max(4 * 3, 2 * 3) = 12, then max(4 * 12, 2 * 64) = 128
    assert [tuple(kernel.shape) for kernel in factors(stem)] == [(12, 3, 3, 3), (128, 12, 3, 3), (64, 128, 3, 3)]
    assert widths_of_3x3(64, 3, 7, 2) == (12, 128)


def test_product__worked_by_hand():
    # Seen first 1, 2 and then 3, 4: at each place 3 (x + 2 y) + 4 (y + 2 z) = 3 x + 10 y + 8 z
    first, second = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]])
    assert product([first, second]).tolist() == [[[[3.0, 10.0, 8.0]]]]


def test_expand__leaves_alone_what_it_says():
    torch.manual_seed(0)
    frozen, shared = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    frozen.weight.requires_grad_(False)
    other = nn.Conv2d(4, 4, 3)
    other.weight = shared.weight
    parts = {"depthwise": nn.Conv2d(4, 4, 3, groups=4), "grouped": nn.Conv2d(4, 4, 3, groups=2), "frozen": frozen,
             "one": shared, "two": other, "linear": nn.Linear(4, 4), "point": nn.Conv2d(4, 4, 1),
             "wide": nn.Conv2d(4, 4, 5)}  # fmt: skip
    net = nn.ModuleDict(parts)
    before = weights_of(net)
    assert expand(net, 2, kinds=("CL",)) == ("wide",)
    assert [name for name, _ in expanded(net)] == ["wide"]
    contract(net)
    torch.testing.assert_close(weights_of(net), before, rtol=0, atol=1e-6)
    assert contract(net) == ()


def weights_of(net: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_expand__5x5_where_two_3x3_would_be_too_wide_has_1x1s():
    conv = nn.Conv2d(8, 8, 5)
    expand(conv, 2)  # 4 * 8 = 32 channels would be needed, 2 * 8 = 16 are to be had
    assert [kernel.shape[-1] for kernel in factors(conv)] == [1, 5, 1]


@pytest.mark.parametrize(
    ("rate", "kinds", "said"),
    [
        pytest.param(0, ("CL",), "rate must be at least 1, got 0", id="no rate"),
        pytest.param(2, ("CL", "XX"), "kinds must be among CL, CK, PW, got XX", id="another kind"),
    ],
)
def test_expand__refuses(rate, kinds, said):
    with pytest.raises(ValueError, match=said):
        expand(nn.Conv2d(1, 1, 3), rate, kinds)


def test_expand__twice_is_refused():
    conv = nn.Conv2d(1, 1, 3)
    expand(conv, 2)
    with pytest.raises(ValueError, match="expanded already"):
        expand(conv, 2)


def test_expand__equal_seeds_give_equal_factors():
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        conv = nn.Conv2d(70, 5, 3)  # more channels than are mixed at once
        expand(conv, 3, seed=seed)
        found.append(weights_of(conv))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_train__expanded_learns_another_student_of_the_same_form():
    plain, wide = student(), student()
    form = [(key, value.shape, value.dtype) for key, value in plain.state().items()]
    before = weights(wide)
    recipe = Recipe(epochs=1, batch_size=4, warmup_steps=0)
    first = train(plain, Squares(), recipe).losses[0]
    expanded_first = train(wide, Squares(), recipe.replace(expand=2)).losses[0]
    assert sum(expanded_first.values()) == pytest.approx(sum(first.values()), rel=1e-3)  # one step: the same start
    assert [(key, value.shape, value.dtype) for key, value in wide.state().items()] == form
    assert not expanded(wide.module)
    assert not torch.equal(weights(wide), before)
    assert not torch.equal(weights(wide), weights(plain))


def test_train__frozen_layers_are_not_expanded():
    detector = student()
    stem = detector.module.backbone.stem
    before = [stem[place][0].weight.detach().clone() for place in range(3)]
    train(detector, Squares(), Recipe(epochs=1, frozen_layers=2, expand=2, ema_decay=0.0))
    assert [torch.equal(stem[place][0].weight, before[place]) for place in range(3)] == [True, True, False]


def test_train__a_training_that_breaks_off_leaves_plain_kernels():
    detector = student()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(detector, Squares(), Recipe(epochs=1, expand=2), progress=stop)
    assert not expanded(detector.module)


def test_expand__a_copy_learns_by_itself():
    conv = nn.Conv2d(2, 2, 3)
    expand(conv, 2)
    before, own = conv.weight.detach().clone(), copy.deepcopy(conv)
    stir(own)
    assert torch.equal(conv.weight, before)
    assert not torch.equal(own.weight, before)


def test_expand__a_kernel_is_multiplied_once_where_it_is_kept():
    conv = nn.Conv2d(2, 2, 3)
    expand(conv, 2)
    with cached():
        assert conv.weight is conv.weight
    assert conv.weight is not conv.weight
