"""The simulated camera: a frame is a pure function of (scene, time).

H, W = the picture's size, K = objects in it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from dataset_culling.simulation.config import SceneConfig
from dataset_culling.simulation.scenery import FloatImage, Ground, Occluder, paint
from dataset_culling.simulation.sprites import sprite
from dataset_culling.simulation.traffic import Actor, actors, hour_at
from dataset_culling.types import BoolArray, Float32Array, ImageArray, IntArray

MIN_VISIBLE = 0.25
"""Objects with a smaller visible share are marked as ignored."""
MIN_SIDE_PX = 6.0
"""Smaller objects are marked as ignored."""
LIGHT_STEPS = 96
"""Levels of daylight with a background of their own."""


@dataclass(frozen=True, slots=True)
class SimulatedFrame:
    """A picture and its true boxes; these are clipped to the picture but not to occluders."""

    image: ImageArray  # (H, W, 3) uint8 RGB
    boxes_xyxy: Float32Array  # (K, 4) px
    class_ids: IntArray  # (K,) index into CLASS_NAMES
    track_ids: IntArray  # (K,) constant for an object
    visible_fraction: Float32Array  # (K,) share that is neither hidden nor outside the picture
    ignore: BoolArray  # (K,) too small or too hidden to be required
    time_s: float
    hour: float


def daylight_at(hour: float) -> float:
    """Return the daylight: 0 at night, 1 by day, with an hour and a half of dusk and dawn."""
    height = np.sin((hour - 6.0) / 12.0 * np.pi)
    return float(np.clip((height + 0.12) / 0.45, 0, 1))


class SimulatedCamera:
    """Renders a scene. Caches a few backgrounds and no other state."""

    def __init__(self, scene: SceneConfig) -> None:
        self.scene = scene
        self._ground = Ground.of(scene)
        self._scenery = paint(scene)
        self._backgrounds: OrderedDict[tuple[int, int], ImageArray] = OrderedDict()
        rng = np.random.default_rng([scene.seed, 503])
        unit = rng.normal(0, 1, (4, scene.height_px + 32, scene.width_px + 32))
        soft = np.stack([cv2.GaussianBlur(field, (0, 0), 0.6) for field in unit])
        self._noise = (soft / soft.std() * 16).astype(np.int8)  # sixteenths of a standard deviation
        self._pools = self._lamp_light()

    def frame(self, time_s: float) -> SimulatedFrame:
        """Render the picture at any time, in seconds since the start of the footage."""
        scene, ground = self.scene, self._ground
        hour = hour_at(scene, time_s)
        indoors = scene.scene != "street"
        light = max(daylight_at(hour), 0.75 if indoors else 0.0)
        cloud = 1 + 0.06 * np.sin(time_s / 37 + scene.seed) + 0.04 * np.sin(time_s / 11.3)
        rain = 0.0 if indoors else self._rain(time_s)
        picture = self._background(light, float(cloud), rain).copy()
        owner = np.zeros(picture.shape[:2], np.int16)
        here = sorted(actors(scene, time_s), key=lambda actor: -actor.z_m)
        things: list[Actor | Occluder] = sorted([*here, *self._scenery.occluders], key=lambda one: -one.z_m)
        boxes: list[list[int]] = []
        areas: list[int] = []
        kept: list[Actor] = []
        day = self._tint(light, float(cloud))
        for thing in things:
            if isinstance(thing, Occluder):
                self._paste(picture, owner, thing.rgba, thing.x_px, thing.y_px, day * (0.85 if light > 0.4 else 1), -1)
                continue
            drawn = sprite(thing.look, thing.phase)
            scale = ground.scale(thing.z_m) * drawn.m_per_px
            h, w = drawn.rgba.shape[:2]
            width, height = max(1, round(w * scale)), max(1, round(h * scale))
            foot_x, foot_y = ground.at(thing.x_m, thing.z_m)
            x0, y0 = round(foot_x - width / 2), round(foot_y) - height
            if x0 >= scene.width_px or x0 + width <= 0 or y0 >= scene.height_px or y0 + height <= 0 or height < 3:
                continue
            interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            patch = cv2.resize(drawn.rgba, (width, height), interpolation=interpolation)
            self._shadow(picture, foot_x, foot_y, width, light, rain)
            number = len(kept) + 1
            tint = day if thing.lit or light > 0.3 else day * 0.95
            self._paste(picture, owner, patch, x0, y0, tint * (1 - scene.haze * min(1.0, thing.z_m / 90)), number)
            if thing.lit and light < 0.45:
                self._headlights(picture, thing, x0, y0, width, height, 1 - light / 0.45)
            boxes.append([max(x0, 0), max(y0, 0), min(x0 + width, scene.width_px), min(y0 + height, scene.height_px)])
            areas.append(int((patch[..., 3] > 127).sum()))
            kept.append(thing)
        picture = self._lens(picture, time_s, light, rain)
        seen = np.bincount(np.maximum(owner, 0).ravel(), minlength=len(kept) + 1)[1 : len(kept) + 1]
        visible = (seen / np.maximum(areas, 1)).astype(np.float32) if kept else np.zeros(0, np.float32)
        boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
        there = visible > 0.02
        small = (sides.min(1) < MIN_SIDE_PX / 2) | (sides.max(1) < MIN_SIDE_PX * 1.6) if kept else np.zeros(0, np.bool_)
        return SimulatedFrame(
            image=picture,
            boxes_xyxy=boxes_xyxy[there],
            class_ids=np.array([actor.class_id for actor in kept], np.int64)[there],
            track_ids=np.array([actor.track_id for actor in kept], np.int64)[there],
            visible_fraction=visible[there],
            ignore=((visible < MIN_VISIBLE) | small)[there],
            time_s=time_s,
            hour=hour,
        )

    def _tint(self, light: float, cloud: float) -> FloatImage:
        """Return the factor of daylight on colours, (3,)."""
        if self.scene.scene != "street":
            return np.array([1.0, 0.98, 0.95], np.float32) * np.float32(cloud * 0.97)
        dusk = np.exp(-(((light - 0.35) / 0.25) ** 2))
        night = np.array([0.30, 0.32, 0.40]) * (1 - light)
        day = np.array([1.0, 0.99, 0.97]) * light * cloud
        tint: FloatImage = (night + day * (1 - 0.25 * dusk * np.array([0.0, 0.35, 0.8]))).astype(np.float32)
        return tint

    def _lamp_light(self) -> FloatImage:
        """Return the light of street lamps on the ground, (H, W, 3)."""
        height, width = self.scene.height_px, self.scene.width_px
        pools = np.zeros((height, width, 3), np.float32)
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        for x, y, radius in self._scenery.lamps:
            below = y + radius * 1.05
            pool = np.exp(-(((columns - x) / (radius * 0.75)) ** 2) - ((rows - below) / (radius * 0.32)) ** 2)
            halo = np.exp(-(((columns - x) ** 2 + (rows - y) ** 2) / (radius * 0.11) ** 2))
            pools += (0.75 * pool + 0.9 * halo)[..., None] * np.array([1.0, 0.82, 0.52], np.float32)
        return np.minimum(pools, 1.2)

    def _background(self, light: float, cloud: float, rain: float) -> ImageArray:
        key = (round(light * cloud * LIGHT_STEPS), round(rain * 4))
        if key not in self._backgrounds:
            scenery = self._scenery
            light_now = key[0] / LIGHT_STEPS
            wet = key[1] / 4
            picture = scenery.albedo * self._tint(min(light_now, 1.0), max(1.0, light_now))
            if self.scene.scene == "street":
                picture[scenery.sky] *= 0.55 + 0.45 * min(light_now, 1.0)
                night = 1 - min(light_now, 1.0)
                picture += scenery.albedo * self._pools * night * 0.95 + scenery.glow * night * 0.9
                picture += np.maximum(self._pools - 0.7, 0) * night
                if wet:
                    start = round(self._ground.horizon_px) + self.scene.height_px // 8
                    ground = picture[start:]
                    mirror = cv2.GaussianBlur(picture[:start][::-1], (0, 0), 5)
                    mirror = cv2.resize(mirror, (ground.shape[1], ground.shape[0]))
                    picture[start:] = ground * (1 - 0.25 * wet) + mirror * 0.22 * wet
            else:
                picture += scenery.glow * 0.3
            if self.scene.haze:
                rows = np.arange(self.scene.height_px, dtype=np.float32)
                far = np.clip(1 - (rows - self._ground.horizon_px) / (self.scene.height_px * 0.5), 0, 1)
                far[rows < self._ground.horizon_px] = 1
                veil = (self.scene.haze * 0.8 * far)[:, None, None]
                picture = picture * (1 - veil) + veil * (0.25 + 0.6 * min(light_now, 1.0))
            self._backgrounds[key] = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
            if len(self._backgrounds) > 12:
                self._backgrounds.popitem(last=False)
        self._backgrounds.move_to_end(key)
        return self._backgrounds[key]

    def _rain(self, time_s: float) -> float:
        """Return the strength of the rain, 0..1, in spells of three minutes of video."""
        spell = int(time_s // 180)
        now, then = (
            float(rng.uniform(0.4, 1)) if rng.random() < self.scene.rain else 0.0
            for rng in (np.random.default_rng([self.scene.seed, 521, spell + k]) for k in (0, 1))
        )
        part = np.clip((time_s / 180 - spell - 0.8) / 0.2, 0, 1)
        return float(now * (1 - part) + then * part)

    @staticmethod
    def _paste(
        picture: ImageArray, owner: npt.NDArray[np.int16], rgba: npt.NDArray[np.uint8], x0: int, y0: int,
        tint: FloatImage, number: int,
    ) -> None:  # fmt: skip
        """Blend an RGBA patch, tinted, into the picture; mark its solid part as `number` in `owner`."""
        height, width = picture.shape[:2]
        left, top = max(-x0, 0), max(-y0, 0)
        right, bottom = min(rgba.shape[1], width - x0), min(rgba.shape[0], height - y0)
        if left >= right or top >= bottom:
            return
        patch = rgba[top:bottom, left:right]
        span = (slice(y0 + top, y0 + bottom), slice(x0 + left, x0 + right))
        alpha = patch[..., 3:].astype(np.float32) * (1 / 255)
        under = picture[span]
        lit = np.minimum(patch[..., :3] * tint, 255)
        picture[span] = under + (lit - under) * alpha
        owner[span][patch[..., 3] > 127] = number

    def _shadow(self, picture: ImageArray, foot_x: float, foot_y: float, width: int, light: float, rain: float) -> None:
        """Draw a soft shadow under an object, stronger on clear days."""
        strength = 0.18 + 0.22 * light * (1 - rain)
        rx, ry = max(2, round(width * 0.56)), max(1, round(width * 0.10))
        x0, x1 = max(0, round(foot_x) - rx), min(picture.shape[1], round(foot_x) + rx)
        y0, y1 = max(0, round(foot_y) - ry), min(picture.shape[0], round(foot_y) + ry)
        if x0 >= x1 or y0 >= y1:
            return
        columns = ((np.arange(x0, x1) - foot_x) / rx) ** 2
        rows = ((np.arange(y0, y1) - foot_y) / ry) ** 2
        dark = np.maximum(0, 1 - columns[None] - rows[:, None]).astype(np.float32)[..., None] * strength
        picture[y0:y1, x0:x1] = picture[y0:y1, x0:x1] * (1 - dark)

    @staticmethod
    def _headlights(
        picture: ImageArray, actor: Actor, x0: int, y0: int, width: int, height: int, strength: float
    ) -> None:
        """Draw a white lamp ahead with its light on the road, and a red one behind."""
        facing = actor.look.facing
        ahead = x0 + width if facing > 0 else x0
        back = x0 if facing > 0 else x0 + width
        y = y0 + round(height * (0.55 if actor.look.kind == "car" else 0.75))
        reach = max(6, round(width * 0.9))
        top, bottom = max(0, y - reach // 4), min(picture.shape[0], y + reach // 3)
        left, right = (ahead, ahead + reach) if facing > 0 else (ahead - reach, ahead)
        left, right = max(0, left), min(picture.shape[1], right)
        if left < right and top < bottom:
            along = np.abs(np.arange(left, right) - ahead)[None] / reach
            across = (np.arange(top, bottom)[:, None] - y - 0.12 * reach * along) / (reach * (0.05 + 0.22 * along))
            beam = np.exp(-(across**2)) * (1 - along) ** 1.5 * 150 * strength
            colour = np.array([1.0, 0.95, 0.8], np.float32)
            lit = picture[top:bottom, left:right] + beam[..., None].astype(np.float32) * colour
            picture[top:bottom, left:right] = np.minimum(lit, 255)
        radius = max(1, round(height * 0.07))
        cv2.circle(picture, (ahead, y), radius, (255, 250, 225), -1, cv2.LINE_AA)
        cv2.circle(picture, (back, y), radius, (220, 40, 30), -1, cv2.LINE_AA)

    def _lens(self, picture: ImageArray, time_s: float, light: float, rain: float) -> ImageArray:
        """Add rain, shake, blur, contrast and sensor noise."""
        scene = self.scene
        stamp = round(time_s * 1000)
        rng = np.random.default_rng([scene.seed, 601, stamp if stamp >= 0 else 2**40 - stamp])
        if rain > 0.02:
            streaks = np.zeros(picture.shape[:2], np.uint8)
            count = int(rain * picture.size / 3 / 260)
            xs, ys = rng.integers(0, scene.width_px, count), rng.integers(-10, scene.height_px, count)
            lengths = rng.integers(5, 14, count)
            for x, y, length in zip(xs.tolist(), ys.tolist(), lengths.tolist(), strict=True):
                cv2.line(streaks, (x, y), (x + length // 4, y + length), 60, 1)
            picture = cv2.add(picture, cv2.merge([streaks] * 3) // 2)
        if scene.shake_px:
            dx, dy = rng.normal(0, scene.shake_px / 2, 2)
            move = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
            picture = cv2.warpAffine(picture, move, (scene.width_px, scene.height_px), borderMode=cv2.BORDER_REPLICATE)
        if scene.blur_px:
            picture = cv2.GaussianBlur(picture, (0, 0), scene.blur_px)
        sigma = scene.noise_levels * (1 + 0.9 * (1 - light)) / 16
        field = self._noise[int(rng.integers(0, len(self._noise)))]
        oy, ox = rng.integers(0, 32, 2)
        noise = field[oy : oy + scene.height_px, ox : ox + scene.width_px]
        gain = np.float32(scene.contrast)
        lift = np.float32(110 * (1 - scene.contrast))
        noisy = picture * gain
        noisy += (noise * np.float32(sigma) + lift)[..., None]
        return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
