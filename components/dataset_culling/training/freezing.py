"""Frozen parts of a network: early layers, and the statistics of batch norms."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dataset_culling.detectors.compact import LowRank
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError


def early_layers(detector: TorchDetector, count: int) -> list[nn.Module]:
    """The first `count` convolutions that an image meets, and every layer with weights among them.

    A convolution that is held as two of a low rank counts once, so that the same number freezes the same part of a
    network on the night after. The order is that of a forward pass, as networks do not always define their layers in
    the order they use them.

    Args:
        detector: Any; its weights and mode are left as they are.
        count: How many convolutions, 0 for none.

    Returns:
        Layers without children: convolutions, batch norms and the like up to the next convolution.

    Raises:
        ConfigError: If the network has no more than `count` convolutions, as nothing would be left to learn.
    """
    if count == 0:
        return []
    met: list[nn.Module] = []

    def meet(layer: nn.Module, _arguments: object) -> None:
        if layer not in met:
            met.append(layer)

    layers = [part for part in detector.module.modules() if not list(part.children()) and list(part.parameters())]
    hooks = [layer.register_forward_pre_hook(meet) for layer in layers]
    was_training = {part: part.training for part in detector.module.modules()}
    side = detector.network_size(detector.min_side_px, detector.min_side_px, detector.min_side_px)
    try:
        detector.module.eval()
        with torch.no_grad():
            detector.forward(torch.full((1, 3, *side), 114, dtype=torch.uint8, device=detector.device), min_score=0.0)
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in was_training.items():
            part.training = mode
    seconds = [part[1] for part in detector.module.modules() if isinstance(part, LowRank)]
    convolutions = [place for place, layer in enumerate(met) if isinstance(layer, nn.Conv2d) and layer not in seconds]
    if count >= len(convolutions):
        raise ConfigError(
            f"recipe.frozen_layers: expected less than the {len(convolutions)} convolutions of {detector.name}, found "
            f"{count}. Lower it, so that something is left to learn."
        )
    return met[: convolutions[count]]


def set_training_mode(module: nn.Module, *, batch_norm: str, frozen: list[nn.Module]) -> None:
    """Everything to training mode but batch norms that are to keep their statistics."""
    module.train()
    for part in module.modules() if batch_norm == "frozen" else frozen:
        if isinstance(part, _BatchNorm):
            part.eval()
