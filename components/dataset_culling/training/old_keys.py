"""Flat names that techniques' options had in `recipe` before each technique had a section; accepted for one release."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataset_culling.config import merge

_CHOOSERS = {"gradmatch": "gradmatch", "random-pb": "random_pb", "random": "random_subset"}
"""Values of the old option `subset`, and the techniques that they name."""

OLD_KEYS: dict[str, tuple[str, ...]] = {
    "cycle_epochs": ("cyclical.cycle_epochs",),
    "cycle_floor": ("cyclical.floor",),
    "distillation": ("distillation.weight",),
    "expand": ("expand_nets.rate",),
    "prune": ("pruning.strength",),
    "prune_l1_share": ("pruning.l1_share",),
    "low_rank": ("low_rank.strength",),
    "low_rank_energy": ("low_rank.energy",),
    "subset_share": tuple(f"{name}.share" for name in _CHOOSERS.values()),
    "subset_every": tuple(f"{name}.every" for name in _CHOOSERS.values()),
    "subset_warm": tuple(f"{name}.warm" for name in (*_CHOOSERS.values(), "recorded_subsets")),
    "subset_replay": ("recorded_subsets.source",),
    "selective_backprop": ("selective_backprop.enabled",),
    "selective_start": ("selective_backprop.start",),
    "selective_end": ("selective_backprop.end",),
    "selective_keep": ("selective_backprop.keep",),
    "selective_interrupt": ("selective_backprop.interrupt",),
}


def with_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with old flat names moved into `techniques`; a flat name overrides a section's value."""
    found = {key: value for key, value in values.items() if key not in OLD_KEYS}
    moved: dict[str, Any] = {}

    def put(place: str, value: Any) -> None:
        name, option = place.split(".")
        moved.setdefault(name, {})[option] = value

    for key in OLD_KEYS.keys() & values.keys():
        for place in OLD_KEYS[key]:
            put(place, values[key])
    if found.get("schedule") == "cyclical":
        del found["schedule"]
        put("cyclical.enabled", True)
    if found.get("subset") in ("none", *_CHOOSERS):
        chosen = found.pop("subset")
        for value, name in _CHOOSERS.items():
            put(f"{name}.enabled", value == chosen)
    if moved:
        sections = found.get("techniques", {})
        sections = sections if isinstance(sections, Mapping) else sections.model_dump()
        found["techniques"] = merge(sections, moved)
    return found
