"""COCO's figures, worked by hand. That both backends agree is shown in tests/reference."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from builders import footage, frame, scored
from dataset_culling.evaluation.by_time import evaluate_by_hour
from dataset_culling.evaluation.coco import evaluate

BACKENDS = ["numpy", "pycocotools"]
SMALL, MEDIUM, LARGE = (0, 0.9, 0, 0, 20, 20), (0, 0.8, 100, 0, 150, 50), (0, 0.7, 200, 0, 400, 200)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_evaluate__the_truth_itself_is_perfect(backend):
    truth = footage(frame(SMALL, MEDIUM), frame(LARGE, (1, 0.9, 0, 0, 20, 20)))
    result = evaluate(truth, truth, backend=backend)
    assert (result.map_50, result.map_50_95, result.map_75) == pytest.approx((1, 1, 1))
    assert (result.map_small, result.map_medium, result.map_large) == pytest.approx((1, 1, 1))
    assert result.ap_50_by_class == {"person": pytest.approx(1), "car": pytest.approx(1)}
    assert (result.num_frames, result.num_truth_boxes) == (2, 4)


def test_evaluate__one_of_two_found_with_a_loose_box(backend):
    truth = footage(frame(MEDIUM, SMALL))
    found = footage(frame((0, 0.9, 100, 0, 150, 35)))  # IoU 0.7 with the medium one: right up to the threshold 0.7
    result = evaluate(found, truth, backend=backend)
    assert result.map_50 == pytest.approx(51 / 101)
    assert result.map_50_95 == pytest.approx(0.5 * 51 / 101)  # 0.5, 0.55 ... 0.7: five of ten
    assert result.map_75 == 0
    assert (result.map_small, result.map_large) == (0, -1)
    assert result.map_medium == pytest.approx(0.5)


def test_evaluate__classes_without_truth_take_no_part(backend):
    result = evaluate(footage(frame((1, 0.9, 0, 0, 9, 9))), footage(frame(SMALL)), backend=backend)
    assert result.map_50 == 0
    assert result.ap_50_by_class == {"person": 0, "car": -1}


def test_evaluate__nothing_to_find_is_minus_one_and_says_so(backend):
    result = evaluate(scored([0.9], [0.6, 0.4], []), footage(frame(), frame(), frame()), backend=backend)
    assert (result.map_50, result.map_50_95, result.map_small) == (-1, -1, -1)
    assert (result.num_truth_boxes, result.num_empty_frames) == (0, 3)
    assert result.false_positives_per_empty_frame == pytest.approx(2 / 3)


def test_evaluate__no_frames(backend):
    result = evaluate(footage(), footage(), backend=backend)
    assert (result.map_50, result.num_frames, result.false_positives_per_empty_frame) == (-1, 0, -1)


def test_evaluate__detections_in_ignore_regions_do_not_count(backend):
    truth = footage(frame(SMALL, LARGE), ignore=[1])
    found = footage(frame(SMALL, (0, 0.99, 250, 50, 300, 100), (0, 0.98, 300, 50, 350, 100)))
    assert evaluate(found, truth, backend=backend).map_50 == pytest.approx(1)
    assert evaluate(found, footage(frame(SMALL)), backend=backend).map_50 == pytest.approx(1 / 3)


def test_evaluate__false_positives_on_empty_frames_by_score():
    truth = footage(frame(SMALL), frame(), frame((0, 0.9, 0, 0, 9, 9)), ignore=[1])
    found = scored([0.9, 0.9], [0.7, 0.5, 0.2], [0.9])
    assert evaluate(found, truth).false_positives_per_empty_frame == 2
    assert evaluate(found, truth, false_positive_score=0.6).false_positives_per_empty_frame == 1
    assert evaluate(found, truth).num_empty_frames == 1  # a frame with a doubtful box is not empty


def test_evaluate__prints_nothing(backend, capsys):
    evaluate(footage(frame(SMALL)), footage(frame(SMALL)), backend=backend)
    assert capsys.readouterr() == ("", "")


def test_evaluate__refuses_what_does_not_belong_together(backend):
    two = scored([0.5], [0.5])
    with pytest.raises(ValueError, match=r"same frames, got 2 and 1; frame 1 is only in one"):
        evaluate(two, scored([0.5]), backend=backend)
    with pytest.raises(ValueError, match="same classes"):
        evaluate(two, dataclasses.replace(two, class_names=("a", "b")), backend=backend)
    with pytest.raises(ValueError, match="frame 1 was not scored"):
        evaluate(dataclasses.replace(two, scored=np.array([True, False])), two, backend=backend)


def test_evaluate_by_hour__every_hour_has_its_own_figures():
    truth = footage(*[frame(SMALL)] * 3, time_s=[0.0, 100.0, 3600.0])
    found = footage(frame(SMALL), frame(), frame(), time_s=[0.0, 100.0, 3600.0])
    by_hour = evaluate_by_hour(found, truth, start_hour=23)
    assert {hour: result.num_frames for hour, result in by_hour.items()} == {0: 1, 23: 2}
    assert by_hour[23].map_50 == pytest.approx(51 / 101)
    assert by_hour[0].map_50 == 0
