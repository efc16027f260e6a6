"""Drawings of people, vehicles and animals: RGBA at a fixed scale, resized into the picture.

Every sprite is drawn larger and averaged down, so that edges are soft. Its lower edge stands on the ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]
SUPER = 2
PX_PER_M = {"person": 60, "bicycle": 56, "car": 36, "truck": 26, "dog": 90}
"""Resolution of a sprite: about the largest size of the object in a picture."""
PHASES = 8
"""Steps of a gait's cycle."""


@dataclass(frozen=True, slots=True)
class Look:
    """The appearance of one object; `view` is side, front or back; `facing` is +1 to the right."""

    kind: str
    view: str
    facing: int
    variant: int
    size: float  # 1 is usual
    main: Colour
    second: Colour
    skin: Colour


@dataclass(frozen=True, slots=True)
class Sprite:
    """A drawing, (h, w, 4) uint8 RGBA, and its scale."""

    rgba: npt.NDArray[np.uint8]
    m_per_px: float


class _Pen:
    """Draws in metres, x to the right from the middle, y up from the ground."""

    def __init__(self, width_m: float, height_m: float, scale: float) -> None:
        self.scale = scale * SUPER
        self.w, self.h = int(width_m * self.scale) + 2, int(height_m * self.scale) + 2
        self.rgb = np.zeros((self.h, self.w, 3), np.uint8)
        self.alpha = np.zeros((self.h, self.w), np.uint8)

    def at(self, x: float, y: float) -> tuple[int, int]:
        return round(self.w / 2 + x * self.scale), round(self.h - 1 - y * self.scale)

    def poly(self, points: list[tuple[float, float]], colour: Colour) -> None:
        where = np.array([self.at(*point) for point in points], np.int32)
        cv2.fillPoly(self.rgb, [where], colour, cv2.LINE_AA)
        cv2.fillPoly(self.alpha, [where], 255, cv2.LINE_AA)

    def line(self, a: tuple[float, float], b: tuple[float, float], width_m: float, colour: Colour) -> None:
        thick = max(1, round(width_m * self.scale))
        cv2.line(self.rgb, self.at(*a), self.at(*b), colour, thick, cv2.LINE_AA)
        cv2.line(self.alpha, self.at(*a), self.at(*b), 255, thick, cv2.LINE_AA)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour, hollow_m: float = 0.0) -> None:
        axes = (max(1, round(rx * self.scale)), max(1, round(ry * self.scale)))
        thick = max(1, round(hollow_m * self.scale)) if hollow_m else -1
        cv2.ellipse(self.rgb, self.at(x, y), axes, 0, 0, 360, colour, thick, cv2.LINE_AA)
        cv2.ellipse(self.alpha, self.at(x, y), axes, 0, 0, 360, 255, thick, cv2.LINE_AA)

    def done(self, *, mirror: bool) -> Sprite:
        size = (max(1, self.w // SUPER), max(1, self.h // SUPER))
        alpha = self.alpha[..., None].astype(np.float32) / 255
        small = cv2.resize(np.concatenate([self.rgb * alpha, alpha * 255], axis=2), size, interpolation=cv2.INTER_AREA)
        cover = np.maximum(small[..., 3:] / 255, 1e-3)
        rgba = np.concatenate([np.clip(small[..., :3] / cover, 0, 255), small[..., 3:]], axis=2).astype(np.uint8)
        solid = rgba[..., 3] > 100
        rows, cols = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
        rgba = rgba[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return Sprite(np.ascontiguousarray(rgba[:, ::-1] if mirror else rgba), SUPER / self.scale)


def shade(colour: Colour, by: float) -> Colour:
    """Return a lighter (by > 1) or darker colour."""
    red, green, blue = (int(min(255, max(0, value * by))) for value in colour)
    return red, green, blue


@lru_cache(maxsize=768)
def sprite(look: Look, phase: int) -> Sprite:
    """Draw a look at a step of its gait (0..PHASES-1)."""
    return _DRAW[look.kind](look, phase)


def _person(look: Look, phase: int) -> Sprite:
    tall = 1.72 * look.size
    pen = _Pen(1.5, tall * 1.35 + 0.2, PX_PER_M["person"])
    swing = np.sin(2 * np.pi * phase / PHASES)
    side = look.view == "side"
    hip, shoulder, head = 0.50 * tall, 0.82 * tall, 0.92 * tall
    stride = (0.30 if side else 0.06) * swing * tall / 1.7
    width = (0.15 if side else 0.22) * look.size
    far, near = shade(look.second, 0.75), look.second
    offset = 0.0 if side else 0.09
    pen.line((-offset, hip), (-stride - offset, 0.04), 0.14, far)
    pen.line((offset, hip), (stride + offset, 0.04), 0.15, near)
    for x in (-stride - offset, stride + offset):
        pen.disc(x + (0.05 if side else 0), 0.04, 0.11 if side else 0.07, 0.05, (35, 30, 30))
    if look.variant % 5 == 0:  # a long coat
        pen.poly(
            [(-width, shoulder), (width, shoulder), (width * 1.35, hip * 0.55), (-width * 1.35, hip * 0.55)], look.main
        )
    arm = 0.24 * swing * tall / 1.7 if side else 0.0
    pen.line((-width, shoulder - 0.04), (-width - 0.05 + arm, hip), 0.11, shade(look.main, 0.8))
    pen.poly(
        [(-width, shoulder), (width, shoulder), (width * 0.85, hip - 0.04), (-width * 0.85, hip - 0.04)], look.main
    )
    pen.disc(0, shoulder, width, 0.07, look.main)
    pen.line((width, shoulder - 0.04), (width + 0.05 - arm, hip), 0.11, shade(look.main, 0.9))
    if look.variant % 4 == 1:  # a bag
        bag = [(-width - 0.16, shoulder), (-width, shoulder), (-width, hip), (-width - 0.13, hip)]
        pen.poly(bag, shade(look.second, 1.3))
    pen.line((0, shoulder), (0, head), 0.1, look.skin)
    pen.disc(0, head + 0.02, 0.105, 0.13, look.skin)
    hair = ((40, 28, 20), (90, 60, 35), (150, 130, 100), (25, 25, 28), (110, 110, 112))[look.variant % 5]
    if look.view == "back":
        pen.disc(0, head + 0.03, 0.105, 0.13, hair)
    else:
        pen.disc(-0.02 if side else 0, head + 0.09, 0.105, 0.075, hair)
    if look.variant % 11 == 3:  # an umbrella
        pen.line((0.1, hip + 0.2), (0.12, tall * 1.18), 0.03, (60, 60, 60))
        pen.poly([(-0.5, tall * 1.08), (-0.2, tall * 1.24), (0.4, tall * 1.24), (0.7, tall * 1.08)], look.main)
    return pen.done(mirror=look.facing < 0)


def _bicycle(look: Look, phase: int) -> Sprite:
    pen = _Pen(2.0, 2.1, PX_PER_M["bicycle"])
    turn = 2 * np.pi * phase / PHASES
    frame, dark = look.second, (30, 30, 32)
    if look.view == "side":
        for x in (-0.52, 0.52):
            pen.disc(x, 0.33, 0.31, 0.31, dark, hollow_m=0.05)
            dx, dy = 0.3 * np.cos(turn), 0.3 * np.sin(turn)
            pen.line((x - dx, 0.33 - dy), (x + dx, 0.33 + dy), 0.015, (120, 120, 120))
        pen.line((-0.52, 0.33), (-0.1, 0.85), 0.05, frame)
        pen.line((-0.1, 0.85), (0.42, 0.85), 0.05, frame)
        pen.line((0.52, 0.33), (0.4, 1.02), 0.05, frame)
        pen.line((0, 0.33), (0.42, 0.85), 0.05, frame)
        knee = (0.18, 0.68 + 0.08 * np.sin(turn))
        foot = (0.02 + 0.14 * np.cos(turn), 0.30 + 0.14 * np.sin(turn))
        pen.line((-0.12, 0.98), knee, 0.15, shade(look.second, 0.7))
        pen.line(knee, foot, 0.12, shade(look.second, 0.7))
        pen.poly([(-0.26, 0.95), (0.0, 0.92), (0.26, 1.45), (0.02, 1.52)], look.main)
        pen.line((0.16, 1.42), (0.42, 1.06), 0.09, shade(look.main, 0.85))
        pen.disc(0.2, 1.64, 0.11, 0.13, look.skin)
        pen.disc(0.18, 1.70, 0.12, 0.09, dark if look.variant % 2 else look.second)
    else:
        pen.line((0, 0.05), (0, 0.66), 0.07, dark)
        pen.line((-0.28, 1.02), (0.28, 1.02), 0.05, frame)
        for x in (-0.11, 0.11):
            pen.line((x, 0.95), (x * 1.3, 0.35 + 0.1 * np.sin(turn) * np.sign(x)), 0.13, shade(look.second, 0.7))
        pen.poly([(-0.2, 0.92), (0.2, 0.92), (0.22, 1.45), (-0.22, 1.45)], look.main)
        for x in (-1, 1):
            pen.line((0.22 * x, 1.4), (0.27 * x, 1.04), 0.09, shade(look.main, 0.85))
        pen.disc(0, 1.6, 0.1, 0.12, look.skin if look.view == "front" else shade(look.skin, 0.5))
        pen.disc(0, 1.67, 0.11, 0.08, dark if look.variant % 2 else look.second)
    return pen.done(mirror=look.facing < 0)


def _wheel(pen: _Pen, x: float, radius: float) -> None:
    pen.disc(x, radius, radius, radius, (28, 28, 30))
    pen.disc(x, radius, radius * 0.55, radius * 0.55, (130, 132, 136))


def _car(look: Look, phase: int) -> Sprite:
    del phase
    glass, body = (62, 74, 88), look.main
    if look.view == "side":
        pen = _Pen(4.9, 2.3, PX_PER_M["car"])
        shape = look.variant % 4
        roof = ((-1.1, 0.75), (-1.75, 0.95), (-2.05, 1.15), (-1.9, 0.9))[shape]
        top = (1.45, 1.5, 1.95, 1.72)[shape]
        pen.poly(
            [(-2.15, 0.32), (-2.2, 0.85), (-1.9, 0.98), (1.2, 0.98), (2.05, 0.82), (2.18, 0.5), (2.15, 0.32)], body
        )
        pen.poly([(roof[0] - 0.35, 0.96), (roof[0], top), (roof[1] - 0.3, top), (roof[1] + 0.5, 0.96)], body)
        pillar, high = (roof[0] + roof[1]) / 2, top - 0.1
        pen.poly([(roof[0] - 0.12, 1.0), (roof[0] + 0.1, high), (pillar - 0.08, high), (pillar - 0.04, 1.0)], glass)
        pen.poly([(pillar + 0.06, 1.0), (pillar + 0.03, high), (roof[1] - 0.34, high), (roof[1] + 0.28, 1.0)], glass)
        pen.line((-2.1, 0.62), (2.1, 0.62), 0.05, shade(body, 0.7))
        pen.line((-1.9, 0.93), (1.9, 0.88), 0.06, shade(body, 1.3))
        pen.poly([(-2.15, 0.3), (2.12, 0.3), (2.05, 0.42), (-2.1, 0.42)], shade(body, 0.45))
        pen.disc(2.08, 0.68, 0.1, 0.09, (235, 232, 205))
        pen.disc(-2.12, 0.75, 0.08, 0.1, (170, 30, 26))
        _wheel(pen, -1.35, 0.34)
        _wheel(pen, 1.3, 0.34)
    else:
        pen = _Pen(2.1, 1.8, PX_PER_M["car"])
        front = look.view == "front"
        pen.poly([(-0.86, 0.3), (-0.9, 0.8), (-0.8, 0.95), (0.8, 0.95), (0.9, 0.8), (0.86, 0.3)], body)
        pen.poly([(-0.8, 0.93), (-0.62, 1.48), (0.62, 1.48), (0.8, 0.93)], body)
        pen.poly([(-0.7, 0.97), (-0.56, 1.4), (0.56, 1.4), (0.7, 0.97)], glass)
        pen.line((-0.6, 1.47), (0.6, 1.47), 0.06, shade(body, 1.25))
        pen.poly([(-0.5, 0.42), (-0.5, 0.6), (0.5, 0.6), (0.5, 0.42)], shade(body, 0.35))
        for x in (-0.68, 0.68):
            pen.disc(x, 0.72, 0.15, 0.09, (240, 238, 215) if front else (175, 28, 25))
            pen.poly([(x - 0.13, 0.0), (x - 0.13, 0.32), (x + 0.13, 0.32), (x + 0.13, 0.0)], (26, 26, 28))
        pen.poly([(-0.86, 0.28), (-0.86, 0.4), (0.86, 0.4), (0.86, 0.28)], shade(body, 0.5))
    return pen.done(mirror=look.facing < 0)


def _truck(look: Look, phase: int) -> Sprite:
    del phase
    cab, box, glass = look.main, look.second, (58, 68, 80)
    if look.view == "side":
        pen = _Pen(8.6, 3.9, PX_PER_M["truck"])
        pen.poly([(-4.0, 0.85), (-4.0, 3.4), (1.9, 3.4), (1.9, 0.85)], box)
        for x in np.arange(-3.6, 1.8, 0.9):
            pen.line((x, 0.95), (x, 3.3), 0.04, shade(box, 0.88))
        if look.variant % 3 == 0:
            pen.poly([(-3.2, 1.7), (-3.2, 2.5), (1.0, 2.5), (1.0, 1.7)], shade(cab, 1.1))
        pen.poly([(2.05, 0.55), (2.05, 2.75), (3.1, 2.75), (3.75, 1.75), (3.85, 0.55)], cab)
        pen.poly([(2.7, 1.75), (2.7, 2.55), (3.05, 2.55), (3.55, 1.75)], glass)
        pen.poly([(-4.0, 0.6), (-4.0, 0.9), (3.8, 0.9), (3.8, 0.6)], (48, 48, 50))
        pen.disc(3.78, 0.95, 0.1, 0.14, (240, 236, 210))
        for x in (-3.1, -2.1, 2.9):
            _wheel(pen, x, 0.5)
    else:
        pen = _Pen(2.9, 3.8, PX_PER_M["truck"])
        pen.poly([(-1.2, 0.7), (-1.2, 3.4), (1.2, 3.4), (1.2, 0.7)], box)
        if look.view == "front":
            pen.poly([(-1.12, 0.5), (-1.12, 2.7), (1.12, 2.7), (1.12, 0.5)], cab)
            pen.poly([(-0.95, 1.6), (-0.95, 2.5), (0.95, 2.5), (0.95, 1.6)], glass)
        else:
            pen.line((0, 0.8), (0, 3.3), 0.05, shade(box, 0.7))
        for x in (-0.9, 0.9):
            pen.disc(x, 0.8, 0.16, 0.12, (240, 238, 215) if look.view == "front" else (175, 28, 25))
            pen.poly([(x - 0.2, 0.0), (x - 0.2, 0.6), (x + 0.2, 0.6), (x + 0.2, 0.0)], (26, 26, 28))
        pen.poly([(-1.15, 0.45), (-1.15, 0.65), (1.15, 0.65), (1.15, 0.45)], (50, 50, 52))
    return pen.done(mirror=look.facing < 0)


def _dog(look: Look, phase: int) -> Sprite:
    pen = _Pen(1.5, 1.0, PX_PER_M["dog"])
    swing = 0.1 * np.sin(2 * np.pi * phase / PHASES)
    coat, dark = look.main, shade(look.main, 0.7)
    for x, sign in ((-0.3, 1), (-0.24, -1), (0.26, -1), (0.32, 1)):
        pen.line((x, 0.32), (x + swing * sign, 0.02), 0.07, dark if sign < 0 else coat)
    pen.disc(0, 0.42, 0.4, 0.13, coat)
    pen.line((-0.36, 0.46), (-0.55, 0.66 + swing * 0.5), 0.05, coat)
    pen.line((0.3, 0.46), (0.44, 0.62), 0.13, coat)
    pen.disc(0.48, 0.66, 0.13, 0.1, coat)
    pen.disc(0.6, 0.62, 0.08, 0.055, dark)
    pen.poly([(0.4, 0.72), (0.44, 0.84), (0.5, 0.72)], dark)
    return pen.done(mirror=look.facing < 0)


_DRAW = {"person": _person, "bicycle": _bicycle, "car": _car, "truck": _truck, "dog": _dog}
