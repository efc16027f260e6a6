"""Students as ONNX: what onnxruntime sees is what torch sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.export import export_module, export_onnx
from dataset_culling.detectors.exported import load_exported
from dataset_culling.detectors.table import load_trainable
from dataset_culling.types import parse_classes


def street(height: int, width: int) -> np.ndarray:
    """Noise with a bright rectangle."""
    image = np.random.default_rng(1).integers(0, 120, (height, width, 3)).astype(np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = 230
    return image


def test_export_onnx__tiny_sees_the_same(tmp_path):
    detector, image = load_trainable(DetectorRef(name="tiny")), street(256, 320)
    described = export_onnx(detector, tmp_path, height_px=256, width_px=320, side_px=256, min_score=0.0005)
    exported = load_exported(described)
    assert exported.class_names == detector.class_names
    assert exported.network_size(256, 320) == detector.network_size(256, 320, 256)
    (mine,), (theirs,) = (looker.predict([image], side_px=256, min_score=0.0005) for looker in (detector, exported))
    assert len(theirs) == len(mine) > 0
    np.testing.assert_allclose(theirs.scores, mine.scores, atol=1e-4)
    np.testing.assert_allclose(theirs.boxes_xyxy, mine.boxes_xyxy, atol=0.05)


@pytest.mark.parametrize("name", ["yolox_nano", "ssdlite320_mobilenet_v3_large"])
def test_export_onnx__the_network_gives_the_same_numbers(name, tmp_path):
    torch.manual_seed(0)
    detector = load_trainable(DetectorRef(name=name, weights="none")).specialise(parse_classes(["person", "car"]))
    exported = load_exported(export_onnx(detector, tmp_path, height_px=256, width_px=320, side_px=256))
    prepared = exported.prepare(street(256, 320))
    (answers,) = exported._runtime.run(iter([exported._tensor(prepared)]))
    with torch.no_grad():
        wanted = export_module(detector, 0.05)[0].eval()(torch.from_numpy(exported._tensor(prepared)))
    for mine, theirs in zip((wanted,) if torch.is_tensor(wanted) else wanted, answers.values(), strict=True):
        if mine.is_floating_point():  # not the best of classes that an untrained head finds equal
            np.testing.assert_allclose(theirs, mine.numpy(), atol=1e-3, rtol=1e-3)
