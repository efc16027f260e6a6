"""Pictures and the shapes over them."""

from __future__ import annotations

import base64

import cv2
import numpy as np

from dataset_culling.report.agreement import AGREED, DISPUTED
from dataset_culling.report.gallery import Layer, View
from dataset_culling.report.pictures import encode, fit_steps, shrink


def layer(who: str, boxes: list[list[float]], states: list[int]) -> Layer:
    names = tuple(f"car 0.{row}" for row in range(len(boxes)))
    return Layer(who, np.array(boxes, np.float32).reshape(-1, 4), np.array(states, np.int8), names)


def test_shrink__keeps_the_shape_and_never_enlarges():
    image = np.zeros((90, 160, 3), np.uint8)
    assert shrink(image, 80).shape == (45, 80, 3)
    assert shrink(image, 160) is image
    assert shrink(image, 500) is image


def test_encode__is_webp_with_the_colours_in_place():
    red = np.zeros((40, 60, 3), np.uint8)
    red[..., 0] = 220
    picture = encode(red, quality=90, frame_width_px=60)
    kind, _, data = picture.data_uri.partition(";base64,")
    assert kind == "data:image/webp"
    bgr = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert bgr.shape == (40, 60, 3)
    assert bgr[20, 30, 2] > 200
    assert bgr[20, 30, 0] < 20


def test_overlay__boxes_are_scaled_to_the_picture():
    picture = encode(np.zeros((50, 100, 3), np.uint8), quality=50, frame_width_px=200)
    shapes = picture.overlay(View("", (layer("student", [[20, 10, 60, 30]], [AGREED]),), ""))[0]
    assert shapes.outline == "M10 5h20v10h-20z"
    assert shapes.paths == (("agreed", "M10 5h20v10h-20z"),)


def test_overlay__a_box_that_both_see_is_named_once():
    picture = encode(np.zeros((100, 200, 3), np.uint8), quality=50, frame_width_px=200)
    boxes = [[10, 20, 30, 40], [190, 20, 199, 40]]
    teacher, student = picture.overlay(
        View("", (layer("teacher", boxes, [AGREED, DISPUTED]), layer("student", boxes[:1], [AGREED])), "")
    )
    assert [text.text for text in teacher.texts] == ["car 0.1"]
    assert [text.text for text in student.texts] == ["car 0.0"]
    assert (teacher.texts[0].anchor, teacher.texts[0].x) == ("end", "199")  # or it would leave the picture


def test_fit_steps__grow_lighter_and_end_without_pictures():
    steps = list(fit_steps(480, 12))
    assert steps[0] == (480, 80, 12)
    assert steps[-1][2] == 0
    assert [num for _, _, num in steps] == [12] * 6 + [6, 3, 1, 0]
