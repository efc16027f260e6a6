"""DecomposeMe: n x n filters as n x 1, a non-linearity, 1 x n.

n, m = a convolution's outputs and inputs, k = its kernel's side, L = the channels between the two filters.

Source:
    Alvarez, Petersson, DecomposeMe: Simplifying ConvNets for End-to-End Learning, 2016 (arXiv:1606.05426). The width
    between the two, the learned slope of the non-linearity and the start from trained kernels are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dataset_culling.detectors.compact import pair, replace_layer


class Separable(nn.Sequential):
    """k x 1, a rectifier with a learned slope below zero (PReLU), 1 x k; stride and padding of the k x k."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """Split `conv`, which is square and has one group; the new filters approximate it best."""
        between, side = width(conv.in_channels, conv.out_channels), conv.kernel_size[0]
        (down, across), (above, beside) = pair(conv.stride), pair(conv.padding)
        bias = conv.bias is not None
        super().__init__(
            nn.Conv2d(conv.in_channels, between, (side, 1), (down, 1), (above, 0), bias=False),
            nn.PReLU(between, init=1.0),
            nn.Conv2d(between, conv.out_channels, (1, side), (1, across), (0, beside), bias=bias),
        )
        vertical, horizontal = split(conv.weight.detach(), between)
        with torch.no_grad():
            self.get_parameter("0.weight").copy_(vertical)
            self.get_parameter("2.weight").copy_(horizontal)
            if conv.bias is not None:
                self.get_parameter("2.bias").copy_(conv.bias)


def width(inputs: int, outputs: int) -> int:
    """Compute L, the harmonic mean of inputs and outputs: k (m + n) L is 2 / k of the k k m n parameters."""
    return max(1, round(2 * inputs * outputs / (inputs + outputs)))


def split(kernel: Tensor, between: int) -> tuple[Tensor, Tensor]:
    """Find the k x 1 and 1 x k filters whose linear product is nearest to a kernel.

    Uses a singular value decomposition of the kernel as a matrix from (input, row) to (output, column), in float64.
    Each side takes the root of the singular values. Filters beyond the rank are zero.

    Args:
        kernel: (n, m, k, k).
        between: L.

    Returns:
        (L, m, k, 1) and (n, L, 1, k).
    """
    outputs, inputs, height, side = kernel.shape
    matrix = kernel.double().permute(0, 3, 1, 2).reshape(outputs * side, inputs * height)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    rank = min(between, len(values))
    # A singular vector's sign is arbitrary: make its largest entry positive, so that equal kernels give equal halves.
    peak = right[:rank].gather(1, right[:rank].abs().argmax(1, keepdim=True)).sign()
    root = values[:rank].sqrt()
    vertical = kernel.new_zeros(between, inputs, height, 1)
    horizontal = kernel.new_zeros(outputs, between, 1, side)
    vertical[:rank, :, :, 0] = (peak * root[:, None] * right[:rank]).reshape(rank, inputs, height).to(kernel)
    half = (left[:, :rank] * root * peak[:, 0]).reshape(outputs, side, rank)
    horizontal[:, :rank, 0, :] = half.transpose(1, 2).to(kernel)
    return vertical, horizontal


def decompose(module: nn.Module) -> tuple[str, ...]:
    """Replace every square filter by two one-dimensional ones, in place.

    Skips 1x1, grouped and dilated convolutions, and those on the image, where three channels leave nothing to save.

    Returns:
        Names of the split convolutions, in the module's order.
    """
    found = []
    for name, part in list(module.named_modules()):
        if not isinstance(part, nn.Conv2d) or part.groups != 1 or part.in_channels <= 3:
            continue
        if part.kernel_size[0] != part.kernel_size[1] or part.kernel_size[0] == 1 or part.dilation != (1, 1):
            continue
        replace_layer(module, name, Separable(part))
        found.append(name)
    return tuple(found)
