"""Student scoring as a stage: boxes of every frame, and what the student sees of it where that is asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from camera_frames import CLASSES, write_camera_frames
from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.selection import read_selection
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
