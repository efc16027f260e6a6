"""An expanded convolution as ExpandNets draws it: its factors as layers, run one after another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from dataset_culling.training.techniques.expand_nets.factors import factors


def layer_by_layer(conv: nn.Conv2d, seen: Tensor) -> Tensor:
    """All the border before the first layer, the stride in the last one that looks at more than a px, then the bias."""
    kernels = factors(conv)
    wide = [place for place, kernel in enumerate(kernels) if kernel.shape[-2:] != (1, 1)] or [1]
    for place, kernel in enumerate(kernels):
        if place == wide[0]:
            seen = pad(seen, conv._reversed_padding_repeated_twice)
        seen = conv2d(
            seen,
            kernel,
            conv.bias if place == len(kernels) - 1 else None,
            conv.stride if place == wide[-1] else 1,
            0,
            conv.dilation if place in wide else 1,
        )
    return seen
