"""Overlap, matching and average precision, worked by hand and against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import footage, frame, random_truth, shuffled_boxes
from dataset_culling.boxes import (
    Pairs,
    average_precision,
    box_areas_px2,
    candidate_pairs,
    grouped_average_precision,
    iou_matrix,
    match_greedy,
    paired_iou,
    recall_levels_reached,
    sort_boxes,
)


def pairs_of(iou: list[list[float]], *, least: float = 0.5) -> Pairs:
    """Detections in rows, truth boxes in columns."""
    table = np.array(iou)
    det, truth = np.nonzero(table >= least)
    return Pairs(det.astype(np.int64), truth.astype(np.int64), table[det, truth])


def match(iou: list[list[float]], *, ignored: list[int] = [], crowd: list[int] = []) -> list[int]:  # noqa: B006
    num_dets, num_truths = np.array(iou).shape
    is_ignored, is_crowd = np.zeros(num_truths, np.bool_), np.zeros(num_truths, np.bool_)
    is_ignored[ignored + crowd], is_crowd[crowd] = True, True
    return match_greedy(
        pairs_of(iou), num_dets=num_dets, truth_ignored=is_ignored, truth_crowd=is_crowd
    ).tolist()  # fmt: skip


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        pytest.param([0, 0, 10, 10], 1.0, id="the same box"),
        pytest.param([5, 0, 15, 10], 1 / 3, id="half over: 50 of 150"),
        pytest.param([0, 0, 5, 10], 0.5, id="its left half"),
        pytest.param([10, 0, 20, 10], 0.0, id="touching at an edge"),
        pytest.param([2, 2, 2, 8], 0.0, id="no width"),
    ],
)
def test_iou_matrix__worked_by_hand(other, iou):
    square = np.array([[0, 0, 10, 10]], np.float32)
    assert iou_matrix(square, np.array([other], np.float32)) == pytest.approx(iou)


def test_paired_iou__in_an_ignore_region_only_the_detection_counts():
    small, region = np.array([[0, 0, 10, 10]], np.float32), np.array([[0, 0, 100, 5]], np.float32)
    assert paired_iou(small, region, np.array([True])) == pytest.approx(0.5)
    assert paired_iou(small, region, np.array([False])) == pytest.approx(50 / 550)


def test_box_areas_px2__and_no_boxes():
    assert box_areas_px2(np.array([[1, 2, 4, 6]], np.float32)).tolist() == [12.0]
    assert box_areas_px2(np.zeros((0, 4), np.float32)).shape == (0,)
    assert iou_matrix(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)


@pytest.mark.parametrize(
    ("iou", "options", "matched"),
    [
        pytest.param([[0.6], [0.9]], {}, [0, -1], id="the better score wins, however well the other fits"),
        pytest.param([[0.6, 0.8], [0.0, 0.9]], {}, [1, -1], id="it takes the best box, not the one left over"),
        pytest.param([[0.9, 0.6], [0.8, 0.7]], {}, [0, 1], id="refused, the second goes on to its next"),
        pytest.param([[0.4], [0.5]], {}, [-1, 0], id="an overlap equal to the threshold counts"),
        pytest.param([[0.7, 0.7]], {}, [1], id="of equal overlaps the later box, as COCO does"),
        pytest.param([[0.6, 0.9]], {"ignored": [1]}, [0], id="a real object before an ignored one"),
        pytest.param([[0.9], [0.9]], {"crowd": [0]}, [0, 0], id="a crowd takes any number"),
        pytest.param([[0.9], [0.9]], {"ignored": [0]}, [0, -1], id="an ignored box that is no crowd takes one"),
    ],
)
def test_match_greedy__worked_by_hand(iou, options, matched):
    assert match(iou, **options) == matched


def test_match_greedy__a_chain_of_displacements():
    # Detection 2 first holds box 1, loses it to detection 1, which was refused box 0 by detection 0.
    assert match([[0.9, 0, 0], [0.9, 0.8, 0], [0, 0.9, 0.6]]) == [0, 1, 2]


def plain_loop(iou, ignored, crowd, least=0.5):
    """pycocotools' evaluateImg for one image and threshold, as written there."""
    order = np.argsort(ignored, kind="mergesort")
    taken, matched = {}, []
    for row in iou:
        best, which = min(least, 1 - 1e-10), -1
        for place in order:
            if place in taken and not crowd[place]:
                continue
            if which > -1 and not ignored[which] and ignored[place]:
                break
            if row[place] < best:
                continue
            best, which = row[place], place
        if which > -1:
            taken[which] = True
        matched.append(int(which))
    return matched


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_match_greedy__is_the_plain_loop(seed, num_dets, num_truths):
    rng = np.random.default_rng(seed)
    iou = np.round(rng.uniform(0.3, 1, (num_dets, num_truths)), 1)  # one decimal: many are equal
    ignored = rng.uniform(size=num_truths) < 0.4
    crowd = ignored & (rng.uniform(size=num_truths) < 0.5)
    found = match_greedy(pairs_of(iou), num_dets=num_dets, truth_ignored=ignored, truth_crowd=crowd)
    assert found.tolist() == plain_loop(iou, ignored, crowd)


