"""Compression-aware training: kernels learn to be of a low rank, and are held as two of that rank afterwards.

n, m = a layer's outputs and inputs, k = its kernel's side; a kernel as a matrix is (n, m k k).

Source:
    Alvarez, Salzmann, Compression-aware Training of Deep Networks, NIPS 2017 (arXiv:1711.02638): the nuclear norm of
    each layer's matrix by a proximal step, singular value soft-thresholding; the rank by the energy that is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dataset_culling.detectors.compact import LowRank, replace_layer
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError


class Cut(NamedTuple):
    """Result of factorising a kernel into two."""

    rank: int
    lost: float  # share of its energy, the sum of its squared singular values, that is gone


def compressible(detector: TorchDetector) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    """Layers that may be held as two: of one group, that learn, without those that the camera's classes make anew.

    Raises:
        ConfigError: If the detector does not say which those are.
    """
    if not detector.replaced:
        raise ConfigError(
            f"recipe.techniques.low_rank: expected strength 0 for {detector.name}, as only R-CNNs and YOLOX can be "
            f"compressed. Set it to 0, or choose another student."
        )
    held: list[str] = []
    for name, part in detector.module.named_modules():
        if isinstance(part, LowRank):
            held.append(f"{name}.")
        if not isinstance(part, nn.Conv2d | nn.Linear) or getattr(part, "groups", 1) != 1:
            continue
        if name.startswith((*held, *(f"{head}." for head in detector.replaced))) or not part.weight.requires_grad:
            continue
        yield name, part


@torch.no_grad()
def shrink_ranks(detector: TorchDetector, step: float, *, names: Collection[str] | None = None) -> None:
    """One proximal step of the nuclear norm, in place: every singular value of every layer less `step`, at least 0.

    Args:
        detector: Its compressible layers are shrunk.
        step: What each singular value loses.
        names: Only these of them; None: all.
    """
    for layer in _among(detector, names).values():
        left, values, right = torch.linalg.svd(_matrix(layer.weight), full_matrices=False)
        less = (left * (values - step).clamp_(min=0)) @ right
        layer.weight.copy_(less.reshape(layer.weight.shape))


@torch.no_grad()
def factorise(detector: TorchDetector, energy: float, *, names: Collection[str] | None = None) -> dict[str, Cut]:
    """Hold layers as two where that takes fewer parameters, in place.

    Args:
        detector: It says the ranks in `layers()` afterwards.
        energy: The share of the sum of squared singular values that is kept; what is less is gone.
        names: Only these of its compressible layers; None: all.

    Returns:
        What each layer has become that is two now.
    """
    found = {}
    for name, layer in _among(detector, names).items():
        matrix = _matrix(layer.weight)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        rank = rank_of(values, energy)
        if rank * sum(matrix.shape) >= matrix.numel():
            continue
        both, root = LowRank(layer, rank), values[:rank].sqrt()
        first, second = both.get_parameter("0.weight"), both.get_parameter("1.weight")
        first.copy_((root[:, None] * right[:rank]).reshape(first.shape))
        second.copy_((left[:, :rank] * root).reshape(second.shape))
        if layer.bias is not None:
            both.get_parameter("1.bias").copy_(layer.bias)
        both.train(layer.training)
        replace_layer(detector.module, name, both)
        squares = values.double().square()
        found[name] = Cut(rank, float(squares[rank:].sum() / squares.sum().clamp(min=1e-300)))
    detector.compact = detector.compact or bool(found)
    return found


def rank_of(values: Tensor, energy: float) -> int:
    """The least rank that keeps this share of the energy; at least 1.

    Args:
        values: Singular values, descending, shape (R,).
        energy: Above 0, at most 1; singular values below a millionth of the largest are zero in any case.
    """
    real = values[values > 1e-6 * values[0]].double()
    if len(real) == 0:
        return 1
    share = real.square().cumsum(0) / real.square().sum()
    return min(int((share < energy - 1e-12).sum()) + 1, len(real))


def _among(detector: TorchDetector, names: Collection[str] | None) -> dict[str, nn.Conv2d | nn.Linear]:
    return {name: layer for name, layer in compressible(detector) if names is None or name in names}


def _matrix(weight: Tensor) -> Tensor:
    return weight.detach().flatten(1).float()
