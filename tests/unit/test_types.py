"""Shapes that every layer shares."""

from __future__ import annotations

import numpy as np
import pytest

from dataset_culling.errors import ConfigError
from dataset_culling.types import ClassMap, Detections, ImageDetections, Selection, parse_classes


def image(*boxes: tuple[float, int]) -> ImageDetections:
    """One image with (score, class id) boxes; each box's x1 is its score, which identifies it."""
    return ImageDetections(
        np.array([[score, 0, score + 10, 10] for score, _ in boxes], np.float32).reshape(-1, 4),
        np.array([score for score, _ in boxes], np.float32),
        np.array([class_id for _, class_id in boxes], np.int64),
    )


@pytest.fixture
def detections() -> Detections:
    return Detections.from_images(
        [image((0.9, 0), (0.3, 1)), image(), image((0.5, 1))],
        frame_ids=np.array([10, 20, 30]),
        time_s=np.array([0.0, 1, 2]),
        class_names=["person", "car"],
    )


def test_detections__an_empty_frame_keeps_its_row_and_shape(detections):
    assert detections.offsets.tolist() == [0, 2, 2, 3]
    assert detections.image(1).boxes_xyxy.shape == (0, 4)
    assert detections.frame_rows().tolist() == [0, 0, 2]


def test_detections__rows_are_joined_by_frame_id_not_by_position(detections):
    assert detections.rows_of(np.array([30, 10])).tolist() == [2, 0]


@pytest.mark.parametrize("missing", [5, 15, 99])
def test_detections__an_unknown_frame_is_refused(detections, missing):
    with pytest.raises(ValueError, match=f"frame {missing} has no row here"):
        detections.rows_of(np.array([10, missing]))


def test_detections__take_keeps_each_frame_with_its_own_boxes(detections):
    taken = detections.take(np.array([0, 2]))
    assert taken.frame_ids.tolist() == [10, 30]
    assert taken.scores.tolist() == pytest.approx([0.9, 0.3, 0.5])
    assert taken.offsets.tolist() == [0, 2, 3]
    assert detections.take(np.zeros(0, np.int64)).offsets.tolist() == [0]


def test_detections__keep_boxes_moves_the_offsets(detections):
    kept = detections.keep_boxes(np.array([False, True, True]))
    assert kept.offsets.tolist() == [0, 1, 1, 2]
    assert kept.class_ids.tolist() == [1, 1]


def test_detections__columns_that_do_not_fit_are_refused(detections):
    with pytest.raises(ValueError, match=r"time_s must have shape \(3,\), got \(2,\)"):
        Detections(
            detections.frame_ids,
            np.zeros(2),
            detections.offsets,
            detections.boxes_xyxy,
            detections.scores,
            detections.class_ids,
            detections.class_names,
            detections.scored,
            detections.ignore,
        )


def test_selection__a_frame_cannot_be_kept_twice():
    with pytest.raises(ValueError, match="a frame is selected twice"):
        Selection(np.array([4, 4]), np.zeros(2), ("a", "b"))


def test_class_map__several_detector_classes_become_one():
    classes = parse_classes(["person", "vehicle=car+truck+bus"])
    assert classes.index_for("student", ["person", "dog", "car", "bus"]).tolist() == [0, -1, 1, 1]


def test_class_map__a_group_has_sources_of_its_own():
    assert parse_classes(["vehicle"]).index_for("teacher", ["vehicle", "person", "bike"]).tolist() == [0, -1, -1]


def test_class_map__apply_drops_what_the_camera_has_no_use_for():
    classes = ClassMap({"vehicle": ("car", "bus")})
    mapped = classes.apply(image((0.9, 2), (0.8, 0)), classes.index_for("student", ["person", "dog", "car"]))
    assert mapped.class_ids.tolist() == [0]
    assert mapped.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param([], "the list is empty", id="none"),
        pytest.param(["person", "person"], "'person' is listed more than once", id="twice"),
        pytest.param(["vehicle", "lorry=truck"], "'truck' is mapped to both 'vehicle' and 'lorry'", id="clash"),
        pytest.param(["=car"], "expected NAME or NAME=THEIRS", id="no name"),
    ],
)
def test_parse_classes__says_what_is_wrong(items, message):
    with pytest.raises(ConfigError, match=message):
        parse_classes(items)


def test_class_map__a_class_that_the_detector_lacks_is_an_error_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"teacher has no 'persn' .* Did you mean 'person'\?"):
        parse_classes(["persn"]).index_for("teacher", ["person", "vehicle"])
