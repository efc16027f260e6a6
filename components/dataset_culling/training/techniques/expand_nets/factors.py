"""ExpandNets: a convolution learns as the product of several, and is an ordinary convolution again afterwards.

A convolution's kernel is held as factors with nothing non-linear between them. That adds nothing to what the network
can say, but changes the way it learns. What is run is the product: the gradient that reaches the factors is that of the
layers one after another (chain rule), while activations, memory and time do not grow with the image.

n, m = a convolution's output and input channels, k = its kernel's side, r = the rate.

Sources:
    Guo, Alvarez, Salzmann, ExpandNets: Linear Over-parameterization to Train Compact Convolutional Networks, NeurIPS
    2020 (arXiv:1811.10495): CL, CK. Ours: 1x1 convolutions (PW), beginning from a trained kernel.
    Bhardwaj et al., Collapsible Linear Blocks for Super-Efficient Super Resolution, MLSys 2022 (arXiv:2103.09404):
    multiplying the kernels before every forward pass instead of running the expanded layers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d
from torch.nn.utils.parametrize import (
    ParametrizationList,
    cached,
    is_parametrized,
    register_parametrization,
    remove_parametrizations,
)

Kind = Literal["CL", "CK", "PW"]
KINDS: tuple[Kind, ...] = ("CL", "CK", "PW")
"""CL: k x k as 1x1, k x k, 1x1. CK: odd k above 3 as (k - 1) / 2 kernels of 3x3. PW: 1x1 as three of 1x1."""
BLOCK = 64
"""Channels are mixed in groups of so many: a QR decomposition of all 2048 at once would take seconds a layer."""


def expand(module: nn.Module, rate: int, kinds: Collection[Kind] = KINDS, *, seed: int = 0) -> tuple[str, ...]:
    """Hold the kernels of a network's convolutions as factors, in place; what the network says stays what it was.

    Stride, padding of any mode, dilation and bias stay the convolution's own, so borders are exact.

    Left alone are grouped and depthwise convolutions (a group is too narrow for factors to be more than a scale),
    kernels that do not learn, and kernels that several layers share.

    Args:
        module: Any; its convolutions are `nn.Conv2d`. Their `weight` can still be read, and is the product.
        rate: r, how many times as many channels lie between the factors; at least 1.
        kinds: What is expanded; where CK would need a layer wider than r times n and m, CL is taken.
        seed: Equal seeds give equal factors, wherever the module lies.

    Returns:
        Names of the expanded convolutions, in the module's order.

    Raises:
        ValueError: If `rate` is below 1, a kind is unknown, or the module is expanded already.
    """
    if rate < 1:
        raise ValueError(f"rate must be at least 1, got {rate}")
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"kinds must be among {', '.join(KINDS)}, got {', '.join(sorted(unknown))}")
    if expanded(module):
        raise ValueError("module must not be expanded already; contract it first")
    owners = Counter(id(weight) for part in module.modules() for weight in part.parameters(recurse=False))
    random = torch.Generator().manual_seed(seed)
    found = []
    for name, part in list(module.named_modules()):
        if not isinstance(part, nn.Conv2d) or is_parametrized(part, "weight"):
            continue
        if part.groups != 1 or not part.weight.requires_grad or owners[id(part.weight)] > 1:
            continue
        kind = kind_of(part, rate, kinds)
        if kind is None:
            continue
        own = int(torch.randint(2**62, (), generator=random))
        register_parametrization(part, "weight", _Product(kind, rate, own), unsafe=True)
        found.append(name)
    return tuple(found)


def contract(module: nn.Module) -> tuple[str, ...]:
    """Make an expanded network's convolutions plain again, each with the product of its factors, in place.

    Returns:
        Names of the convolutions that were expanded; none is no error.
    """
    found = expanded(module)
    for _, conv in found:
        with cached():  # multiplied once for both lines
            weight = conv.weight.detach().clone()
            remove_parametrizations(conv, "weight", leave_parametrized=True)
        # Anew, as what torch leaves is no parameter where no gradients are recorded, and stands behind the bias.
        bias = cast("nn.Parameter | None", conv.bias)
        del conv.weight, conv.bias
        conv.register_parameter("weight", nn.Parameter(weight))
        conv.register_parameter("bias", bias)
    return tuple(name for name, _ in found)


def expanded(module: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    """The convolutions whose kernels are held as factors, with their names."""
    return [
        (name, part)
        for name, part in module.named_modules()
        if isinstance(part, nn.Conv2d)
        and is_parametrized(part, "weight")
        and isinstance(part.parametrizations["weight"][0], _Product)  # type: ignore[index]
    ]


def factors(conv: nn.Conv2d) -> list[Tensor]:
    """An expanded convolution's kernels, the one that meets the image first; each (outputs, inputs, height, width)."""
    held = cast("ParametrizationList", conv.parametrizations["weight"])  # type: ignore[index]
    return [getattr(held, f"original{place}") for place in range(held.ntensors)]


def kind_of(conv: nn.Conv2d, rate: int, kinds: Collection[Kind]) -> Kind | None:
    """Return the kind of expansion of a convolution of one group; None: not expanded."""
    height, width = conv.kernel_size
    if height == width == 1:
        return "PW" if "PW" in kinds else None
    if "CK" in kinds and height == width and height > 3 and height % 2:
        widths = widths_of_3x3(conv.out_channels, conv.in_channels, height, rate)
        if max(widths) <= rate * max(conv.out_channels, conv.in_channels):
            return "CK"
    return "CL" if "CL" in kinds else None


