"""Channels of several layers that are one neuron, so that it can be removed everywhere at once.

A network is run symbolically (torch.fx) with a number for each channel instead of its values. A convolution makes new
ones, a norm, an activation or a depthwise convolution keeps them, a sum makes two the same, a concatenation puts them
one behind the other. What comes out of the network, and what meets anything else, stays for good: nothing is guessed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError
from torch.nn.modules.batchnorm import _BatchNorm

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError

# What keeps a channel that is zero everywhere at zero, and channels apart.
_KEEPING = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.LeakyReLU, nn.Hardswish, nn.GELU, nn.Identity, nn.Dropout, nn.MaxPool2d, nn.Upsample,
)  # fmt: skip
_KEEPING_FUNCTIONS = (torch.relu, F.relu, F.silu, F.leaky_relu, F.interpolate, F.max_pool2d)
_KEEPING_METHODS = ("relu", "contiguous")
_ADDING = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True, slots=True)
class Wiring:
    """Neurons: channels that live and die together, numbered from 0."""

    removable: Tensor  # (N,) bool; the others must stay
    outputs: dict[str, Tensor]  # the neuron of each channel that a layer gives, by the layer's name; (channels,) int64
    inputs: dict[str, Tensor]  # the neuron of each channel that a convolution or a matrix takes; (channels,) int64

    def __len__(self) -> int:
        return len(self.removable)

    def to(self, device: torch.device) -> Wiring:
        """Return the same on a device."""
        outputs, inputs = ({name: ids.to(device) for name, ids in part.items()} for part in (self.outputs, self.inputs))
        return Wiring(self.removable.to(device), outputs, inputs)


def pieces(module: nn.Module, wiring: Wiring) -> Iterator[tuple[nn.Parameter, Tensor]]:
    """The parameters that make channels what they are, each with the neuron of each of its rows; (rows, ...).

    Where all of a neuron's are zero, its channels are zero for every image: filters and biases give zero, and so do
    norms with neither gain nor shift. A slope (PReLU) cannot change that.
    """
    for name, neurons in wiring.outputs.items():
        layer = module.get_submodule(name)
        if isinstance(layer, nn.PReLU):
            continue
        for own in layer.parameters(recurse=False):
            yield own, neurons


def wiring_of(detector: TorchDetector) -> Wiring:
    """The neurons of a student; frozen weights stay.

    Raises:
        ConfigError: If it is neither an R-CNN nor a YOLOX, or not one neuron is sure to be removable.
    """
    from dataset_culling.detectors.torchvision_rcnn import RCNNDetector  # seconds, which only pruning needs
    from dataset_culling.detectors.yolox import YoloxDetector

    if isinstance(detector, RCNNDetector):
        whole: nn.Module = _RCNN(detector.module)
    elif isinstance(detector, YoloxDetector):
        whole = _Whole(detector.module)
    else:
        raise ConfigError(
            f"recipe.techniques.pruning: expected strength 0 for {detector.name}, as only R-CNNs and YOLOX can be "
            f"pruned. Set it to 0, or choose another student."
        )
    found = walk(whole, prefix="module.", name=detector.name)
    if not found.removable.any():
        raise ConfigError(
            f"recipe.techniques.pruning: no channels can be removed from "
            f"{detector.name}: its norms do not learn, or its layers are frozen. Set strength to 0, or choose "
            f"another student."
        )
    return found


def walk(module: nn.Module, *, prefix: str = "", name: str = "the network") -> Wiring:
    """The neurons of a module whose inputs are images of three channels; where it cannot be followed, they stay.

    Args:
        module: Its forward pass must be traceable by torch.fx.
        prefix: Taken off the layers' names.
        name: For errors.

    Raises:
        ConfigError: If its forward pass cannot be traced.
    """
    try:
        graph = _Tracer().trace(module)
    except (TraceError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"recipe.techniques.pruning: expected strength 0 for {name}, whose layers cannot be followed "
            f"({error}). Choose another student."
        ) from None
    followed = _Walk(module, prefix)
    for node in graph.nodes:
        followed.take(node)
    return followed.wiring()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, _Regions | _Unknown) or super().is_leaf_module(m, module_qualified_name)


class _Whole(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> Any:
        return self.module(image)


class _RCNN(nn.Module):
    """An R-CNN without what lies between its layers: anchors, boxes, suppression. Every layer meets what it meets."""

    def __init__(self, module: nn.Module) -> None:
        from torchvision.models.detection.faster_rcnn import TwoMLPHead

        super().__init__()
        self.module = module
        heads: Any = module.roi_heads
        self.known = isinstance(heads.box_head, TwoMLPHead)
        height, width = heads.box_roi_pool.output_size
        self.regions = _Regions(height * width)
        self.unknown = _Unknown()

    def forward(self, image: Tensor) -> Any:
        module: Any = self.module
        maps = list(module.backbone(image).values())
        said = []
        for one in maps:
            hidden = module.rpn.head.conv(one)
            said += [module.rpn.head.cls_logits(hidden), module.rpn.head.bbox_pred(hidden)]
        head, says = module.roi_heads.box_head, module.roi_heads.box_predictor
        if not self.known:
            return [*said, self.unknown(maps)]
        hidden = torch.relu(head.fc7(torch.relu(head.fc6(self.regions(maps)))))
        return [*said, says.cls_score(hidden), says.bbox_pred(hidden)]


class _Regions(nn.Module):
    """RoIAlign and flattening: every channel of every map, once for each cell; the maps' channels are the same."""

    def __init__(self, cells: int) -> None:
        super().__init__()
        self.cells = cells


