"""Student against teacher, worked by hand; among them every defect of the paper's released code."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builders import footage, frame, random_truth, seen_badly, shuffled_boxes
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.precision import select
from dataset_culling.strategies.precision_loss import PrecisionConfig, compare, per_image_ap, precision_loss
from dataset_culling.types import Detections, ImageDetections

PERSON, CAR = 0, 1
MEASURES = ["average-precision", "recall-precision", "localisation-aware"]


def box(place: int, *, score: float = 0.9, class_id: int = PERSON, shift: float = 0) -> tuple[float, ...]:
    """A 10 px square; squares at different places do not touch."""
    return (class_id, score, 20 * place + shift, 0, 20 * place + shift + 10, 10)


def boxes(*places: int, **how: float) -> ImageDetections:
    return frame(*(box(place, **how) for place in places))


def loss_of(student: Detections, teacher: Detections, measure: str) -> list[float]:
    return precision_loss(compare(student, teacher), measure=measure).tolist()


@pytest.mark.parametrize(
    ("student", "teacher", "ap"),
    [
        pytest.param(boxes(0, 1), boxes(0, 1), 1.0, id="all found"),
        pytest.param(boxes(), boxes(), 1.0, id="neither sees anything: easy"),
        pytest.param(boxes(), boxes(0), 0.0, id="missed"),
        pytest.param(boxes(0), boxes(), 0.0, id="hallucinated on an empty frame"),
        pytest.param(boxes(0), boxes(0, 1), 51 / 101, id="one of two"),
        pytest.param(frame(box(0, score=0.5), box(5)), boxes(0), 0.5, id="a false box above the true one"),
        pytest.param(frame(box(0), box(5, score=0.5)), boxes(0), 1.0, id="a false box below it: AP does not see it"),
        pytest.param(frame(box(0), box(0, score=0.5)), boxes(0), 1.0, id="twice the same: the second is false"),
        pytest.param(frame(box(0, score=0.5), box(0)), boxes(0, 1), 51 / 101, id="and cannot be found twice"),
        pytest.param(boxes(0, shift=4), boxes(0), 0.0, id="IoU 3/7 is too little"),
        pytest.param(boxes(0, shift=3), boxes(0), 1.0, id="IoU 7/13 is enough"),
        pytest.param(frame(box(0), box(1, class_id=CAR)), boxes(0), 0.5, id="a class only the student sees is 0"),
        pytest.param(boxes(0), frame(box(0), box(1, class_id=CAR)), 0.5, id="so is one it misses"),
        pytest.param(boxes(0, class_id=CAR), boxes(0), 0.0, id="another class is another box"),
    ],
)
def test_per_image_ap__worked_by_hand(student, teacher, ap):
    assert per_image_ap(footage(student), footage(teacher)) == pytest.approx(ap, abs=1e-12)


def test_per_image_ap__ignored_teacher_boxes_are_neither_objects_nor_background():
    teacher = footage(boxes(0, 1), boxes(0), boxes(0), ignore=[1, 2, 3])
    student = footage(boxes(0), boxes(0), frame(box(0), box(7)))
    assert per_image_ap(student, teacher) == pytest.approx([1, 1, 0], abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_c__rows_are_joined_by_frame_id_and_a_mismatch_is_an_error(measure):
    student = footage(boxes(0), boxes(), frame_ids=[4, 7])
    with pytest.raises(ValueError, match=r"same frames, got 2 and 2; frame 7 is only in one of them"):
        compare(student, footage(boxes(0), boxes(), frame_ids=[4, 8]))
    with pytest.raises(ValueError, match="same classes, got person, car and car, person"):
        compare(student, footage(boxes(0), boxes(), frame_ids=[4, 7], class_names=["car", "person"]))
    with pytest.raises(ValueError, match="frame 7 was not scored"):
        compare(student, dataclasses.replace(student, scored=np.array([True, False])))
    assert loss_of(student, student, measure) == pytest.approx([0, 0], abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_d__the_same_boxes_in_another_order_cost_nothing(measure):
    teacher = footage(boxes(0, 1, 2))
    assert loss_of(footage(boxes(2, 0, 1)), teacher, measure) == pytest.approx([0], abs=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_e__hallucinations_on_an_empty_frame_are_the_worst_and_three_are_worse_than_one(measure):
    student = footage(boxes(), boxes(0), boxes(0, 1, 2), boxes(0))
    teacher = footage(boxes(), boxes(), boxes(), boxes(0, 1, 2))
    none, one, three, partly = loss_of(student, teacher, measure)
    assert none == 0
    assert three > one > partly > 0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("score", [0.3, 0.95])
def test_f__five_false_positives_are_worse_than_one(measure, score):
    false = [box(place, score=score) for place in range(5, 10)]
    student = footage(frame(box(0)), frame(box(0), false[0]), frame(box(0), *false))
    right, one, five = loss_of(student, footage(*[boxes(0)] * 3), measure)
    assert right == pytest.approx(0, abs=1e-12)
    assert five > one > right


@pytest.mark.parametrize("measure", MEASURES)
def test_g__the_share_of_misses_counts_not_their_number(measure):
    student = footage(boxes(0), boxes(*range(5)), boxes(), boxes())
    teacher = footage(boxes(0, 1), boxes(*range(10)), boxes(0), boxes(*range(5)))
    one_of_two, five_of_ten, one_of_one, five_of_five = loss_of(student, teacher, measure)
    assert one_of_two == pytest.approx(five_of_ten, abs=1e-12)
    assert one_of_one == pytest.approx(five_of_five, abs=1e-12)
    assert one_of_one > one_of_two


def test_h__near_duplicates_are_kept_out_by_the_gap():
    pool = CullInput(footage(*[boxes()] * 6), footage(*[boxes(0)] * 6))
    kept = select(pool, budget=3, min_gap_s=2.0, rng=np.random.default_rng(0), config=PrecisionConfig())
    assert kept.frame_ids.tolist() == [0, 2, 4]


def test_precision_loss__worked_by_hand():
    # One found, one missed, one false below it: AP 51/101; F1 = 2/4; recall = precision = 1/2; IoU 7/13 of the one hit.
    student = footage(frame(box(0, shift=3), box(5, score=0.5)))
    result = compare(student, footage(boxes(0, 1)))
    assert (result.hits.tolist(), result.false.tolist(), result.missed.tolist()) == ([[1, 0]], [[1, 0]], [[1, 0]])
    assert precision_loss(result, f1_weight=0) == pytest.approx(50 / 101)
    assert precision_loss(result, f1_weight=1) == pytest.approx(50 / 101 + 0.5 + 0.001 * 1 / 2)
    assert precision_loss(result, measure="recall-precision", f1_weight=0) == pytest.approx(2 / 18)
    assert precision_loss(result, measure="localisation-aware", f1_weight=0) == pytest.approx(1 - (7 / 13) / 2)


def test_precision_loss__a_looser_box_is_worse_only_where_place_counts():
    student, teacher = footage(boxes(0), boxes(0, shift=3)), footage(boxes(0), boxes(0))
    assert loss_of(student, teacher, "average-precision") == pytest.approx([0, 0], abs=1e-12)
    tight, loose = loss_of(student, teacher, "localisation-aware")
    assert (tight, loose) == pytest.approx((0, 1 - 7 / 13), abs=1e-12)


def test_precision_loss__an_unknown_measure():
    with pytest.raises(ValueError, match="got typo"):
        precision_loss(compare(footage(boxes()), footage(boxes())), measure="typo")


@example(27316, "localisation-aware")
@given(st.integers(0, 2**32 - 1), st.sampled_from(MEASURES))
@settings(max_examples=40, deadline=None)
def test_precision_loss__lies_in_bounds_and_is_zero_for_the_teacher_itself(seed, measure):
    rng = np.random.default_rng(seed)
    teacher = random_truth(rng, 12, boxes_per_frame=3, ignored_share=0.2)
    losses = precision_loss(compare(seen_badly(rng, teacher), teacher), measure=measure)
    assert np.all((losses >= 0) & (losses <= 1.0021))
    # Doubtful boxes are regions and no student's: a copy of one may take the sure box that it overlaps.
    itself = teacher.keep_boxes(~teacher.ignore)
    assert precision_loss(compare(itself, teacher), measure=measure).max() < 1e-12


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_select__forgets_the_order_of_boxes_even_of_equal_scores(seed):
    rng = np.random.default_rng(seed)
    teacher = random_truth(rng, 12, boxes_per_frame=6, grid=50)
    student = seen_badly(rng, teacher, grid=50)
    once, again = (
        select(CullInput(s, t), budget=5, rng=rng, config=PrecisionConfig())
        for s, t in ((student, teacher), (shuffled_boxes(rng, student), shuffled_boxes(rng, teacher)))
    )
    assert once.frame_ids.tolist() == again.frame_ids.tolist()
    assert once.loss.tolist() == again.loss.tolist()


def test_select__says_why():
    pool = CullInput(footage(boxes(0), boxes(0, 3)), footage(boxes(0), boxes(0, 1)))
    kept = select(pool, budget=1, rng=np.random.default_rng(0), config=PrecisionConfig())
    assert kept.frame_ids.tolist() == [1]
    assert kept.reasons == ("AP 0.50: 1 found, 1 missed, 1 false",)


def test_select__student_boxes_below_the_floor_are_no_hallucinations():
    pool = CullInput(footage(boxes(0, score=0.1), boxes()), footage(boxes(), boxes(0)))
    kept = select(pool, budget=2, rng=np.random.default_rng(0), config=PrecisionConfig(min_score=0.2))
    assert kept.frame_ids.tolist() == [1, 0]
    assert kept.loss.tolist() == [pytest.approx(1.001), 0.0]
