"""Labels compared with the truth and spoilt on purpose, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame
from experiments.label_noise import label_quality, miss_boxes, miss_objects

NAMES = ("person", "car")


def box(x: float, score: float = 0.9, class_id: int = 0) -> tuple[float, ...]:
    return (class_id, score, x, 0, x + 10, 10)


def test_label_quality__worked_by_hand():
    truth = footage(frame(box(0), box(20), box(40, class_id=1)), frame(box(0)), class_names=NAMES)
    labels = footage(frame(box(0), box(60), box(40)), frame(), class_names=NAMES)
    found = label_quality(labels, truth)
    assert found.precision == pytest.approx(1 / 3)  # 60 is nothing, 40 is a car
    assert found.recall == pytest.approx(1 / 4)
    assert (found.class_errors, found.num_labels) == (1, 3)


def test_label_quality__ignore_regions_of_either_side_do_not_count():
    truth = footage(frame(box(0), box(20), box(40)), class_names=NAMES)
    truth.ignore[2] = True
    labels = footage(frame(box(0), box(20), box(40)), class_names=NAMES)
    labels.ignore[1] = True
    found = label_quality(labels, truth)
    assert (found.precision, found.recall, found.num_labels) == (1.0, 1.0, 2)
    assert found.recall_all == 0.5  # of two true objects asked for one is labelled, whatever is excused


def test_miss_boxes__the_share_and_the_same_again():
    labels = footage(*[frame(box(0), box(20))] * 500)
    left = miss_boxes(labels, 0.4, seed=1)
    assert len(left.scores) == pytest.approx(600, abs=50)  # 1000 draws: three standard deviations are 46
    assert np.array_equal(left.offsets, miss_boxes(labels, 0.4, seed=1).offsets)
    assert len(miss_boxes(labels, 0.0, seed=1).scores) == 1000


def test_miss_objects__an_object_is_missed_everywhere_or_nowhere():
    objects = [frame(*(box(20 * thing) for thing in range(40)))] * 3
    truth, ids = footage(*objects), np.tile(np.arange(40), 3)
    left = miss_objects(footage(*objects), truth, ids, 0.5, seed=0)
    per_frame = [left.image(row).boxes_xyxy[:, 0].tolist() for row in range(3)]
    assert per_frame[0] == per_frame[1] == per_frame[2]
    assert 0 < len(per_frame[0]) < 40
