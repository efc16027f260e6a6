"""Student scoring as a stage: boxes of every frame, and what the student sees of it where that is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, write_camera_frames
from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.cull_confidence.config import CullConfidenceConfig
from dataset_culling.stages.cull_confidence.stage import run as cull
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.stages.score_frames.stage import run
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.table import choose_frames


def score(frames: Path, out: Path, *, features: bool) -> None:
    config = ScoreFramesConfig(classes=CLASSES, features=features)
    run(config, {"frames": frames}, {"detections": out}, StageContext("score-frames"))


def test_run__features_are_kept_on_request_and_reach_the_cull(tmp_path: Path):
    write_camera_frames(tmp_path / "frames", [40.0 + 5 * k for k in range(12)])
    score(tmp_path / "frames", tmp_path / "plain", features=False)
    score(tmp_path / "frames", tmp_path / "seen", features=True)
    assert read_detections(tmp_path / "plain", features=True).features is None
    assert read_detections(tmp_path / "seen").features is None
    boxes = read_detections(tmp_path / "seen", features=True)
    assert boxes.features is not None
    assert (boxes.features.dtype, boxes.features.shape[0]) == (np.float32, 12)
    assert np.all(np.isfinite(boxes.features))
    assert np.array_equal(boxes.boxes_xyxy, read_detections(tmp_path / "plain").boxes_xyxy)
    cull(
        CullConfidenceConfig(strategy="coverage", budget=5),
        {"detections": tmp_path / "seen"},
        {"selection": tmp_path / "selection"},
        StageContext("cull-confidence"),
    )
    chosen = read_selection(tmp_path / "selection").frame_ids.tolist()
    assert chosen == choose_frames("coverage", CullInput(boxes), budget=5).frame_ids.tolist()
    layout = choose_frames("coverage", CullInput(dataclasses.replace(boxes, features=None)), budget=5)
    assert chosen != layout.frame_ids.tolist()
    score(tmp_path / "frames", tmp_path / "seen", features=False)  # into the same directory: they go
    assert read_detections(tmp_path / "seen", features=True).features is None


def test_config__feature_maps_need_features_and_come_once():
    assert ScoreFramesConfig(features=True, feature_maps=(2, 0)).feature_maps == (2, 0)
    with pytest.raises(ConfigError, match="set features to true"):
        parse_config(ScoreFramesConfig, {"feature_maps": [1]}, where="score-frames")
    with pytest.raises(ConfigError, match="each map once"):
        parse_config(ScoreFramesConfig, {"features": True, "feature_maps": [1, 1]}, where="score-frames")


def test_run__one_map_alone_is_part_of_all(tmp_path: Path):
    write_camera_frames(tmp_path / "frames", [40.0, 45.0])
    score(tmp_path / "frames", tmp_path / "all", features=True)
    config = ScoreFramesConfig(classes=CLASSES, features=True, feature_maps=(1,))
    run(config, {"frames": tmp_path / "frames"}, {"detections": tmp_path / "one"}, StageContext("score-frames"))
    whole = read_detections(tmp_path / "all", features=True).features
    one = read_detections(tmp_path / "one", features=True).features
    assert whole is not None
    assert one is not None
    width = whole.shape[1] // 3
    assert np.array_equal(one, whole[:, width : 2 * width])
