"""DecomposeMe: n x n filters as n x 1, a non-linearity, 1 x n.

n, m = a convolution's outputs and inputs, k = its kernel's side, L = the channels between the two filters.

Source:
    Alvarez, Petersson, DecomposeMe: Simplifying ConvNets for End-to-End Learning, 2016 (arXiv:1606.05426). The width
    between the two, the learnt slope of the non-linearity and beginning from trained kernels are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dataset_culling.detectors.compact import pair, replace_layer


class Separable(nn.Sequential):
    """k x 1, a rectifier whose slope below zero is learnt (PReLU), 1 x k; stride and padding as of the k x k."""

    def __init__(self, conv: nn.Conv2d) -> None:
        """The two filters in the place of `conv`, which is square and of one group, with the best start it gives."""
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
    """L, the harmonic mean of a convolution's inputs and outputs: k (m + n) L is 2 / k of its k k m n parameters."""
    return max(1, round(2 * inputs * outputs / (inputs + outputs)))


def split(kernel: Tensor, between: int) -> tuple[Tensor, Tensor]:
    """The k x 1 and 1 x k filters whose product is nearest to a kernel, with nothing non-linear between them.

    A singular value decomposition of the kernel as a matrix from (input, row) to (output, column), in float64; each
    side takes the root of the singular values. Of a rank below L the rest of the filters is zero.

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
    # A singular vector's sign is anybody's: its largest entry is made positive, for equal kernels to give equal halves.
    peak = right[:rank].gather(1, right[:rank].abs().argmax(1, keepdim=True)).sign()
    root = values[:rank].sqrt()
    vertical = kernel.new_zeros(between, inputs, height, 1)
    horizontal = kernel.new_zeros(outputs, between, 1, side)
    vertical[:rank, :, :, 0] = (peak * root[:, None] * right[:rank]).reshape(rank, inputs, height).to(kernel)
    half = (left[:, :rank] * root * peak[:, 0]).reshape(outputs, side, rank)
    horizontal[:, :rank, 0, :] = half.transpose(1, 2).to(kernel)
    return vertical, horizontal


def decompose(module: nn.Module) -> tuple[str, ...]:
    """Put two one-dimensional filters in the place of every square one, in place.

    Left whole are 1x1, grouped and dilated convolutions, and those that look at the image: of three channels two
    filters save nothing.

    Returns:
        Names of the convolutions that are two now, in the module's order.
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
