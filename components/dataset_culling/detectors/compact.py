"""Networks that are smaller than their builder makes them: what each layer's size is, and how a file says so.

Pruning takes channels away and a low rank puts two layers in the place of one. A weights file of such a network holds
`layers` in its header: the size of every layer, by name. The builder makes its usual network, `reshape` brings it to
these sizes, and the weights are loaded as strictly as any others.
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
"""Sizes by the layer's name: (channels,) of a norm or an activation that learns, (inputs, outputs) of a convolution or
a matrix, (inputs, rank, outputs) of one that is held as two."""
KEY = "layers"
"""Under which the header of a weights file, and the card of a model, say the sizes."""


class LowRank(nn.Sequential):
    """A convolution as k x k to `rank` channels, then 1x1 from them; or a matrix as two. Nothing is in between."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, rank: int) -> None:
        """Two layers in the place of `layer`, which has one group, on its device; their weights are not set."""
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
    """The size of every layer whose weights depend on its channels; those inside a `LowRank` are told with it."""
    found: dict[str, tuple[int, ...]] = {}
    for name, part in module.named_modules():
        parent = name.rpartition(".")[0]
        if isinstance(part, LowRank):
            found[name] = part.sizes
        elif len(found.get(parent, ())) != 3 and (sizes := _sizes(part)):
            found[name] = sizes
    return found


def reshape(module: nn.Module, layers: Layers, *, where: str) -> None:
    """Bring a network's layers to these sizes, in place; what the weights of a layer that changes become is not said.

    Args:
        module: As its builder makes it, or smaller already.
        layers: As `layers_of` told them.
        where: The file, for errors.

    Raises:
        WeightsError: If the network has no such layer, or it cannot have that size.
    """
    for name, sizes in layers.items():
        try:
            part = module.get_submodule(name)
        except AttributeError:
            raise WeightsError(
                f"{where}: expected sizes of layers that {type(module).__name__} has, found '{name}'. "
                f"These weights belong to another detector."
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
    """Give a layer other numbers of channels, in place; its weights are zeros then, a norm's statistics too.

    A depthwise convolution has as many groups as channels. `where` is the file, for errors.

    Raises:
        WeightsError: If its groups do not allow that.
    """
    if isinstance(layer, nn.Conv2d):
        inputs, outputs = sizes
        if layer.groups > 1:
            depthwise = layer.groups == layer.in_channels == layer.out_channels
            if not depthwise or inputs != outputs:
                raise WeightsError(
                    f"{where}: expected a convolution of {layer.groups} groups to stay as it is, or depthwise, found "
                    f"sizes {list(sizes)}. These weights belong to another detector."
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
    """Put another layer under this name."""
    parent, _, own = name.rpartition(".")
    setattr(module.get_submodule(parent), own, layer)


def layers_text(layers: Layers) -> str:
    """Sizes as a header holds them."""
    return json.dumps({name: list(sizes) for name, sizes in layers.items()})


def layers_in(metadata: Mapping[str, str], *, where: str) -> dict[str, tuple[int, ...]]:
    """The sizes that a weights file's header says; none where the network is as its builder makes it.

    Raises:
        WeightsError: If they are no sizes.
    """
    said: Any = None
    with suppress(ValueError):
        said = json.loads(metadata.get(KEY, "{}"))
    if not isinstance(said, dict) or not all(_are_sizes(sizes) for sizes in said.values()):
        raise WeightsError(f"{where}: expected sizes by layer under '{KEY}', found something else. Fetch it again.")
    return {name: tuple(sizes) for name, sizes in said.items()}


def pair(sides: Any) -> tuple[int, int]:
    """Vertical and horizontal, as a convolution's settings are two numbers for images."""
    if isinstance(sides, str):
        raise ValueError(f"padding must be in px, got '{sides}'")
    return int(sides[0]), int(sides[1])


def _are_sizes(sizes: Any) -> bool:
    return isinstance(sizes, list) and 1 <= len(sizes) <= 3 and all(type(size) is int for size in sizes)


def _sizes(layer: nn.Module) -> tuple[int, ...]:
    """() for a layer whose weights do not depend on channels."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    if isinstance(layer, _BatchNorm):
        return (layer.num_features,)
    if isinstance(layer, nn.PReLU):  # with one parameter too: it may be the one channel that is left
        return (layer.num_parameters,)
    return ()


def _anew(layer: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    old = getattr(layer, name, None)
    if isinstance(old, nn.Parameter):
        setattr(layer, name, nn.Parameter(old.new_zeros(shape), requires_grad=old.requires_grad))
    elif isinstance(old, Tensor):
        setattr(layer, name, old.new_zeros(shape))
