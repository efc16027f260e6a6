"""Boxes in pixels."""

from __future__ import annotations

import numpy as np

from builders import frame
from dataset_culling.report.drawing import COLOURS, draw_boxes


def test_draw_boxes__outline_in_the_class_colour_over_a_copy():
    image = np.full((360, 640, 3), 90, np.uint8)
    drawn = draw_boxes(image, frame((1, 0.87, 100, 120, 300, 260)), ("person", "Straßenbahn"))
    assert (image == 90).all()
    assert tuple(drawn[260, 200]) == tuple(drawn[200, 100]) == COLOURS[1]
    assert (drawn[150:250, 120:280] == 90).all()  # nothing inside
    assert tuple(drawn[117, 100]) == COLOURS[1]  # the label stands on the box


def test_draw_boxes__at_the_edges_of_the_picture():
    image = np.zeros((90, 160, 3), np.uint8)
    drawn = draw_boxes(image, frame((0, 1, 0, 0, 160, 90), (0, 0.5, 150, 80, 160, 90)), ("a very long class name",))
    assert drawn.shape == image.shape
    assert drawn.any()
