"""Whether the teacher says the same of the same thing seen another way."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.labeling.self_consistency import (
    agreement,
    flipped,
    frame_trust,
    mark_doubtful,
    mirrored,
    neighbours,
    worst_boxes,
    zoomed_out,
)

LEFT, RIGHT = (0, 0.9, 0, 0, 10, 10), (0, 0.8, 50, 0, 60, 10)


def test_mirrored__brings_boxes_back():
    back = mirrored(footage(frame((0, 0.9, 0, 5, 10, 9)), frame((0, 0.9, 20, 0, 50, 9))), np.array([100, 60]))
    assert back.boxes_xyxy.tolist() == [[90, 5, 100, 9], [10, 0, 40, 9]]


def test_flipped__and_mirrored_undo_each_other():
    image = np.zeros((4, 10, 3), np.uint8)
    image[1, 2:5] = 255  # a thing at x 2..5
    seen = np.flatnonzero(flipped(image)[1, :, 0])
    box = frame((0, 0.9, seen[0], 1, seen[-1] + 1, 2))
    assert mirrored(footage(box), np.array([10])).boxes_xyxy.tolist() == [[2, 1, 5, 2]]


def test_zoomed_out__leaves_pixels_where_they_were():
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    canvas = zoomed_out(image, 0.5)
    assert canvas.shape == (8, 12, 3)
    assert np.array_equal(canvas[:4, :6], image)
    assert set(np.unique(canvas[4:])) == set(np.unique(canvas[:, 6:])) == {114}
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        zoomed_out(image, 1)


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


def test_agreement__neighbours_are_one_view_that_says_yes_or_no():
    labels = footage(frame(LEFT, RIGHT), frame(LEFT))
    shifted = footage(frame((0, 0.9, 0, 0, 10, 7)), frame())  # IoU 0.7 with LEFT of the first frame
    gone, back = footage(frame(), frame()), footage(frame((0, 0.9, 5, 0, 15, 10)), frame())  # IoU 1/3 with LEFT
    assert agreement(labels, [], near=[gone, back]).tolist() == [1, 0, 0]
    assert agreement(labels, [shifted], near=[gone, back]) == pytest.approx([(0.7 + 1) / 2, 0, 0])
    assert agreement(labels, [], near=[gone, back], near_iou=0.4).tolist() == [0, 0, 0]
    unknown = dataclasses.replace(back, scored=np.array([True, False]))
    assert agreement(labels, [shifted], near=[unknown]) == pytest.approx([(0.7 + 1) / 2, 0, 0])
    assert agreement(labels, [], near=[unknown]).tolist() == [1, 0, 1]  # nobody looked beside the second frame


def test_frame_trust__mean_over_the_boxes_that_count():
    labels = footage(frame(LEFT, RIGHT), frame(), frame(LEFT))
    trust, among = np.array([0.2, 0.6, 0.1]), np.array([True, True, False])
    assert frame_trust(labels, trust, among) == pytest.approx([0.4, 1, 1])


def test_worst_boxes__least_trust_then_highest_score():
    labels = footage(frame(RIGHT, LEFT, LEFT))
    trust, all_of_them = np.array([0.2, 0.2, 0.1]), np.ones(3, np.bool_)
    assert worst_boxes(labels, trust, all_of_them, most=2).tolist() == [2, 1]
    assert worst_boxes(labels, trust, np.array([True, True, False]), most=5).tolist() == [1, 0]
