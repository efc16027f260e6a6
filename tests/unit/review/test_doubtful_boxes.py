"""Doubt by hand: what is believed less, and which frames are chosen."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.review.doubtful_boxes import doubt_of, nearness_to_middle, spread_over_time

BOXES = footage(
    frame((0, 0.9, 0, 0, 10, 10), (0, 0.4, 50, 0, 60, 10)),
    frame((1, 0.8, 0, 0, 10, 10)),
    frame(),
    ignore=[1],
)


def test_doubt_of__score_and_ignore_mark():
    doubt = doubt_of(BOXES)
    assert doubt.of_boxes.tolist() == pytest.approx([0.1, 1 - 0.4 / 2, 0.2])
    assert doubt.doubtful.tolist() == [False, True, False]
    assert doubt.of_frames.tolist() == pytest.approx([0.8, 0, 0])  # what is in no doubt adds nothing


def test_doubt_of__trust_and_student():
    student = footage(
        frame((0, 0.7, 1, 0, 11, 10), (0, 0.9, 51, 0, 61, 10)),
        frame((0, 0.9, 0, 0, 10, 10), (1, 0.2, 0, 0, 10, 10)),  # another class, and one below what counts
        frame((1, 0.6, 5, 5, 9, 9)),
    )
    doubt = doubt_of(BOXES, trust=np.array([1.0, 0.5, 1.0]), student=student, min_scores={"person": 0.5, "car": 0.5})
    assert doubt.of_boxes.tolist() == pytest.approx([0.1, 1 - 0.4 * 0.5 / 2, 1 - 0.8 / 2])
    assert doubt.doubtful.tolist() == [False, True, True]
    assert doubt.missed.tolist() == [0, 1, 1]
    assert doubt.of_frames.tolist() == pytest.approx([0.9, 0.6 + 0.9, 0.6])


def test_doubt_of__trust_of_other_boxes_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        doubt_of(BOXES, trust=np.ones(2))


def test_spread_over_time__each_slice_gives_the_one_preferred():
    time_s = np.array([0.0, 1, 2, 3, 10, 11, 12, 20])
    assert spread_over_time(time_s, np.array([0.0, 5, 1, 1, 0, 0, 2, 0]), 2).tolist() == [1, 6]
    # two slices of 10 s; their middles are 5 s and 15 s
    assert spread_over_time(time_s, nearness_to_middle(time_s, 2), 2).tolist() == [3, 6]


def test_spread_over_time__empty_slices_give_their_turn_to_others():
    busy_then_quiet = np.array([0.0, 1, 2, 3, 4, 5, 100])
    rows = spread_over_time(busy_then_quiet, np.zeros(7), 4)
    assert rows.tolist() == [0, 1, 2, 6]
    assert spread_over_time(busy_then_quiet, np.zeros(7), 9).tolist() == list(range(7))
