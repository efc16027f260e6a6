"""Recorded loss curves of twelve steps of the embedded student, which a refactor must not change.

UPDATE_RECORDED=1 python -m pytest tests/contract/test_recorded_losses.py writes them anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_detector, load_trainable
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import ClassMap, Subset
from squares import Squares

FILE = Path(__file__).parents[1] / "recorded" / "losses.json"
CASES: dict[str, dict[str, object]] = {
    "plain": {},
    "cyclical": {"cyclical": {"enabled": True, "cycle_epochs": 2.0, "floor": 0.25}},
    "gradmatch": {"gradmatch": {"enabled": True, "share": 0.6, "every": 2, "warm": 0.25}},
    "random_pb": {"random_pb": {"enabled": True, "share": 0.6, "every": 2}},
    "random_subset": {"random_subset": {"enabled": True, "share": 0.5, "every": 2}},
    "recorded_subsets": {"recorded_subsets": {"source": "recorded.jsonl"}},
    "selective_backprop": {"selective_backprop": {"enabled": True, "start": 0.25, "interrupt": 0}},
    "expand_nets": {"expand_nets": {"rate": 2}},
    "pruning": {"pruning": {"strength": 5.0, "l1_share": 0.1}},
    "low_rank": {"low_rank": {"strength": 30.0, "energy": 0.9}},
    "distillation": {"distillation": {"weight": 1.0}},
}
SUBSETS = (
    Subset(0, (("frame 2", "frame 5", "frame 10", "frame 7"), ("frame 9", "frame 8")), (1.25, 0.75), True),
    Subset(2, (("frame 0",), ("frame 4",), ("frame 11",)), (1.0, 1.0, 1.0), False),
)


@pytest.mark.parametrize("name", CASES)
def test_train__loses_what_is_recorded(name):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        classes = ClassMap({"a": ("person",), "b": ("car",)})
        student = load_trainable(DetectorRef(name="tiny"), device="cpu").specialise(classes)
        teacher = load_detector(DetectorRef(name="tiny_teacher"), device="cpu") if name == "distillation" else None
        recipe = Recipe(epochs=4, batch_size=4, warmup_steps=2, seed=3, techniques=CASES[name])
        record = train(student, Squares(12, score=0.6), recipe, side_px=96, teacher=teacher, recorded=SUBSETS)
    finally:
        torch.set_num_threads(threads)
    losses = [dict(epoch) for epoch in record.losses]
    recorded = json.loads(FILE.read_text()) if FILE.exists() else {}
    if os.environ.get("UPDATE_RECORDED"):
        recorded[name] = losses
        FILE.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    assert len(losses) == len(recorded[name])
    for found, wanted in zip(losses, recorded[name], strict=True):
        assert found == pytest.approx(wanted, rel=1e-3)