class _Unknown(nn.Module):
    """Layers that are not followed."""


class _Value(NamedTuple):
    """A tensor: the channel numbers along its second dimension, and whether that is the last one."""

    ids: list[int]
    flat: bool = False


class _Walk:
    def __init__(self, module: nn.Module, prefix: str) -> None:
        self._module, self._prefix = module, prefix
        self._parent: list[int] = []
        self._stays: list[bool] = []
        self._values: dict[fx.Node, _Value | None] = {}  # None: no tensor, or one whose channels are not known
        self._outputs: dict[str, list[int]] = {}
        self._inputs: dict[str, list[int]] = {}

    def take(self, node: fx.Node) -> None:
        """Follow one operation."""
        found: _Value | None = None
        if node.op == "placeholder":
            found = _Value(self._fresh(3, stays=True))
        elif node.op == "call_module":
            found = self._layer(str(node.target), node)
        elif node.op in {"call_function", "call_method"}:
            found = self._operation(node)
        elif node.op == "output":
            self._stay(node)
        self._values[node] = found

    def wiring(self) -> Wiring:
        """Return the result, neurons numbered from 0."""
        roots = [self._root(number) for number in range(len(self._parent))]
        numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
        stays = torch.zeros(len(numbers), dtype=torch.bool)
        for number, root in enumerate(roots):
            stays[numbers[root]] |= self._stays[number]

        def neurons(ids: list[int]) -> Tensor:
            return torch.tensor([numbers[roots[number]] for number in ids], dtype=torch.int64)

        return Wiring(
            ~stays,
            {name: neurons(ids) for name, ids in self._outputs.items()},
            {name: neurons(ids) for name, ids in self._inputs.items()},
        )

    # -- operations

    def _layer(self, target: str, node: fx.Node) -> _Value | None:
        layer, name = self._module.get_submodule(target), target.removeprefix(self._prefix)
        if isinstance(layer, _Regions):
            given: Any = node.args[0]
            maps = [value for one in given if (value := self._values[one]) is not None]
            if len(maps) < len(given) or len({len(one.ids) for one in maps}) > 1:
                return self._stay(node)
            for one in maps[1:]:
                self._unite(maps[0].ids, one.ids)
            return _Value([number for number in maps[0].ids for _ in range(layer.cells)], flat=True)
        value = self._values.get(node.args[0]) if node.args and isinstance(node.args[0], fx.Node) else None
        if isinstance(layer, nn.Conv2d | nn.Linear):
            return self._weighs(layer, name, value, node)
        if value is None:
            return self._stay(node)
        if isinstance(layer, _BatchNorm | nn.PReLU):
            if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
                return value
            if cast("Tensor | None", layer.weight) is None:  # a norm that learns nothing
                return self._stay(node)
            self._record(self._outputs, name, value.ids)
            if isinstance(layer, _BatchNorm) and not _learns(layer):
                self._hold(value.ids)
            return value
        return value if isinstance(layer, _KEEPING) else self._stay(node)

    def _weighs(self, layer: nn.Conv2d | nn.Linear, name: str, value: _Value | None, node: fx.Node) -> _Value:
        flat = isinstance(layer, nn.Linear)
        inputs, outputs = layer.weight.shape[1] * getattr(layer, "groups", 1), layer.weight.shape[0]
        if value is None or value.flat != flat or len(value.ids) != inputs:
            self._stay(node)
            value = _Value(self._fresh(inputs, stays=True), flat)
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            if layer.groups == inputs == outputs:
                self._record(self._outputs, name, value.ids)
                if not _learns(layer):
                    self._hold(value.ids)
                return value
            self._hold(value.ids)
            return _Value(self._fresh(outputs, stays=True))
        made = self._fresh(outputs, stays=not _learns(layer))
        self._record(self._inputs, name, value.ids)
        self._record(self._outputs, name, made)
        return _Value(made, flat)

    def _operation(self, node: fx.Node) -> _Value | None:
        first = node.args[0] if node.args else None
        value = self._values.get(first) if isinstance(first, fx.Node) else None
        target = node.target
        if (target is getattr and node.args[1] == "shape") or target in {"size", "dim"}:
            return None
        if target is operator.getitem and value is None and isinstance(first, fx.Node):
            return None  # of a shape
        if value is not None:
            if target in _KEEPING_FUNCTIONS or target in _KEEPING_METHODS:
                return value
            if target is operator.getitem and isinstance(node.args[1], tuple) and not value.flat:
                where = node.args[1]
                if len(where) == 3 and where[0] is ... and all(isinstance(one, slice) for one in where[1:]):
                    return value
            if target in _ADDING and len(node.args) == 2 and not node.kwargs:
                other = self._values.get(node.args[1]) if isinstance(node.args[1], fx.Node) else None
                if other is not None and len(other.ids) == len(value.ids) and other.flat == value.flat:
                    self._unite(value.ids, other.ids)
                    return value
        if target is torch.cat and isinstance(first, list | tuple):
            parts = [self._values.get(one) if isinstance(one, fx.Node) else None for one in first]
            dimension = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            if dimension == 1 and all(part is not None for part in parts):
                return _Value([number for part in parts if part is not None for number in part.ids])
        return self._stay(node)

    # -- channels

    def _fresh(self, count: int, *, stays: bool) -> list[int]:
        start = len(self._parent)
        self._parent += range(start, start + count)
        self._stays += [stays] * count
        return list(range(start, start + count))

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def _unite(self, ones: Iterable[int], others: Iterable[int]) -> None:
        for one, other in zip(ones, others, strict=True):
            self._parent[self._root(other)] = self._root(one)

    def _record(self, where: dict[str, list[int]], name: str, ids: list[int]) -> None:
        """A layer that is run more than once takes and gives the same neurons each time."""
        if name in where:
            self._unite(where[name], ids)
        else:
            where[name] = ids

    def _hold(self, ids: Iterable[int]) -> None:
        for number in ids:
            self._stays[number] = True

    def _stay(self, node: fx.Node) -> _Value | None:
        """Whatever meets this operation must stay as it is, and nothing is known of what comes out of it."""
        for one in node.all_input_nodes:
            value = self._values.get(one)
            if value is not None:
                self._hold(value.ids)
        return None


def _learns(layer: nn.Module) -> bool:
    return all(own.requires_grad for own in layer.parameters(recurse=False))
