"""Joint training and pruning: neurons that are not needed become zero while training, and are taken away afterwards.

N = neurons (see `wiring`), t = the step of the proximal operator, the learning rate times the strength.

Source:
    Alvarez, Salzmann, Learning the Number of Neurons in Deep Networks, NIPS 2016 (arXiv:1611.06321): a group Lasso (or
    a sparse one) on all parameters of a neuron, by a proximal step. That norms belong to the neuron, and that channels
    tied by sums are one neuron, is ours: without either a neuron that is zero could not be taken away.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dataset_culling.detectors.compact import resize
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.training.techniques.pruning.wiring import Wiring, pieces


@torch.no_grad()
def shrink(module: nn.Module, wiring: Wiring, step: float, *, l1_share: float = 0.0) -> None:
    """One proximal step of the group Lasso on the removable neurons, in place.

    A neuron of P parameters w becomes max(0, 1 - t sqrt(P) / |w|) w; with an `l1_share` a each number is first moved
    by a t towards zero, and the group by (1 - a) t sqrt(P). The strongest neuron of each layer stays as it is where it
    would become zero.

    Args:
        module: Whose parameters are shrunk.
        wiring: Of this module, on its device.
        step: t.
        l1_share: a, between 0 (the group Lasso) and 1 (the Lasso).
    """
    norms, sizes = norms_of(module, wiring)
    best = strongest(wiring, norms / sizes.sqrt())
    moved: list[tuple[Tensor, Tensor]] = list(pieces(module, wiring))
    if l1_share:
        moved = [(own.sign() * (own.abs() - step * l1_share).clamp_(min=0), neurons) for own, neurons in moved]
        norms = _norms(moved, wiring)[0]
    threshold = step * (1 - l1_share) * sizes.sqrt()
    kept = (1 - threshold / norms).clamp_(min=0).nan_to_num_(0.0)
    untouched = ~wiring.removable
    untouched[best] |= kept[best] == 0
    for (own, neurons), (less, _) in zip(pieces(module, wiring), moved, strict=True):
        own.copy_(torch.where(_rows(untouched[neurons], own), own, less * _rows(kept[neurons], own)))


@torch.no_grad()
def norms_of(module: nn.Module, wiring: Wiring) -> tuple[Tensor, Tensor]:
    """The length of each neuron's parameters, and how many they are; (N,) float32 each."""
    return _norms(pieces(module, wiring), wiring)


def _norms(parts: Iterable[tuple[Tensor, Tensor]], wiring: Wiring) -> tuple[Tensor, Tensor]:
    squares = torch.zeros(len(wiring), device=wiring.removable.device)
    sizes = torch.zeros_like(squares)
    for own, neurons in parts:
        rows = own.flatten(1) if own.ndim > 1 else own[:, None]
        squares.index_add_(0, neurons, rows.float().square().sum(1))
        sizes.index_add_(0, neurons, squares.new_full((len(neurons),), rows.shape[1]))
    return squares.sqrt(), sizes.clamp_(min=1)


def strongest(wiring: Wiring, strength: Tensor) -> Tensor:
    """The neuron of each layer that is never taken away, as no layer can be without channels; (layers,) int64."""
    return torch.stack([neurons[strength[neurons].argmax()] for neurons in wiring.outputs.values()])


def dead(module: nn.Module, wiring: Wiring) -> Tensor:
    """The removable neurons that are zero, but one of each layer that is zero as a whole; (N,) bool."""
    norms, sizes = norms_of(module, wiring)
    gone = wiring.removable & (norms == 0)
    gone[strongest(wiring, norms / sizes.sqrt())] = False
    return gone


@torch.no_grad()
def silence(module: nn.Module, wiring: Wiring, gone: Tensor) -> None:
    """Make neurons zero, in place; `gone` is (N,) bool."""
    for own, neurons in pieces(module, wiring):
        own.masked_fill_(_rows(gone[neurons], own), 0.0)


def remove(detector: TorchDetector, wiring: Wiring, gone: Tensor) -> None:
    """Take neurons away, in place; where they were zero, the detector says what it said before.

    Args:
        detector: Its layers become smaller and it says so in `layers()`.
        wiring: Of it; of no use afterwards.
        gone: (N,) bool, none that must stay.

    Raises:
        ValueError: If a neuron that must stay is among them, or a layer would lose all its channels; nothing is
            changed then.
    """
    if bool((gone & ~wiring.removable).any()):
        raise ValueError("only removable neurons may be taken away")
    for name, neurons in wiring.outputs.items():
        if bool(gone[neurons].all()):
            raise ValueError(f"the layer {name} must keep a channel")
    if not bool(gone.any()):
        return
    module = detector.module
    state = module.state_dict()
    for name, neurons in wiring.outputs.items():
        rows = ~gone[neurons]
        columns = ~gone[wiring.inputs[name]] if name in wiring.inputs else None
        layer = module.get_submodule(name)
        for key, value in layer.state_dict(prefix=f"{name}.").items():
            if value.ndim:
                state[key] = value[rows]
        if columns is not None:
            state[f"{name}.weight"] = state[f"{name}.weight"][:, columns]
        taken = int(rows.sum())
        if columns is not None:
            resize(layer, (int(columns.sum()), taken))
        else:
            resize(layer, (taken, taken) if isinstance(layer, nn.Conv2d) else (taken,))
    module.load_state_dict(state)
    detector.compact = True


def parameters_without(module: nn.Module, wiring: Wiring, gone: Tensor) -> int:
    """Count the parameters that are left without these neurons, (N,) bool."""
    lost = 0
    for name, neurons in wiring.outputs.items():
        layer = module.get_submodule(name)
        rows = float((~gone[neurons]).float().mean())
        for key, own in layer.named_parameters(recurse=False):
            takes = name in wiring.inputs and key == "weight"
            columns = float((~gone[wiring.inputs[name]]).float().mean()) if takes else 1.0
            lost += round(own.numel() * (1 - rows * columns))
    return sum(own.numel() for own in module.parameters()) - lost


def weakest(module: nn.Module, wiring: Wiring, num_parameters: int) -> Tensor:
    """The neurons to take away so that about `num_parameters` are left: those of the least magnitude; (N,) bool.

    What train-then-prune does. Magnitude is the root mean square of a neuron's parameters, as a share of the mean in
    its layer: wide layers have small weights, and would be gone before any other lost a neuron. The largest of each
    layer stays, so that a network may stay larger than was asked for.
    """
    norms, sizes = norms_of(module, wiring)
    strength = norms / sizes.sqrt()
    usual = torch.ones_like(strength)
    for neurons in wiring.outputs.values():
        usual[neurons] = strength[neurons].mean().clamp_(min=1e-12)
    strength = strength / usual
    free = wiring.removable.clone()
    free[strongest(wiring, strength)] = False
    order = strength.argsort()
    order = order[free[order]]
    low, high = 0, len(order)

    def first(count: int) -> Tensor:
        gone = torch.zeros_like(wiring.removable)
        gone[order[:count]] = True
        return gone

    while low < high:
        middle = (low + high) // 2
        if parameters_without(module, wiring, first(middle)) <= num_parameters:
            high = middle
        else:
            low = middle + 1
    return first(low)


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """(rows,) brought to as many dimensions as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
