"""Networks smaller than their builder makes them: sizes told, and brought about again."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dataset_culling.detectors.compact import LowRank, layers_in, layers_of, layers_text, reshape
from dataset_culling.detectors.weights import load_state
from dataset_culling.errors import WeightsError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.PReLU(6), nn.Conv2d(6, 6, 3, groups=6))


def test_layers_of__every_layer_that_has_channels():
    module = network()
    assert layers_of(module) == {"0": (3, 6), "1": (6,), "2": (6,), "3": (6, 6)}
    module[0] = LowRank(module[0], 2)
    assert layers_of(module)["0"] == (3, 2, 6)
    assert "0.0" not in layers_of(module)


def test_reshape__what_was_told_is_brought_about_and_the_weights_fit():
    small = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.PReLU(4), nn.Conv2d(4, 4, 3, groups=4))
    small[0] = LowRank(small[0], 2)
    again = network()
    reshape(again, layers_in({"layers": layers_text(layers_of(small))}, where="f"), where="f")
    load_state(again, small.state_dict(), where="f")
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), small.eval()(image))


def test_reshape__one_channel_is_left_between_two_filters():
    def two(between: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(3, between, (3, 1)), nn.PReLU(between), nn.Conv2d(between, 4, (1, 3)))

    small, again = two(1), two(6)
    reshape(again, layers_in({"layers": layers_text(layers_of(small))}, where="f"), where="f")
    load_state(again, small.state_dict(), where="f")
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(again(image), small(image))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        pytest.param({"9": (3, 6)}, "has no layer '9'", id="another network"),
        pytest.param(
            {"1": (3, 6)}, r"expected 1 sizes of at least 1 for the layer 1, found \[3, 6\]", id="another layer"
        ),
        pytest.param({"0": (3, 0)}, "at least 1", id="no channels"),
        pytest.param({"3": (4, 5)}, "do not fit a convolution of 6 groups", id="groups"),
    ],
)
def test_reshape__sizes_of_another_network_are_one_line(layers, said):
    with pytest.raises(WeightsError, match=said) as caught:
        reshape(network(), layers, where="model.safetensors")
    assert str(caught.value).startswith("model.safetensors: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[1]", "{", '{"0": 3}', '{"0": ["3"]}', '{"0": [1, 2, 3, 4]}'])
def test_layers_in__what_is_no_sizes_is_refused(text):
    with pytest.raises(WeightsError, match=r"m\.safetensors: 'layers' in the header does not hold sizes by layer"):
        layers_in({"layers": text}, where="m.safetensors")


def test_load_state__smaller_weights_without_their_sizes_are_refused():
    small, whole = network(), network()
    reshape(small, {"1": (4,)}, where="f")
    before = copy.deepcopy(whole.state_dict())
    with pytest.raises(WeightsError, match="of another shape"):
        load_state(whole, small.state_dict(), where="f")
    assert all(torch.equal(before[key], value) for key, value in whole.state_dict().items())
