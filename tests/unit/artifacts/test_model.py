"""model/1: what is written can be read again, by others too."""

from __future__ import annotations

import torch

from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.model import FILE, WEIGHTS, ModelCard, read_model_card, weights_file, write_model
from dataset_culling.detectors.weights import read_weights


def test_write_model__is_as_readable_as_what_lies_beside_it(tmp_path):
    card = ModelCard("tiny", ("person", "car"), 288, {"epochs": 3})
    state = {"head.weight": torch.arange(6.0).reshape(2, 3)}
    write_model(tmp_path / "model", card, state, Origin("train-student", {}, {}))
    assert read_model_card(tmp_path / "model") == card
    assert torch.equal(read_weights(weights_file(tmp_path / "model"))[0]["head.weight"], state["head.weight"])
    modes = {(tmp_path / "model" / name).stat().st_mode for name in (FILE, WEIGHTS)}
    assert len(modes) == 1
