"""Labels mended by objects' lives, on tracks made by hand: a box moves 2 px a frame, one frame a second."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.labeling.tracks import TrackRules, mend
from dataset_culling.types import Detections

pytest.importorskip("laptrack", reason="needs the extra tracks")
PERSON, CAR = 0, 1
RULES = TrackRules(enabled=True, max_gap_s=2.0, flicker_s=1.0, life_score=0.5, sure_score=0.8)


def at(second: float, score: float = 0.9, class_id: int = PERSON, x: float = 0.0) -> tuple[float, ...]:
    """An object 10 px wide, 20 high, that moves 2 px a second."""
    return (class_id, score, x + 2 * second, 0, x + 2 * second + 10, 20)


def test_mend__a_box_missed_between_two_sightings_is_filled():
    found = mend(footage(frame(at(0, 0.9)), frame(), frame(at(2, 0.7)), class_names=("person", "car")), RULES)
    assert found.labels.offsets.tolist() == [0, 1, 2, 3]
    assert found.labels.boxes_xyxy[1].tolist() == [2, 0, 12, 20]  # half way
    assert found.source == ("teacher", "interpolated", "teacher")
    assert found.labels.scores.tolist() == pytest.approx([0.9, 0.7, 0.7])  # as the less sure of its two neighbours
    assert found.stands_on.tolist() == [0, 1, 1]
    assert found.track.tolist() == [0, 0, 0]
    assert found.counts["filled"] == 1


def test_mend__nothing_is_filled_before_the_first_or_after_the_last_sighting():
    labels = footage(frame(), frame(at(1)), frame(at(2)), frame())
    assert mend(labels, RULES).labels.offsets.tolist() == [0, 0, 1, 2, 2]


def test_mend__a_gap_longer_than_max_gap_s_stays():
    labels = footage(frame(at(0)), frame(), frame(at(2)))
    assert mend(labels, RULES.replace(max_gap_s=1.9)).counts["filled"] == 0


def test_mend__something_parked_is_filled_over_a_long_gap():
    still = (CAR, 0.9, 50, 50, 90, 70)
    labels = footage(frame(still), frame(still), *[frame()] * 4, frame(still))
    assert mend(labels, RULES).counts["filled"] == 4
    assert mend(labels, RULES.replace(parked_gap_s=4.0)).counts["filled"] == 0
    # four looks without it: it has driven off, and another one stands there
    assert mend(labels, RULES.replace(max_misses=3)).counts["filled"] == 0


def spread(*images: object, times_s: list[float]) -> Detections:
    made = footage(*images)
    return dataclasses.replace(
        made, time_s=np.array(times_s), frame_ids=np.array([round(1000 * one) for one in times_s], np.int64)
    )


DOUBT = [(CAR, 0.4, 50, 50, 90, 70)]


@pytest.mark.parametrize(
    ("between", "filled", "confirmed"),
    [
        pytest.param([[], [], DOUBT, [], []], 4, 1, id="two misses, a doubtful box, two more: never three in a row"),
        pytest.param([[], DOUBT, [], [], []], 0, 0, id="three in a row: gone, and what was doubted before stays so"),
        pytest.param([[], [], [], DOUBT], 0, 0, id="the same where it is doubted afterwards"),
        pytest.param([DOUBT, DOUBT, DOUBT], 0, 3, id="no miss at all"),
    ],
)
def test_mend__max_misses_counts_those_in_a_row(between: list[list[tuple[float, ...]]], filled: int, confirmed: int):
    still = (CAR, 0.9, 50, 50, 90, 70)
    labels = footage(*[frame(still)] * 2, *(frame(*boxes) for boxes in between), *[frame(still)] * 2)
    labels.ignore[:] = labels.scores < 0.5
    counts = mend(labels, RULES.replace(max_misses=2)).counts
    assert (counts["filled"], counts["confirmed"]) == (filled, confirmed)


def test_mend__without_a_clear_vote_a_filled_box_is_of_the_surer_neighbours_class():
    first, last = (PERSON, 0.6, 0, 0, 40, 20), (CAR, 0.7, 0, 0, 40, 20)  # 0.7 of 1.3 are 0.54: less than 0.6
    found = mend(footage(frame(first), frame(), frame(last), class_names=("person", "car")), RULES)
    assert found.labels.class_ids.tolist() == [PERSON, CAR, CAR]
    assert found.labels.scores.tolist() == pytest.approx([0.6, 0.6, 0.7])


def test_mend__the_student_carries_a_life_between_labels_far_apart():
    labels = spread(frame(at(0)), frame(), frame(at(8)), times_s=[0.0, 4.0, 8.0])
    student = spread(*[frame(at(s, 0.5, x=0.5)) for s in range(9)], times_s=[float(s) for s in range(9)])
    assert mend(labels, RULES).counts["filled"] == 0  # 8 px in 8 s and nobody looked in between
    found = mend(labels, RULES, student=student)
    assert found.source == ("teacher", "student", "teacher")
    assert found.labels.boxes_xyxy[1].tolist() == [8.5, 0, 18.5, 20]  # where the student saw it
    assert found.labels.frame_ids.tolist() == [0, 4000, 8000]  # frames that the teacher did not label stay out
    assert mend(labels, RULES.replace(student_score=0.6), student=student).counts["filled"] == 0


def test_mend__what_only_the_student_sees_is_no_label():
    student = footage(*[frame(at(s)) for s in range(3)])
    assert len(mend(footage(frame(), frame(), frame()), RULES, student=student).labels.scores) == 0


def test_mend__a_doubtful_box_within_a_life_becomes_a_label_and_one_at_its_end_does_not():
    labels = footage(frame(at(0)), frame(at(1, 0.35)), frame(at(2)), frame(at(3, 0.35)))
    labels.ignore[:] = [False, True, False, True]
    found = mend(labels, RULES)
    assert found.labels.ignore.tolist() == [False, False, False, True]
    assert found.source == ("teacher", "doubtful", "teacher", "teacher")
    assert found.labels.scores[1] == pytest.approx(0.35)  # its own score: soft labels weigh by it


def test_mend__one_class_a_life_by_the_sum_of_scores():
    labels = footage(frame(at(0, 0.9)), frame(at(1, 0.6, CAR)), frame(at(2, 0.8)), class_names=("person", "car"))
    assert mend(labels, RULES).labels.class_ids.tolist() == [PERSON] * 3  # 1.7 of 2.3 are 0.74
    assert mend(labels, RULES.replace(class_share=0.8)).labels.class_ids.tolist() == [PERSON, CAR, PERSON]


def test_mend__of_two_classes_in_one_place_the_better_stays_and_both_vote():
    labels = footage(frame(at(0, 0.55, CAR), at(0, 0.6)), frame(at(1, 0.9, CAR)), class_names=("person", "car"))
    found = mend(labels, RULES)
    assert found.stands_on.tolist() == [1, 2]
    assert found.labels.class_ids.tolist() == [CAR, CAR]  # 1.45 of 2.05 are 0.71
    assert found.counts["duplicates"] == 1


@pytest.mark.parametrize(
    ("rules", "filled", "ignored"),
    [
        pytest.param({"life_score": 0.69, "doubted_from": 3}, 1, [1, 0, 0, 0], id="the mean, 0.7, is believed"),
        pytest.param(
            {"life_score": 0.71, "doubted_from": 3}, 0, [1, 1, 0], id="not believed and long enough, but one is sure"
        ),
        pytest.param({"life_score": 0.71, "doubted_from": 4}, 0, [1, 0, 0], id="too short to be doubted"),
        pytest.param({"life_score": 0.71, "doubted_from": 0}, 0, [1, 0, 0], id="never doubted"),
    ],
)
def test_mend__a_life_is_believed_by_its_mean_score(rules: dict[str, object], filled: int, ignored: list[int]):
    labels = footage(frame(at(0, 0.4)), frame(at(1, 0.75)), frame(), frame(at(3, 0.95)), ignore=[0])
    found = mend(labels, RULES.replace(**rules))
    assert found.counts["filled"] == filled
    assert found.labels.ignore.tolist() == ignored
    assert found.counts["doubted"] == (sum(ignored) - 1)


@pytest.mark.parametrize(
    ("rules", "boxes", "ignored"),
    [
        pytest.param({}, 1, 1, id="an ignore region"),
        pytest.param({"flicker": "drop"}, 0, 0, id="dropped"),
        pytest.param({"flicker": "keep"}, 1, 0, id="kept"),
        pytest.param({"flicker_s": 0.5}, 1, 0, id="no labelled frame is near enough to say so"),
        pytest.param({"sure_score": 0.6}, 1, 0, id="sure enough to be believed once"),
    ],
)
def test_mend__flicker(rules: dict[str, object], boxes: int, ignored: int):
    found = mend(footage(frame(), frame(at(1, 0.6)), frame()), RULES.replace(**rules))
    assert (len(found.labels.scores), int(found.labels.ignore.sum())) == (boxes, ignored)


def test_mend__what_the_student_sees_too_is_no_flicker():
    student = footage(frame(at(0, 0.5)), frame(), frame())
    assert not mend(footage(frame(), frame(at(1, 0.6)), frame()), RULES, student=student).labels.ignore.any()


def test_mend__hidden_behind_another_box_becomes_an_ignore_region():
    van = (CAR, 0.9, 6, 0, 60, 40)  # at second 1 the person stands at 2..12: six of its ten pixels are behind the van
    labels = footage(frame(at(0), van), frame(van), frame(at(2), van), class_names=("person", "car"))
    found = mend(labels, RULES)
    assert found.source == ("teacher", "teacher", "teacher", "guessed", "teacher", "teacher")
    assert found.labels.ignore.tolist() == [False, False, False, True, False, False]
    seen = mend(labels, RULES.replace(hidden_share=0.7))
    assert not seen.labels.ignore.any()
    assert seen.counts["filled"] == 1


def test_mend__what_moved_too_far_to_say_where_becomes_an_ignore_region():
    far = (PERSON, 0.9, 14, 0, 24, 20)  # half way it lies at 7..17: 3 of 17 in common with either
    found = mend(footage(frame(at(0)), frame(), frame(far)), RULES)
    assert found.source == ("teacher", "guessed", "teacher")
    assert found.labels.ignore.tolist() == [False, True, False]
    assert mend(footage(frame(at(0)), frame(), frame(far)), RULES.replace(still_overlap=0.15)).counts["filled"] == 1


def test_mend__no_second_box_where_the_teacher_has_one():
    # the middle box is doubtful and of another class, so dear to link, but it lies where the person would be
    labels = footage(frame(at(0)), frame(at(1.8, 0.4, CAR)), frame(at(2)), class_names=("person", "car"))
    labels.ignore[1] = True
    found = mend(labels, RULES.replace(min_overlap=0.59, still_overlap=0.99))
    assert found.counts["filled"] == 0


def test_mend__two_that_pass_each_other_keep_their_lives():
    left = [(PERSON, 0.9, 4 * s, 0, 4 * s + 10, 20) for s in range(5)]
    right = [(PERSON, 0.9, 40 - 4 * s, 60, 50 - 4 * s, 80) for s in range(5)]
    found = mend(footage(*[frame(a, b) for a, b in zip(left, right, strict=True)]), RULES)
    assert found.track.tolist() == [0, 1] * 5


def test_mend__no_boxes_and_other_classes():
    assert mend(footage(frame(), frame()), RULES).labels.offsets.tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="the student's classes"):
        mend(footage(frame()), RULES, student=footage(frame(), class_names=("cat",)))


def test_mend__who_passes_by_is_not_linked_to_what_stands_and_is_missed():
    stands, walks = (CAR, 0.9, 100, 0, 140, 20), (CAR, 0.9, 130, 0, 170, 20)
    labels = footage(frame(stands), frame(stands), frame(walks), frame(stands))
    found = mend(labels, RULES)
    assert found.track.tolist() == [0, 0, 1, 0, 0]
    assert found.source[3] == "interpolated"  # behind the walker it stands all the same: a quarter of it is covered