def test_candidate_pairs__only_within_a_key(monkeypatch):
    box = np.array([[0, 0, 10, 10]] * 3, np.float32)
    no = np.zeros(3, np.bool_)
    for most in (1, 2_000_000):  # in pieces and in one go
        monkeypatch.setattr("dataset_culling.boxes.MAX_PAIRS", most)
        found = candidate_pairs(np.array([4, 7, 7]), box, np.array([4, 7, 9]), box, no, min_iou=0.5)
        assert (found.det.tolist(), found.truth.tolist()) == ([0, 1, 2], [0, 1, 1])


@pytest.mark.parametrize(
    ("position", "num_truths", "ap"),
    [
        pytest.param([1], 1, 1.0, id="found first"),
        pytest.param([2], 1, 0.5, id="after one false"),
        pytest.param([1], 2, 51 / 101, id="one of two: recalls 0 to 0.50"),
        pytest.param([1, 3], 2, (51 * 1 + 50 * 2 / 3) / 101, id="the second after one false"),
        pytest.param([2, 3], 2, 2 / 3, id="precision is read at that recall or above"),
        pytest.param([], 3, 0.0, id="nothing found"),
    ],
)
def test_average_precision__worked_by_hand(position, num_truths, ap):
    assert average_precision(np.array(position, np.int64), num_truths) == pytest.approx(ap, abs=1e-12)


@given(st.integers(1, 400))
def test_recall_levels_reached__add_up_to_101(num_truths):
    hits = np.arange(1, num_truths + 1)
    assert recall_levels_reached(hits, np.full(num_truths, num_truths)).sum() == 101


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_grouped_average_precision__is_that_of_each_list(seed):
    rng = np.random.default_rng(seed)
    lists = [np.flatnonzero(rng.uniform(size=rng.integers(0, 30)) < 0.5) + 1 for _ in range(8)]
    num_truths = np.array([len(one) + int(rng.integers(0, 3)) for one in lists])
    group = np.repeat(np.arange(8), [len(one) for one in lists])
    together = grouped_average_precision(group, np.concatenate(lists), num_truths)
    alone = [average_precision(one, int(n)) if n else 0.0 for one, n in zip(lists, num_truths, strict=True)]
    assert together == pytest.approx(alone, abs=1e-12)


def test_sort_boxes__forgets_the_order_boxes_came_in():
    rng = np.random.default_rng(5)
    boxes = random_truth(rng, 20, grid=50, ignored_share=0.3)
    once, again = sort_boxes(boxes), sort_boxes(shuffled_boxes(rng, boxes))
    for name in ("boxes_xyxy", "scores", "class_ids", "ignore", "offsets"):
        assert np.array_equal(getattr(once, name), getattr(again, name)), name
    assert sort_boxes(footage(frame(), frame())).offsets.tolist() == [0, 0, 0]
