"""Bundles, read without torch; written ones are looked at in tests/pipeline/test_predict.py."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from conftest import REPOSITORY
from dataset_culling.artifacts.bundle import BundleProvenance, BundleSpec, is_bundle, load_bundle, read_bundle
from dataset_culling.artifacts.detection_log import LoggedFrame, LoggedModel, LogHeader
from dataset_culling.artifacts.header import sha256_file
from dataset_culling.detectors.exported import InputSpec, OutputSpec
from dataset_culling.errors import ConfigError, WeightsError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle whose network always sees the same two boxes in an image of 64 x 32 px."""
    answers = {
        "boxes": np.array([[8, 4, 24, 20], [0, 0, 4, 4]], np.float32),
        "scores": np.array([0.75, 0.3], np.float32),
        "labels": np.array([2, 1], np.int64),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in answers.items()
    ]
    kinds = {"labels": TensorProto.INT64}
    outputs = [
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), value.shape)
        for name, value in answers.items()
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 32, 64))
    graph = helper.make_graph(nodes, "constant", [image], outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "model.onnx"
    )
    card = {
        "kind": "bundle/1",
        "name": "constant_64x32",
        "format": "onnx",
        "file": "model.onnx",
        "network_sha256": sha256_file(tmp_path / "model.onnx"),
        "input": {"height_px": 32, "width_px": 64},
        "output": {"layout": "boxes_scores_labels", **{name: name for name in answers}, "label_offset": 1},
        "class_names": ["person", "car"],
        "frame_height_px": 64,
        "frame_width_px": 128,
        "score_thresholds": {"person": 0.5, "car": 0.4},
        "provenance": {"detector": "constant", "side_px": 32, "model_digest": "ab", "code_version": "0"},
    }
    (tmp_path / "bundle.json").write_text(json.dumps(card))
    return tmp_path


def test_bundle__folder_or_card_gives_the_detector(bundle: Path):
    for path in (bundle, bundle / "bundle.json"):
        assert is_bundle(path)
        spec = read_bundle(path)
        (found,) = load_bundle(path, spec, runner="onnx").predict([np.zeros((64, 128, 3), np.uint8)])
        assert found.boxes_xyxy.tolist() == [[16, 8, 48, 40], [0, 0, 8, 8]]
        assert [spec.class_names[class_id] for class_id in found.class_ids] == ["car", "person"]
    assert not is_bundle(bundle.parent)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        pytest.param({"score_thresholds": {"car": 0.4}}, ConfigError, "must name person, car", id="a class without"),
        pytest.param(
            {"score_thresholds": {"car": 4, "person": 1}}, ConfigError, "less than or equal to 1", id="above 1"
        ),
        pytest.param({"kind": "bundle/2"}, ConfigError, "'bundle/1'", id="another form"),
        pytest.param({"colour": "RGB"}, ConfigError, "no known key", id="unknown key"),
        pytest.param({"network_sha256": "00"}, WeightsError, "found another", id="another network"),
        pytest.param({"file": "gone.onnx"}, WeightsError, "Copy the bundle as a whole", id="no network"),
    ],
)
def test_read_bundle__what_is_wrong(change: dict[str, Any], error: type[Exception], says: str, bundle: Path):
    card = json.loads((bundle / "bundle.json").read_text())
    (bundle / "bundle.json").write_text(json.dumps({**card, **change}))
    with pytest.raises(error, match=says):
        read_bundle(bundle)


def test_read_bundle__no_json(bundle: Path):
    (bundle / "bundle.json").write_text("{")
    with pytest.raises(ConfigError, match="expected a JSON object"):
        read_bundle(bundle)


def test_docs__every_key_of_bundle_and_log_is_explained():
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"`(?:input\.|output\.)?(\w+)`", page))
    keys = {key for kind in (BundleSpec, BundleProvenance, InputSpec, OutputSpec) for key in kind.model_fields}
    keys |= {key.name for kind in (LogHeader, LoggedModel, LoggedFrame) for key in dataclasses.fields(kind)}
    assert keys - {"found"} - explained == set()  # `found` is boxes_xyxy, scores and classes in the log
    assert {"boxes_xyxy", "scores", "classes", "log"} <= explained
