"""Boxes drawn into the pixels of an image, for videos; the page draws shapes instead (`report.pictures`)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dataset_culling.types import ImageArray, ImageDetections

COLOURS = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178),
)  # fmt: skip
"""RGB by class id, repeated. Palette of Okabe and Ito, distinguishable with colour blindness."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_PX = 22.0  # height of a line at scale 1


def draw_boxes(image: ImageArray, found: ImageDetections, class_names: Sequence[str]) -> ImageArray:
    """Copy an image and draw boxes with class and score.

    Args:
        image: RGB, shape (H, W, 3).
        found: Boxes in px of the image.
        class_names: Names of the class ids; other characters than ASCII are drawn as '?', as OpenCV's font has none.
    """
    drawn = np.ascontiguousarray(image).copy()
    height, width = drawn.shape[:2]
    line = max(1, round(height / 360))
    scale = max(0.35, height / 1200)
    text_px = round(_FONT_PX * scale) + 2
    for box, score, class_id in reversed(list(zip(found.boxes_xyxy, found.scores, found.class_ids, strict=True))):
        x1, y1, x2, y2 = (int(value) for value in np.rint(box))
        colour = COLOURS[int(class_id) % len(COLOURS)]
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, line)
        label = f"{class_names[int(class_id)]} {float(score):.2f}".encode("ascii", "replace").decode()
        (wide, _), below = cv2.getTextSize(label, _FONT, scale, line)
        top = y1 - text_px if y1 >= text_px else min(y2, height - text_px)  # above the box, or below if it is cut off
        left = max(0, min(x1, width - wide - 2))
        cv2.rectangle(drawn, (left, top), (left + wide + 2, top + text_px), colour, cv2.FILLED)
        cv2.putText(
            drawn, label, (left + 1, top + text_px - below // 2 - 1), _FONT, scale, (0, 0, 0), line, cv2.LINE_AA
        )
    return drawn
