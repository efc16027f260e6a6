"""The check of an export: one that sees less than the trained student fails, with both figures."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import ExportLosesAccuracy
from dataset_culling.inference.detect import ScanLog
from dataset_culling.stages.evaluate_student.config import EvaluateStudentConfig
from dataset_culling.stages.evaluate_student.stage import _exported


def test_exported__an_export_that_loses_accuracy_fails_with_the_figures(tmp_path):
    with FrameWriter(tmp_path / "frames", origin=Origin("test")) as writer:
        for row in range(2):
            writer.add(row, float(row), np.full((90, 120, 3), 100, np.uint8))
    frames, tiny = FrameReader(tmp_path / "frames"), load_trainable(DetectorRef(name="tiny"))
    # The grey frames hold nothing that an export could see; the labels, and what 'the student' saw, say otherwise.
    labels = footage(*(frame((0, 0.9, 10, 10, 50, 80)) for _ in range(2)), class_names=tiny.class_names)
    config = EvaluateStudentConfig(export="onnx")
    with pytest.raises(ExportLosesAccuracy, match=r"within 0.01 of mAP@50 1.0000 on the held-out frames, found 0.0000"):
        _exported(config, frames, tiny, labels, labels, 96, ScanLog())
    found = _exported(config.replace(export_max_loss=1.0), frames, tiny, labels, labels, 96, ScanLog())
    assert found["export_loss_map_50"] == pytest.approx(1)
    assert found["exported_latency_s"] > 0
