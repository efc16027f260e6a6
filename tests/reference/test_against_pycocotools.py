"""Our matching and AP against pycocotools itself, on ordinary and on awkward data."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from awkward_boxes import AWKWARD, data
from builders import footage, frame
from dataset_culling.evaluation.coco import IOUS, Evaluation, _ap_table, _ap_table_pycocotools, evaluate
from dataset_culling.strategies.precision_loss import per_image_ap
from dataset_culling.types import Detections


def largest_difference(one: Evaluation, other: Evaluation) -> float:
    worst = 0.0
    for field in dataclasses.fields(Evaluation):
        a, b = getattr(one, field.name), getattr(other, field.name)
        pairs = [(a[key], b[key]) for key in a] if isinstance(a, dict) else [(a, b)]
        worst = max([worst, *(abs(x - y) for x, y in pairs)])
    return worst


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", AWKWARD)
def test_evaluate__equals_pycocotools(name, seed):
    found, truth = data(name, seed)
    assert largest_difference(evaluate(found, truth), evaluate(found, truth, backend="pycocotools")) < 1e-9
    assert np.abs(_ap_table(found, truth) - _ap_table_pycocotools(found, truth)).max() < 1e-9


def test_evaluate__equals_pycocotools_beyond_100_boxes_of_a_class():
    found, truth = data("ordinary", 0, num_frames=10, false_per_frame=500)
    assert np.diff(found.offsets).max() > 3 * 100
    assert largest_difference(evaluate(found, truth), evaluate(found, truth, backend="pycocotools")) < 1e-9


def test_evaluate__equals_pycocotools_on_boxes_without_area_and_overlaps_at_the_threshold():
    truth = footage(frame((0, 1, 0, 0, 10, 10), (0, 1, 20, 0, 30, 10)), frame((1, 1, 5, 5, 5, 9)))
    found = footage(
        frame((0, 0.9, 0, 0, 5, 10), (0, 0.9, 20, 0, 30, 9.5), (0, 0.9, 4, 4, 4, 4)), frame((1, 0.5, 5, 5, 5, 9))
    )
    table = _ap_table(found, truth)
    assert np.abs(table - _ap_table_pycocotools(found, truth)).max() < 1e-9
    assert table[0, 0, 0] == pytest.approx(1)  # IoU exactly 0.5 counts
    assert np.abs(IOUS - np.arange(0.5, 1, 0.05)).max() < 1e-9


def by_pycocotools(found: Detections, truth: Detections, row: int) -> float:
    """AP of one frame as pycocotools gives it for that frame alone, with our rules for what COCO leaves open."""
    here = np.array([row])
    found, truth = found.take(here), truth.take(here)
    table = _ap_table_pycocotools(found, truth)[:, 0, 0]
    # COCO has no figure for a class without truth: 0 if the student sees it there outside ignore regions, else absent.
    values = [ap for ap in table if ap >= 0]
    for k in np.flatnonzero(table < 0):
        boxes, regions = found.image(0).rows(found.class_ids == k), truth.image(0).rows(truth.class_ids == k)
        values += [0.0] * any(not in_a_region(box, regions.boxes_xyxy) for box in boxes.boxes_xyxy)
    return float(np.mean(values)) if values else 1.0


def in_a_region(box: np.ndarray, regions: np.ndarray) -> bool:
    box = box.astype(float)
    for region in regions.astype(float):
        width = min(box[2], region[2]) - max(box[0], region[0])
        height = min(box[3], region[3]) - max(box[1], region[1])
        if width > 0 and height > 0 and width * height / ((box[2] - box[0]) * (box[3] - box[1])) >= 0.5:
            return True
    return False


@pytest.mark.parametrize("name", AWKWARD)
def test_per_image_ap__equals_pycocotools_on_each_image_alone(name):
    found, truth = data(name, 7, num_frames=15)
    ours = per_image_ap(found, truth)
    assert ours == pytest.approx([by_pycocotools(found, truth, row) for row in range(len(truth))], abs=1e-9)
    assert 0 < ours.mean() <= 1
