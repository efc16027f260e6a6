"""Frames as small WebP pictures, and boxes as vector shapes over them.

Boxes are not painted into the pixels: as shapes they stay sharp when a picture is enlarged, can be switched off one
detector at a time, and do not cost the picture bytes.
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
class Picture:
    """One encoded frame."""

    width_px: int
    height_px: int
    data_uri: str
    frame_width_px: int  # of the frame it was made from

    def overlay(self, view: View) -> Overlay:
        """The view's boxes in this picture's pixels."""
        scale = self.width_px / self.frame_width_px
        return Overlay(tuple(_shapes(layer, scale, self.width_px, self.height_px) for layer in view.layers))


@dataclass(frozen=True, slots=True)
class Text:
    """A box's class and score, where to write it."""

    x: str
    y: str
    anchor: str  # "start", or "end" near the right edge
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class Shapes:
    """One detector's boxes as SVG path data, by state, and their names."""

    who: str
    outline: str
    paths: tuple[tuple[str, str], ...]  # (state, path data)
    texts: tuple[Text, ...]


@dataclass(frozen=True, slots=True)
class Overlay:
    """All that is drawn over a picture."""

    layers: tuple[Shapes, ...]


def shrink(image: ImageArray, width_px: int) -> ImageArray:
    """The image at `width_px` wide, or as it is where it is no wider; shape (H, W, 3)."""
    height, width = image.shape[:2]
    if width <= width_px:
        return image
    size = (width_px, max(1, round(height * width_px / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode(image: ImageArray, *, quality: int, frame_width_px: int) -> Picture:
    """An RGB image, shape (H, W, 3), as a WebP picture.

    Args:
        image: What is shown.
        quality: 1 to 100.
        frame_width_px: Width of the frame that it was shrunk from, for the boxes' scale.
    """
    done, data = cv2.imencode(".webp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_WEBP_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode an image of shape {image.shape} as WebP")
    uri = "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode()
    return Picture(image.shape[1], image.shape[0], uri, frame_width_px)


def fit_steps(width_px: int, num_pictures: int) -> Iterator[tuple[int, int, int]]:
    """Ever lighter ways to show the pictures, as (width_px, quality, pictures in each gallery).

    First quality goes, which is hardly seen, then size, then pictures, and at last all of them.
    """
    if num_pictures < 1:
        yield width_px, 80, 0
        return
    for share, quality in ((1.0, 80), (1.0, 68), (1.0, 55), (0.8, 60), (0.8, 45), (0.65, 45)):
        yield round(width_px * share), quality, num_pictures
    num = num_pictures // 2
    while num:
        yield round(width_px * 0.65), 45, num
        num //= 2
    yield round(width_px * 0.65), 45, 0


def _shapes(layer: Layer, scale: float, width_px: int, height_px: int) -> Shapes:
    boxes = np.round(layer.boxes_xyxy.astype(np.float64) * scale, 1)
    drawn = [_rectangle(*(float(value) for value in box)) for box in boxes]
    texts = []
    for box, state, name in zip(boxes, layer.states, layer.names, strict=True):
        if layer.who == "teacher" and state == AGREED:
            continue  # the student's own name stands there already
        x1, y1, x2, y2 = (float(value) for value in box)
        end = x1 > 0.8 * width_px
        # The teacher's names go under their boxes, so that they do not cover the student's.
        y = min(y2 + 8, height_px - 2) if layer.who == "teacher" else max(y1 - 2, 7)
        texts.append(Text(_number(x2 if end else x1), _number(y), "end" if end else "start", STATE_NAMES[state], name))
    paths = []
    for state, name in enumerate(STATE_NAMES):
        if path := "".join(one for one, own in zip(drawn, layer.states, strict=True) if own == state):
            paths.append((name, path))
    return Shapes(layer.who, "".join(drawn), tuple(paths), tuple(texts))


def _rectangle(x1: float, y1: float, x2: float, y2: float) -> str:
    width, height = _number(x2 - x1), _number(y2 - y1)
    return f"M{_number(x1)} {_number(y1)}h{width}v{height}h-{width}z"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
