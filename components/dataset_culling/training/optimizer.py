"""Optimiser, precision and the running mean of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dataset_culling.errors import ConfigError
from dataset_culling.training.recipe import Recipe


def compute_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the type that autocast computes in; None for float32, which needs no autocast.

    Raises:
        ConfigError: For float16 on a CPU, whose gradients would be lost.
    """
    if precision == "auto" and device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if precision == "float16" and device.type != "cuda":
        raise ConfigError(f"recipe.precision: expected float32 or bfloat16 on a {device.type}, found float16.")
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)


class Stepper:
    """The recipe's optimiser with gradient clipping and, for float16, a loss scaler.

    Args:
        learners: The modules that learn; only convolution and matrix weights decay.
        recipe: The options.
        compute: Autocast's type.
        device: Of the modules.
    """

    def __init__(self, learners: nn.Module, recipe: Recipe, compute: torch.dtype | None, device: torch.device) -> None:
        self._learners = learners
        trained = [parameter for parameter in learners.parameters() if parameter.requires_grad]
        kernels = [parameter for parameter in trained if parameter.ndim > 1]
        others = [parameter for parameter in trained if parameter.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        self._optimizer: torch.optim.Optimizer
        if recipe.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9)
        else:
            adam = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
            self._optimizer = adam(groups, lr=recipe.learning_rate)
        self._scaler = torch.amp.GradScaler(device.type) if compute == torch.float16 else None

    def set_rate(self, learning_rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate

    def step(self, loss: Tensor, clip_norm: float) -> tuple[bool, float]:
        """Change the weights along the loss's gradient.

        Args:
            loss: Scalar.
            clip_norm: Largest norm of the gradient; 0: unlimited.

        Returns:
            Whether the weights changed, and the gradient's norm. They do not where that is not finite: float16 may
            overflow, then the scaler is lowered and the norm returned is 0; otherwise the caller must stop.
        """
        self._optimizer.zero_grad(set_to_none=True)
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        if self._scaler is not None:
            self._scaler.unscale_(self._optimizer)
        # Measured even where nothing is clipped: one step along a NaN gradient would spoil weights and checkpoint.
        norm = float(nn.utils.clip_grad_norm_(self._learners.parameters(), clip_norm or math.inf))
        if self._scaler is None:
            if math.isfinite(norm):
                self._optimizer.step()
            return math.isfinite(norm), norm
        scale = self._scaler.get_scale()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return self._scaler.get_scale() >= scale, 0.0

    def state(self) -> Mapping[str, Any]:
        """Return the optimiser's state by parameter number and key, and the scaler's; settings come from the recipe."""
        state = self._optimizer.state_dict()["state"]
        tensors = {f"{number}.{key}": value for number, values in state.items() for key, value in values.items()}
        return tensors if self._scaler is None else {**tensors, "scaler": self._scaler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of an optimiser of the same parameters."""
        found: dict[int, dict[str, Any]] = {}
        for name, value in state.items():
            number, _, key = name.partition(".")
            if key:
                found.setdefault(int(number), {})[key] = value
        self._optimizer.load_state_dict({"state": found, "param_groups": self._optimizer.state_dict()["param_groups"]})
        if self._scaler is not None and "scaler" in state:
            self._scaler.load_state_dict(state["scaler"])


class Average:
    """A running mean of the weights, quicker at the start: decay = min(decay, (1 + n) / (10 + n))."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        self._mean = {key: value.detach().clone() for key, value in module.state_dict().items()}

    def update(self, module: nn.Module) -> None:
        """Add one more step's weights."""
        self._updates += 1
        keep = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for key, value in module.state_dict().items():
            if value.is_floating_point():
                self._mean[key].lerp_(value.detach(), 1 - keep)
            else:
                self._mean[key].copy_(value)

    def copy_to(self, module: nn.Module) -> None:
        """Put the mean into the module."""
        module.load_state_dict(self._mean)

    def state(self) -> Mapping[str, Any]:
        """Return the mean and the number of updates."""
        return {**self._mean, "updates": self._updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from another process's mean."""
        for key, value in self._mean.items():
            value.copy_(state[key])
        self._updates = state["updates"]
