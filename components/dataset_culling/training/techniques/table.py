"""Every technique: one row and one folder each. Importing the table loads no torch.

A technique is removed by deleting its folder and its row. Order matters twice: techniques change the model in this
order before training, and in the reverse order after it (neurons are removed before kernels are factorised).
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from pydantic import create_model

from dataset_culling.config import StageConfig
from dataset_culling.training.techniques.base import TechniqueConfig


class Row(NamedTuple):
    """Module and class of a technique's options and of its code, below `training.techniques`."""

    config: str
    hook: str


TECHNIQUES: dict[str, Row] = {
    "gradmatch": Row("gradmatch.config:GradMatchConfig", "gradmatch.technique:GradMatch"),
    "random_pb": Row("random_pb.config:RandomPBConfig", "random_pb.technique:RandomPB"),
    "random_subset": Row("random_subset.config:RandomSubsetConfig", "random_subset.technique:RandomSubset"),
    "recorded_subsets": Row(
        "recorded_subsets.config:RecordedSubsetsConfig", "recorded_subsets.technique:RecordedSubsets"
    ),
    "selective_backprop": Row(
        "selective_backprop.config:SelectiveBackpropConfig", "selective_backprop.technique:SelectiveBackprop"
    ),
    "distillation": Row("distillation.config:DistillationConfig", "distillation.technique:Distillation"),
    "expand_nets": Row("expand_nets.config:ExpandNetsConfig", "expand_nets.technique:ExpandNets"),
    "low_rank": Row("low_rank.config:LowRankConfig", "low_rank.technique:LowRankKernels"),
    "pruning": Row("pruning.config:PruningConfig", "pruning.technique:Pruning"),
    "cyclical": Row("cyclical.config:CyclicalConfig", "cyclical.technique:Cyclical"),
}  # fmt: skip


def _load(where: str) -> Any:
    module, name = where.split(":")
    return getattr(importlib.import_module(f"{__package__}.{module}"), name)


def config_class(name: str) -> type[TechniqueConfig]:
    """Return the class of a technique's options."""
    found: type[TechniqueConfig] = _load(TECHNIQUES[name].config)
    return found


def hook_class(name: str) -> Any:
    """Return the class of a technique's code, a `training.hooks.Technique`; this imports torch."""
    return _load(TECHNIQUES[name].hook)


class _ByName(StageConfig):
    """One section per technique."""

    def of(self, name: str) -> TechniqueConfig | None:
        """Return a technique's options; None if the table has no such row."""
        return getattr(self, name, None)

    def on(self) -> dict[str, TechniqueConfig]:
        """Return the techniques that are on, in the table's order."""
        return {name: config for name in TECHNIQUES if (config := self.of(name)) is not None and config.is_on}


_FIELDS: dict[str, Any] = {name: (config_class(name), config_class(name)()) for name in TECHNIQUES}
Techniques: type[_ByName] = create_model("Techniques", __base__=_ByName, **_FIELDS)
