"""The table of detectors says what is true: parameters, operations and published files, computed anew."""

from __future__ import annotations

import importlib

import pytest
import torch
from torchvision.models import detection

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DETECTORS, load_trainable, weights_at_hand


@pytest.mark.parametrize("name", DETECTORS)
def test_table__sizes_are_as_computed(name):
    spec = DETECTORS[name]
    torch.manual_seed(0)
    detector = load_trainable(DetectorRef(name=name, weights="" if spec.default_weights == "embedded" else "none"))
    assert detector.num_parameters() / 1e6 == pytest.approx(spec.million_parameters, abs=0.006)
    # How many proposals random weights let through decides on the box head's share.
    assert detector.gflops(720, 1280, 320) == pytest.approx(spec.gflops_320, rel=0.1)


@pytest.mark.parametrize("name", [name for name, spec in DETECTORS.items() if spec.default_weights == "COCO_V1"])
def test_table__files_are_those_that_torchvision_publishes(name):
    enums = [value for value in vars(detection).values() if isinstance(value, type) and hasattr(value, "COCO_V1")]
    assert DETECTORS[name].file in {enum.COCO_V1.url.rsplit("/", 1)[-1] for enum in enums}


def test_weights_at_hand__looks_where_torch_does(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = importlib.import_module("dataset_culling.detectors.weights")
    assert weights_at_hand("tiny") == "embedded"
    for name, file in (("yolox_nano", "yolox_nano.onnx"), ("ssd300_vgg16", DETECTORS["ssd300_vgg16"].file)):
        assert weights_at_hand(name) == ""
        path = weights.cache_dir() / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        assert weights_at_hand(name) == str(path)
