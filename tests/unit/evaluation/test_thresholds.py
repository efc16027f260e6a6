"""Thresholds by F-beta, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.evaluation.thresholds import best_score, best_scores

HIT, MISS = True, False


def of_class(found: list[tuple[float, bool]], num_wanted: int, **more: float) -> float | None:
    scores, hit = np.array([score for score, _ in found]), np.array([right for _, right in found], np.bool_)
    return best_score(scores, hit, num_wanted, **more)


def test_best_score__between_the_last_taken_and_the_first_left():
    # F1 = 2 TP / (4 + taken): 2/5, 4/6, 4/7, 6/8, 6/9. The best is with four boxes: 0.75.
    found = [(0.9, HIT), (0.8, HIT), (0.7, MISS), (0.6, HIT), (0.2, MISS)]
    assert of_class(found, 4) == pytest.approx((0.6 + 0.2) / 2)


def test_best_score__beta_moves_it():
    found = [(0.9, HIT), (0.7, MISS), (0.6, MISS), (0.5, MISS), (0.4, HIT)]
    # F1: 2/3, ..., 4/7; F2 = 5 TP / (8 + taken): 5/9, ..., 10/13.
    assert of_class(found, 2) == pytest.approx(0.8)
    assert of_class(found, 2, beta=2.0, floor=0.1) == pytest.approx((0.4 + 0.1) / 2)


def test_best_score__boxes_of_one_score_are_taken_all_or_none():
    # Cutting inside the two boxes of 0.5 would give 4/4 = 1, which no threshold can.
    found = [(0.9, HIT), (0.5, HIT), (0.5, MISS), (0.3, MISS)]
    assert of_class(found, 2) == pytest.approx(0.4)  # 2/3, then 4/5, then 4/6


def test_best_score__the_higher_of_two_that_are_as_good():
    # With one box 2/4, with all five 4/8: the same F1, and fewer false alarms.
    found = [(0.9, HIT), (0.8, MISS), (0.7, MISS), (0.6, MISS), (0.5, HIT)]
    assert of_class(found, 3) == pytest.approx(0.85)


@pytest.mark.parametrize(("found", "num_wanted"), [([], 3), ([(0.9, MISS)], 3), ([(0.9, MISS)], 0)])
def test_best_score__none_where_nothing_can_be_told(found, num_wanted):
    assert of_class(found, num_wanted) is None


HERE, THERE, AWAY = (0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10)


def test_best_scores__by_class_and_over_frames():
    truth = footage(frame((0, 1, *HERE), (1, 1, *THERE)), frame((0, 1, *HERE)))
    found = footage(frame((0, 0.9, *HERE), (0, 0.6, *AWAY), (1, 0.3, *THERE)), frame((0, 0.7, *HERE), (1, 0.8, *THERE)))
    # Persons: hits 0.9 and 0.7, then a miss at 0.6. Cars: a false one of 0.8 stands before the only hit.
    assert best_scores(found, truth, floor=0.1, min_objects=1) == pytest.approx({"person": 0.65, "car": 0.2})


def test_best_scores__ignored_regions_count_neither_way():
    truth = footage(frame((0, 1, *HERE), (0, 1, *AWAY)), ignore=[1])
    found = footage(frame((0, 0.9, *HERE), (0, 0.8, *AWAY), (0, 0.4, *THERE)))
    assert best_scores(found, truth, min_objects=1) == pytest.approx({"person": 0.65})  # 0.8 is not there; 0.4 is wrong


def test_best_scores__few_objects_tell_nothing():
    boxes = frame((0, 1, *HERE), (0, 1, *THERE), (1, 1, *AWAY))
    twelve = footage(*(boxes for _ in range(6)))  # persons; six cars
    assert best_scores(twelve, twelve, floor=0.5) == {"person": 0.75}


def test_best_scores__refuses_other_frames():
    with pytest.raises(ValueError, match="same frames"):
        best_scores(footage(frame()), footage(frame(), frame()))
