"""Frames as small WebP pictures, with boxes as vector shapes over them.

Shapes stay sharp when a picture is enlarged, can be hidden one detector at a time, and add no bytes to the picture.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from dataset_culling.report.agreement import AGREED
from dataset_culling.report.gallery import Layer, View
from dataset_culling.types import ImageArray

STATE_NAMES = ("agreed", "disputed", "undecided", "alone")
"""CSS class of a box by its state (`agreement.AGREED` ... `gallery.UNCOMPARED`)."""


@dataclass(frozen=True, slots=True)
class Text:
    """Class and score of a box, with its place in the picture."""

    x: str
    y: str
    anchor: str  # "start", or "end" near the right edge
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class Shapes:
    """Boxes of one detector as SVG path data, by state, and their names."""

    who: str
    outline: str
    paths: tuple[tuple[str, str], ...]  # (state, path data)
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded frame."""

    width_px: int
    height_px: int
    data_uri: str
    frame_width_px: int  # width of the original frame

    def overlay(self, view: View) -> tuple[Shapes, ...]:
        """Return the view's boxes in this picture's pixels, by layer."""
        return tuple(self._shapes(layer) for layer in view.layers)

    def _shapes(self, layer: Layer) -> Shapes:
        boxes = np.round(layer.boxes_xyxy.astype(np.float64) * (self.width_px / self.frame_width_px), 1).tolist()
        paths = [""] * len(STATE_NAMES)
        texts = []
        for (x1, y1, x2, y2), state, name in zip(boxes, layer.states, layer.names, strict=True):
            width = _number(x2 - x1)
            paths[state] += f"M{_number(x1)} {_number(y1)}h{width}v{_number(y2 - y1)}h-{width}z"
            if layer.who == "teacher" and state == AGREED:
                continue  # the student's box at the same place has the name
            at_end = x1 > 0.8 * self.width_px
            # The teacher's names go under their boxes, so that they do not cover the student's.
            y = min(y2 + 8, self.height_px - 2) if layer.who == "teacher" else max(y1 - 2, 7)
            anchor = "end" if at_end else "start"
            texts.append(Text(_number(x2 if at_end else x1), _number(y), anchor, STATE_NAMES[state], name))
        by_state = tuple((name, path) for name, path in zip(STATE_NAMES, paths, strict=True) if path)
        return Shapes(layer.who, "".join(paths), by_state, tuple(texts))


def shrink(image: ImageArray, width_px: int) -> ImageArray:
    """Shrink an image, shape (H, W, 3), to `width_px`; a narrower one is returned as it is."""
    height, width = image.shape[:2]
    if width <= width_px:
        return image
    size = (width_px, max(1, round(height * width_px / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode(image: ImageArray, *, quality: int, frame_width_px: int) -> Picture:
    """Encode an RGB image as WebP.

    Args:
        image: RGB, shape (H, W, 3).
        quality: 1 to 100.
        frame_width_px: Width of the frame from which the image was shrunk, for the scale of the boxes.
    """
    done, data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as WebP")
    uri = "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
    return Picture(image.shape[1], image.shape[0], uri, frame_width_px)


def fit_steps(width_px: int, num_pictures: int) -> Iterator[tuple[int, int, int]]:
    """Yield ever smaller settings for a page's pictures: (width_px, quality, pictures in each gallery).

    Quality goes first, because its loss is hardly visible, then size, then the number of pictures down to 0.
    """
    if num_pictures < 1:
        yield width_px, 80, 0
        return
    for share, quality in ((1.0, 80), (1.0, 68), (1.0, 55), (0.8, 60), (0.8, 45), (0.65, 45)):
        yield round(width_px * share), quality, num_pictures
    num = num_pictures
    while num:
        num //= 2
        yield round(width_px * 0.65), 45, num


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
