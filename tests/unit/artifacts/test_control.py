"""control/1: round trip, the note that there is none, and that nobody can take it for a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dataset_culling.artifacts.control import WEIGHTS, Control, control_weights, read_control, write_control
from dataset_culling.artifacts.header import Origin, verify
from dataset_culling.artifacts.model import ModelCard, read_model_card
from dataset_culling.errors import CorruptArtifact, SchemaMismatch

CONTROL = Control(ModelCard("tiny", ("person", "car"), 259, {"epochs": 2}), (3, 5, 8), 7)


def test_control__round_trip(tmp_path: Path):
    write_control(tmp_path, Origin("test"), CONTROL, {"weight": torch.arange(3.0)})
    assert read_control(tmp_path) == CONTROL
    assert control_weights(tmp_path).stat().st_size > 0
    assert verify(tmp_path, "control/1").counts == {"frames": 3}


def test_control__none_was_asked_for_takes_the_earlier_weights_away(tmp_path: Path):
    write_control(tmp_path, Origin("test"), CONTROL, {"weight": torch.arange(3.0)})
    write_control(tmp_path, Origin("test"), None, {})
    assert read_control(tmp_path) is None
    assert not (tmp_path / WEIGHTS).exists()
    with pytest.raises(CorruptArtifact, match="no such file"):
        control_weights(tmp_path)


def test_control__is_no_model(tmp_path: Path):
    write_control(tmp_path, Origin("test"), CONTROL, {"weight": torch.arange(3.0)})
    with pytest.raises(SchemaMismatch, match="expected artifact model/1, found control/1"):
        read_model_card(tmp_path)


def test_control__damage_is_seen(tmp_path: Path):
    write_control(tmp_path, Origin("test"), CONTROL, {"weight": torch.arange(3.0)})
    weights = tmp_path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CorruptArtifact, match="sha256"):
        control_weights(tmp_path)
