"""Student against teacher on one frame, worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dataset_culling.report.agreement import AGREED, DISPUTED, UNDECIDED, agree
from dataset_culling.types import Detections, ImageDetections

LEFT, RIGHT, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [90, 90, 99, 99]


def frames(*images: list[tuple[list[int], float, int]]) -> Detections:
    """Frames 10, 20 ... with (box, score, class) triples, classes car and dog."""
    return Detections.from_images(
        [
            ImageDetections(
                np.array([box for box, _, _ in image], np.float32).reshape(-1, 4),
                np.array([score for _, score, _ in image], np.float32),
                np.array([label for _, _, label in image], np.int64),
            )
            for image in images
        ],
        frame_ids=np.arange(1, len(images) + 1) * 10,
        time_s=np.arange(len(images), dtype=np.float64),
        class_names=("car", "dog"),
    )


def test_agree__counts_found_missed_and_false_by_frame():
    student = frames([(LEFT, 0.9, 0), (FAR, 0.8, 0)], [], [(LEFT, 0.9, 1)])
    teacher = frames([(LEFT, 1.0, 0), (RIGHT, 1.0, 0)], [], [(LEFT, 1.0, 0)])
    found = agree(student, teacher, min_score=0.3)
    assert found.found.tolist() == [1, 0, 0]
    assert found.missed.tolist() == [1, 0, 1]  # in the third frame the class differs
    assert found.false.tolist() == [1, 0, 1]


def test_agree__a_teacher_box_is_taken_once_by_the_surer():
    found = agree(frames([(LEFT, 0.5, 0), (LEFT, 0.9, 0)]), frames([(LEFT, 1.0, 0)]), min_score=0.3)
    assert found.student.scores.tolist() == pytest.approx([0.9, 0.5])
    assert found.student_state.tolist() == [AGREED, DISPUTED]


def test_agree__unsure_student_boxes_take_no_part():
    found = agree(frames([(LEFT, 0.29, 0)]), frames([(LEFT, 1.0, 0)]), min_score=0.3)
    assert (found.found[0], found.missed[0], found.false[0]) == (0, 1, 0)


def test_agree__a_doubtful_teacher_box_is_neither_found_nor_missed():
    teacher = dataclasses.replace(frames([(LEFT, 0.3, 0)]), ignore=np.array([True]))
    found = agree(frames([(LEFT, 0.9, 0)]), teacher, min_score=0.3)
    assert (found.found[0], found.missed[0], found.false[0]) == (0, 0, 0)
    assert found.student_state.tolist() == [UNDECIDED]
    assert found.teacher_state.tolist() == [UNDECIDED]


def test_agree__joins_by_frame_id():
    student = frames([(FAR, 0.9, 0)], [(LEFT, 0.9, 0)])
    teacher = frames([(FAR, 1.0, 0)], [(LEFT, 1.0, 0)]).take(np.array([1]))
    assert agree(student, teacher, min_score=0.3).found.tolist() == [1]


def test_agree__refuses_other_classes():
    other = dataclasses.replace(frames([]), class_names=("dog", "car"))
    with pytest.raises(ValueError, match="classes differ"):
        agree(frames([]), other, min_score=0.3)