def widths_of_3x3(outputs: int, inputs: int, side: int, rate: int) -> tuple[int, ...]:
    """Channels between the 3x3 kernels of CK: r times the inputs, then r times the outputs, as the paper has them.

    But at least four times those before them, as a k x k kernel is four of (k - 2) x (k - 2), moved by 0 and 2.
    """
    found = [inputs]
    for place in range((side - 1) // 2 - 1):
        found.append(max(4 * found[-1], rate * (outputs if place else inputs)))
    return tuple(found[1:])


def product(kernels: list[Tensor]) -> Tensor:
    """The one kernel that does what several do one after the other, with no padding between them.

    Args:
        kernels: The one that meets the image first; each (outputs, inputs, height, width), channels fitting.

    Returns:
        (outputs of the last, inputs of the first, sum of heights - 1 each + 1, the same of widths).
    """
    whole = kernels[-1]
    for kernel in reversed(kernels[:-1]):  # from the narrow end: the widest kernel is met by few channels
        if whole.shape[-2:] == (1, 1):
            whole = torch.einsum("np,pmyx->nmyx", whole[:, :, 0, 0], kernel)
        elif kernel.shape[-2:] == (1, 1):
            whole = torch.einsum("npyx,pm->nmyx", whole, kernel[:, :, 0, 0])
        else:  # kernels are correlated with images; one with another they are convolved: one of them is turned
            height, width = whole.shape[-2:]
            turned = conv2d(kernel.transpose(0, 1), whole.flip(-1, -2), padding=(height - 1, width - 1))
            whole = turned.transpose(0, 1)
    return whole


class _Product(nn.Module):
    """torch's parametrisation of a kernel by factors; see `torch.nn.utils.parametrize`."""

    def __init__(self, kind: Kind, rate: int, seed: int) -> None:
        super().__init__()
        self._kind, self._rate, self._seed = kind, rate, seed  # no generator: modules are copied, those cannot be

    def forward(self, *kernels: Tensor) -> Tensor:
        """The kernel; in its own precision also where losses are computed in less."""
        with torch.autocast(kernels[0].device.type, enabled=False):
            return product(list(kernels))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, ...]:
        """Factors whose product is the kernel."""
        split = _split_3x3 if self._kind == "CK" else _split_1x1
        exact, random = weight.detach().double().cpu(), torch.Generator().manual_seed(self._seed)
        return tuple(part.to(weight).contiguous() for part in split(exact, self._rate, random))


def _split_1x1(weight: Tensor, rate: int, random: torch.Generator) -> Iterator[Tensor]:
    """1x1, k x k, 1x1: channels mixed by matrices with orthonormal columns, and the kernel seen through them.

    Adam moves every number by the rate, so the product moves further than a plain kernel would, the more the larger r
    is. For k > 1 it is the middle factor that does most of it; making that one larger and the outer ones smaller, by
    r in all, halves it at r = 4 (DECISIONS). For 1x1 it would make it worse.
    """
    gain = 1.0 if weight.shape[-2:] == (1, 1) else 1 / math.sqrt(rate)
    before = _orthonormal(rate * weight.shape[1], weight.shape[1], random)
    after = _orthonormal(rate * weight.shape[0], weight.shape[0], random)
    middle = _mix(before, _mix(after, weight).transpose(0, 1)).transpose(0, 1)
    yield (_diagonal(before) * gain)[:, :, None, None]
    yield middle / gain**2
    yield (_diagonal(after) * gain).T[:, :, None, None]


def _split_3x3(weight: Tensor, rate: int, random: torch.Generator) -> Iterator[Tensor]:
    """A k x k kernel as (k - 1) / 2 of 3x3.

    Four copies of the image, moved by 0 and 2 px each way, meet four kernels of (k - 2) x (k - 2) that sum up to the
    whole; which copy is which is hidden by mixing them.
    """
    outputs, inputs, side, _ = weight.shape
    rest = weight
    for width in widths_of_3x3(outputs, inputs, side, rate):
        seen, side = rest.shape[1], rest.shape[-1]
        covered = torch.zeros(side, side, dtype=weight.dtype)
        moves = [(y, x) for y in (0, 2) for x in (0, 2)]
        for y, x in moves:
            covered[y : y + side - 2, x : x + side - 2] += 1
        shared = rest / covered
        copies = torch.zeros(4, seen, seen, 3, 3, dtype=weight.dtype)
        for place, (y, x) in enumerate(moves):
            copies[place, range(seen), range(seen), y, x] = 1
        parts = torch.cat([shared[:, :, y : y + side - 2, x : x + side - 2] for y, x in moves], 1)
        mixed = _orthonormal(width, 4 * seen, random)
        yield _mix(mixed, copies.flatten(0, 1))
        rest = _mix(mixed, parts.transpose(0, 1)).transpose(0, 1)
    yield rest


def _orthonormal(rows: int, columns: int, random: torch.Generator) -> list[Tensor]:
    """A random (rows, columns) float64 matrix with orthonormal columns, as the blocks of its diagonal.

    Every block has at least as many rows as columns, as the whole must.
    """
    found, row = [], 0
    for start in range(0, columns, BLOCK):
        end = min(start + BLOCK, columns)
        last = rows * end // columns
        draw = torch.randn(last - row, end - start, generator=random, dtype=torch.float64)
        found.append(torch.linalg.qr(draw)[0])
        row = last
    return found


def _diagonal(blocks: list[Tensor]) -> Tensor:
    """The matrix that has these blocks on its diagonal."""
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole


def _mix(blocks: list[Tensor], kernel: Tensor) -> Tensor:
    """The matrix of these blocks times a kernel's outputs; (rows, inputs, height, width)."""
    parts = torch.split(kernel, [block.shape[1] for block in blocks])
    return torch.cat([torch.einsum("pn,nmyx->pmyx", *pair) for pair in zip(blocks, parts, strict=True)])
