"""DecomposeMe: two one-dimensional filters in the place of a square one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.decompose import Separable, decompose, split, width
from dataset_culling.detectors.table import load_trainable


@pytest.mark.parametrize(("inputs", "outputs", "between"), [(32, 32, 32), (16, 32, 21), (56, 80, 66), (1, 1, 1)])
def test_width__two_thirds_of_the_parameters(inputs, outputs, between):
    assert width(inputs, outputs) == between
    if inputs > 1:
        assert 3 * (inputs + outputs) * between / (9 * inputs * outputs) == pytest.approx(2 / 3, abs=0.02)


def test_split__worked_by_hand():
    # One channel: rows (1, 2, 1) down times (1, 0, -1) across, Sobel's kernel, is of rank 1.
    sobel = torch.tensor([1.0, 2, 1])[:, None] * torch.tensor([1.0, 0, -1])
    vertical, horizontal = split(sobel[None, None], 2)
    assert (vertical.shape, horizontal.shape) == ((2, 1, 3, 1), (1, 2, 1, 3))
    torch.testing.assert_close(torch.einsum("lmyz,nlzx->nmyx", vertical, horizontal)[0, 0], sobel)
    down = vertical[0, 0, :, 0]
    torch.testing.assert_close(down / down.max(), torch.tensor([0.5, 1, 0.5]))


@pytest.mark.parametrize("stride", [1, 2])
def test_separable__of_full_width_begins_as_the_convolution(stride, monkeypatch):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 5, 3, stride, 1)
    monkeypatch.setattr("dataset_culling.detectors.decompose.width", lambda inputs, outputs: 12)
    image = torch.randn(1, 4, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(Separable(conv)(image), conv(image))


def test_separable__is_not_linear_once_the_slope_has_moved():
    torch.manual_seed(0)
    pair = Separable(nn.Conv2d(4, 4, 3, 1, 1, bias=False))
    image = torch.randn(1, 4, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(pair(-image), -pair(image))
        pair[1].weight.fill_(0.25)
        assert not torch.allclose(pair(-image), -pair(image), atol=1e-2)


def test_decompose__the_embedded_student_keeps_its_first_convolution():
    detector = load_trainable(DetectorRef(name="tiny_1d"))
    plain = load_trainable(DetectorRef(name="tiny"))
    square = [name for name, part in plain.module.named_modules() if getattr(part, "kernel_size", 1) == (3, 3)]
    pairs = [name for name, part in detector.module.named_modules() if isinstance(part, Separable)]
    assert pairs == [name for name in square if name != "backbone.stem.0.0"]
    assert detector.name == "tiny_1d"
    assert decompose(detector.module) == ()
