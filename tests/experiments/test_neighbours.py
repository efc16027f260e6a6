"""Nearest-neighbour ranking of crops, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.embeddings.neighbours import (
    average_precision_of,
    cosine_distances,
    could_be_same,
    rank_neighbours,
)

NOBODY = np.zeros((5, 5), np.bool_)
CLASSES = np.array([0, 0, 0, 1, 1])
ON_A_LINE = np.abs(np.subtract.outer(*[np.array([0.0, 1.0, 4.0, 5.5, 6.0])] * 2))
"""Five crops on a line, at 0, 1 and 4 (class 0), 5.5 and 6 (class 1)."""


def test_cosine_distances__are_of_directions_alone():
    found = cosine_distances(np.array([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]]))
    assert found[0].tolist() == pytest.approx([0, 0, 1, 2, 1])
    assert np.array_equal(found, found.T)


def test_average_precision_of__is_the_mean_of_precisions_at_hits():
    assert average_precision_of(np.array([True, False, True, True])) == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert average_precision_of(np.array([False, True])) == pytest.approx(0.5)
    assert average_precision_of(np.array([False])) == 0


def test_rank_neighbours__ranks_by_hand():
    found = rank_neighbours(ON_A_LINE, CLASSES, NOBODY)
    # Own class first for the crops at 0, 1, 5.5 and 6; the one at 4 has 5.5 and 6 before 1 and 0.
    assert found.precision_at_1 == pytest.approx((2 / 3 + 1) / 2)
    assert found.mean_average_precision == pytest.approx(((1 + 1 + (1 / 3 + 2 / 4) / 2) / 3 + 1) / 2)
    assert found.chance == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert found.same_distance == pytest.approx((np.mean([2.5, 2.0, 3.5]) + 0.5) / 2)
    assert found.other_distance == pytest.approx((np.mean([5.75, 4.75, 1.75]) + np.mean([11.5, 13.0]) / 3) / 2)
    assert found.separation == pytest.approx(1 - found.same_distance / found.other_distance)
    assert found.nearest_same.tolist() == [1, 0, 1, 4, 3]
    assert found.nearest_other.tolist() == [3, 3, 3, 2, 2]


def test_rank_neighbours__what_is_excluded_is_no_neighbour():
    twins = NOBODY.copy()
    twins[3, 4] = twins[4, 3] = True  # the only two of their class: neither has anybody to find
    twins[0, 1] = twins[1, 0] = True
    found = rank_neighbours(ON_A_LINE, CLASSES, twins)
    assert found.is_query.tolist() == [True, True, True, False, False]
    assert found.nearest_same.tolist() == [2, 2, 1, -1, -1]
    assert found.num_queries == 3
    assert found.precision_at_1 == pytest.approx(2 / 3)  # 4 is nearer to 0 and to 1 than 5.5; not so the other way


def test_rank_neighbours__one_class_says_nothing():
    with pytest.raises(ValueError, match="of its own class and of another"):
        rank_neighbours(ON_A_LINE, np.zeros(5, np.int64), NOBODY)


def test_could_be_same__by_time_or_by_place():
    time_s = np.array([0.0, 4.0, 30.0, 200.0])
    boxes = np.array([[0, 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    found = could_be_same(time_s, boxes, gap_s=5, place_s=60, place_iou=0.3)
    assert found[0].tolist() == [True, True, True, False]  # moved on, stood there, too long ago
    assert found[1].tolist() == [True, True, False, False]
    assert not could_be_same(time_s, boxes, gap_s=0, place_s=0, place_iou=0.3)[0, 1:].any()
