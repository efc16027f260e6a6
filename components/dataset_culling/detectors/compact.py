"""Compact networks: layers smaller than the builder's, and their sizes in weights files.

Pruning removes channels, and a low rank replaces one layer by two. The weights file of such a network holds `layers` in
its header: the size of every layer, by name. The builder makes its usual network, `reshape` resizes it, and the weights
are loaded as strictly as any others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dataset_culling.errors import WeightsError

Layers = Mapping[str, tuple[int, ...]]
"""Sizes by the layer's name: (channels,) of a norm or a trained activation, (inputs, outputs) of a convolution or a
matrix, (inputs, rank, outputs) of one split in two."""
KEY = "layers"
"""Key of the sizes in the header of a weights file and in the card of a model."""


class LowRank(nn.Sequential):
    """A convolution as k x k to `rank` channels, then 1x1; or a matrix as two. Without a non-linearity in between."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int) -> None:
        """Make two layers like `layer`, which has one group, on its device; their weights are not set."""
        own, bias = layer.weight, layer.bias is not None
        if isinstance(layer, nn.Linear):
            first: nn.Module = nn.Linear(layer.in_features, rank, bias=False)
            second: nn.Module = nn.Linear(rank, layer.out_features, bias=bias)
        else:
            first = nn.Conv2d(
                layer.in_channels, rank, pair(layer.kernel_size), pair(layer.stride), pair(layer.padding),
                pair(layer.dilation), bias=False, padding_mode=layer.padding_mode,
            )  # fmt: skip
            second = nn.Conv2d(rank, layer.out_channels, 1, bias=bias)
        super().__init__(first.to(own.device, own.dtype), second.to(own.device, own.dtype))

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(inputs, rank, outputs)."""
        (inputs, rank), (_, outputs) = _sizes(self[0]), _sizes(self[1])
        return inputs, rank, outputs


def layers_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the size of every layer whose weights depend on channels; a `LowRank` has one entry."""
    found: dict[str, tuple[int, ...]] = {}
    for name, part in module.named_modules():
        parent = name.rpartition(".")[0]
        if isinstance(part, LowRank):
            found[name] = part.sizes
        elif len(found.get(parent, ())) != 3 and (sizes := _sizes(part)):
            found[name] = sizes
    return found


def reshape(module: nn.Module, layers: Layers, *, where: str) -> None:
    """Resize a network's layers in place; the weights of resized layers are undefined.

    Args:
        module: A network of the builder's sizes, or a smaller one.
        layers: Sizes as from `layers_of`.
        where: The file, for errors.

    Raises:
        WeightsError: If a layer is unknown or cannot have that size.
    """
    for name, sizes in layers.items():
        try:
            part = module.get_submodule(name)
        except AttributeError:
            raise WeightsError(
                f"{where}: {type(module).__name__} has no layer '{name}'. These weights belong to another detector."
            ) from None
        if len(sizes) == 3 and min(sizes) > 0 and isinstance(part, nn.Conv2d | nn.Linear):
            part = LowRank(part, sizes[1])
            replace_layer(module, name, part)
        now = part.sizes if isinstance(part, LowRank) else _sizes(part)
        if len(now) != len(sizes) or min(sizes) < 1:
            raise WeightsError(
                f"{where}: expected {len(now)} sizes of at least 1 for the layer {name}, found {list(sizes)}. "
                f"These weights belong to another detector."
            )
        if isinstance(part, LowRank):
            resize(part[0], sizes[:2], where=where)
            resize(part[1], sizes[1:], where=where)
        elif now != tuple(sizes):
            resize(part, tuple(sizes), where=where)


def resize(layer: nn.Module, sizes: tuple[int, ...], *, where: str = "layers") -> None:
    """Change a layer's numbers of channels in place; weights and a norm's statistics become zeros.

    `where` is the file, for errors.

    Raises:
        WeightsError: If its groups forbid these sizes.
    """
    if isinstance(layer, nn.Conv2d):
        inputs, outputs = sizes
        if layer.groups > 1:
            depthwise = layer.groups == layer.in_channels == layer.out_channels
            if not depthwise or inputs != outputs:
                raise WeightsError(
                    f"{where}: sizes {list(sizes)} do not fit a convolution of {layer.groups} groups. "
                    f"These weights belong to another detector."
                )
            layer.groups = inputs
        layer.in_channels, layer.out_channels = inputs, outputs
        _anew(layer, "weight", (outputs, inputs // layer.groups, *layer.kernel_size))
        _anew(layer, "bias", (outputs,))
    elif isinstance(layer, nn.Linear):
        layer.in_features, layer.out_features = sizes
        _anew(layer, "weight", (sizes[1], sizes[0]))
        _anew(layer, "bias", (sizes[1],))
    else:
        setattr(layer, "num_features" if isinstance(layer, _BatchNorm) else "num_parameters", sizes[0])
        for name in ("weight", "bias", "running_mean", "running_var"):
            _anew(layer, name, (sizes[0],))


def replace_layer(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Replace the layer of this name."""
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, layer)


def layers_text(layers: Layers) -> str:
    """Format sizes for a header."""
    return json.dumps({name: list(sizes) for name, sizes in layers.items()})


def layers_in(metadata: Mapping[str, str], *, where: str) -> dict[str, tuple[int, ...]]:
    """Parse the sizes in a weights file's header; empty for the builder's sizes.

    Raises:
        WeightsError: If the entry is malformed.
    """
    layers: Any = None
    with suppress(ValueError):
        layers = json.loads(metadata.get(KEY, "{}"))
    if not isinstance(layers, dict) or not all(_are_sizes(sizes) for sizes in layers.values()):
        raise WeightsError(f"{where}: '{KEY}' in the header does not hold sizes by layer. Fetch the file again.")
    return {name: tuple(sizes) for name, sizes in layers.items()}


def pair(sides: Any) -> tuple[int, int]:
    """Read a convolution's setting as (vertical, horizontal)."""
    if isinstance(sides, str):
        raise ValueError(f"padding must be in px, got '{sides}'")
    return int(sides[0]), int(sides[1])


def _are_sizes(sizes: Any) -> bool:
    return isinstance(sizes, list) and 1 <= len(sizes) <= 3 and all(type(size) is int for size in sizes)


def _sizes(layer: nn.Module) -> tuple[int, ...]:
    """Return a layer's sizes; () if its weights do not depend on channels."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, _BatchNorm):
        return (layer.num_features,)
    if isinstance(layer, nn.PReLU):  # also with one parameter, which may be the one channel left
        return (layer.num_parameters,)
    return ()


def _anew(layer: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    old = getattr(layer, name, None)
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(old.new_zeros(shape), requires_grad=old.requires_grad))
    elif isinstance(old, Tensor):
        setattr(layer, name, old.new_zeros(shape))
