"""Every student learns eight drawn frames by heart, or its loss, label map or box format is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.engine.doctor import check_overfit
from dataset_culling.training.overfit import DrawnFrames, overfit
from detector_rows import trainable_rows


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", trainable_rows())
def test_overfit__every_student_passes(name):
    """With random weights where none are at hand: what `culling doctor --overfit` does."""
    finding = check_overfit(name)
    assert finding.verdict == "ok", finding.found


@pytest.mark.parametrize("fault", ["labels swapped", "boxes as centre and size", "loss of boxes left out"])
def test_overfit__a_broken_detector_does_not_pass(monkeypatch, fault):
    """The check itself: each of the faults it is there for keeps a good student below the bar."""
    torch.manual_seed(0)
    detector = load_trainable(DetectorRef(name="tiny", weights="none"))
    right = type(detector).losses

    def broken(self: TorchDetector, batch: torch.Tensor, targets: list[Target]) -> dict[str, torch.Tensor]:
        spoilt = []
        for target in targets:
            boxes, ids = target.boxes_xyxy, target.class_ids
            if fault == "labels swapped":
                ids = 1 - ids
            if fault == "boxes as centre and size":
                boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:]], 1)
            spoilt.append(Target(boxes, ids, target.weights, target.ignore))
        losses = right(self, batch, spoilt)
        if fault == "loss of boxes left out":
            losses = {key: value for key, value in losses.items() if "box_reg" not in key}
        return losses

    monkeypatch.setattr(type(detector), "losses", broken)
    assert not overfit(detector, side_px=128, rounds=1).passed


def test_drawn_frames__boxes_hold_their_shapes():
    frames = DrawnFrames(96)
    assert len(frames) == 8
    corners = set()
    for row in range(len(frames)):
        sample = frames[row]
        assert sample.image.shape == (96, 144, 3)
        again = frames[row]
        assert np.array_equal(sample.image, again.image)
        for (x1, y1, x2, y2), colour in zip(sample.boxes_xyxy.astype(int), ((240, 70, 60), (50, 90, 250)), strict=True):
            ys, xs = np.nonzero((sample.image == colour).all(2))
            assert abs(xs.min() - x1) <= 1
            assert abs(xs.max() + 1 - x2) <= 1
            assert abs(ys.min() - y1) <= 1
            assert abs(ys.max() + 1 - y2) <= 1
            corners.add((x1, y1))
    assert len(corners) == 16
