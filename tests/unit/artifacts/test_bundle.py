"""Bundles, read without torch; written ones are looked at in tests/pipeline/test_predict.py."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import REPOSITORY
from constant_bundle import write_constant_bundle
from dataset_culling.artifacts.bundle import BundleProvenance, BundleSpec, is_bundle, load_bundle, read_bundle
from dataset_culling.artifacts.detection_log import LoggedFrame, LoggedModel, LogHeader
from dataset_culling.detectors.exported import InputSpec, OutputSpec
from dataset_culling.errors import ConfigError, WeightsError


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_constant_bundle(tmp_path)


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
        pytest.param({"colour": "RGB"}, ConfigError, "an unknown key", id="unknown key"),
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
