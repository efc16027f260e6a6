"""Whether the teacher says the same of the same thing seen another way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.evaluation.trust import (
    agreement,
    doubtful_frames,
    mark_doubtful,
    mirrored,
    neighbours,
    rescaled,
    worst_boxes,
)

LEFT, RIGHT = (0, 0.9, 0, 0, 10, 10), (0, 0.8, 50, 0, 60, 10)


def test_mirrored__brings_boxes_back():
    back = mirrored(footage(frame((0, 0.9, 0, 5, 10, 9)), frame((0, 0.9, 20, 0, 50, 9))), np.array([100, 60]))
    assert back.boxes_xyxy.tolist() == [[90, 5, 100, 9], [10, 0, 40, 9]]


def test_rescaled__brings_boxes_back():
    assert rescaled(footage(frame((0, 0.9, 5, 10, 15, 20))), 0.5).boxes_xyxy.tolist() == [[10, 20, 30, 40]]


def test_agreement__mean_overlap_over_the_views():
    labels = footage(frame(RIGHT, LEFT), frame())
    same, shifted, other_class = (
        footage(frame(LEFT, RIGHT), frame()),
        footage(frame((0, 0.9, 0, 0, 10, 7)), frame()),  # IoU 0.7 with LEFT
        footage(frame((1, 0.9, 0, 0, 10, 10)), frame()),
    )
    assert agreement(labels, [same]).tolist() == [1, 1]
    assert agreement(labels, [same, shifted, other_class]) == pytest.approx([1 / 3, 1.7 / 3])
    assert agreement(labels, [shifted], iou=0.8).tolist() == [0, 0]
    assert agreement(labels, []).tolist() == [1, 1]


def test_agreement__a_counterpart_is_counted_once():
    twice = footage(frame(LEFT, (0, 0.5, 0, 0, 10, 10)))
    assert agreement(twice, [footage(frame(LEFT))]).tolist() == [1, 0]


def test_agreement__views_of_other_frames_are_refused():
    with pytest.raises(ValueError, match="of the labels' frames and classes"):
        agreement(footage(frame(LEFT)), [footage(frame(LEFT), frame_ids=[5])])


def test_neighbours__only_near_ones_were_looked_at():
    labels = footage(frame(LEFT), frame(RIGHT), frame(LEFT), time_s=[0.0, 1.0, 60.0])
    later = neighbours(labels, 1, max_gap_s=2)
    assert later.scored.tolist() == [True, False, False]
    assert later.boxes_xyxy.tolist() == [list(RIGHT[2:])]
    earlier = neighbours(labels, -1, max_gap_s=100)
    assert earlier.scored.tolist() == [False, True, True]
    # Beside frame 0 lies frame 1, where its box is gone; frames 1 and 2 have no later neighbour to speak against them.
    assert agreement(labels, [later]).tolist() == [0, 1, 1]


def test_mark_doubtful__thresholds_per_class():
    labels = footage(frame(LEFT, (1, 0.9, 0, 0, 9, 9), RIGHT), ignore=[2])
    trust = np.array([0.5, 0.5, 1.0])
    assert mark_doubtful(labels, trust, least=0.6, by_class={}).ignore.tolist() == [True, True, True]
    assert mark_doubtful(labels, trust, least=0.6, by_class={"car": 0.4}).ignore.tolist() == [True, False, True]
    with pytest.raises(ValueError, match="by_class names bus"):
        mark_doubtful(labels, trust, least=0.6, by_class={"bus": 1})
    with pytest.raises(ValueError, match="trust must have shape"):
        mark_doubtful(labels, trust[:1], least=0.6, by_class={})


def test_doubtful_frames__by_share():
    labels = footage(frame(LEFT, RIGHT), frame(LEFT), frame(), ignore=[0, 2])
    assert doubtful_frames(labels, max_share=0.5).tolist() == [False, True, False]
    assert doubtful_frames(labels, max_share=0.4).tolist() == [True, True, False]


def test_worst_boxes__least_trust_then_highest_score():
    labels = dataclasses.replace(footage(frame(RIGHT, LEFT, LEFT)))
    assert worst_boxes(labels, np.array([0.2, 0.2, 0.1]), most=2).tolist() == [2, 1]
