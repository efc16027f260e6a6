"""Static backgrounds, painted once per scene as colour by day and light by night."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from dataset_culling.simulation.config import SceneConfig

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ground:
    """A pinhole camera over flat ground: converts metres to px."""

    width_px: int
    height_px: int
    horizon_px: float
    focal_px: float
    camera_m: float

    @staticmethod
    def of(scene: SceneConfig) -> Ground:
        """Return the ground of a scene, visible from `near_m` on."""
        horizon = scene.horizon * scene.height_px
        focal = (scene.height_px - horizon) * scene.near_m / scene.camera_height_m
        return Ground(scene.width_px, scene.height_px, horizon, focal, scene.camera_height_m)

    def scale(self, z_m: float) -> float:
        """Return px per metre at a distance."""
        return self.focal_px / z_m

    def at(self, x_m: float, z_m: float) -> tuple[float, float]:
        """Project a point of the ground into the picture, px."""
        return self.width_px / 2 + x_m * self.scale(z_m), self.horizon_px + self.camera_m * self.scale(z_m)

    def half_width_m(self, z_m: float) -> float:
        """Return half of the visible width at a distance, metres."""
        return self.width_px / 2 / self.scale(z_m)


@dataclass(frozen=True, slots=True)
class Occluder:
    """Scenery that can hide objects: an RGBA patch, its upper left corner and its distance."""

    rgba: npt.NDArray[np.uint8]
    x_px: int
    y_px: int
    z_m: float


@dataclass(slots=True)
class Scenery:
    """albedo (H, W, 3) 0..1; glow (H, W, 3) 0..1, added by night; sky (H, W) mask; lamps as (x, y, radius) px."""

    albedo: FloatImage
    glow: FloatImage
    sky: npt.NDArray[np.bool_]
    lamps: list[tuple[float, float, float]] = field(default_factory=list)
    occluders: list[Occluder] = field(default_factory=list)


def _grain(rng: np.random.Generator, height: int, width: int, cell: int, strength: float) -> FloatImage:
    coarse = rng.normal(0, 1, (max(2, height // cell), max(2, width // cell))).astype(np.float32)
    grain: FloatImage = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None] * strength
    return grain


def _band(
    image: FloatImage, ground: Ground, x: tuple[float, float], z: tuple[float, float], colour: npt.ArrayLike
) -> None:
    """Paint the rectangle of ground between two `x` and from distance z[0] to z[1], metres."""
    corners = ((x[0], z[0]), (x[1], z[0]), (x[1], z[1]), (x[0], z[1]))
    points = np.array([ground.at(*corner) for corner in corners]) * 16
    cv2.fillConvexPoly(image, points.round().astype(np.int32), [float(c) for c in np.asarray(colour)], cv2.LINE_AA, 4)


def _disc(image: FloatImage, x: float, y: float, radius: float, colour: npt.ArrayLike) -> None:
    """Paint a disc; radii round to at least 1 px."""
    values = [float(c) for c in np.asarray(colour)]
    cv2.circle(image, (round(x), round(y)), max(1, round(radius)), values, -1, cv2.LINE_AA)


def _rect(image: FloatImage, x0: float, y0: float, x1: float, y1: float, colour: npt.ArrayLike) -> None:
    cv2.rectangle(image, (round(x0), round(y0)), (round(x1), round(y1)), [float(c) for c in np.asarray(colour)], -1)


def lanes(scene: SceneConfig) -> list[tuple[float, int]]:
    """Return the road's lanes, (distance of the middle in metres, direction), near to far."""
    first = scene.near_m * 1.25 + 2.9
    return [(first, 1), (first + 3.6, -1)]


def pavements(scene: SceneConfig) -> list[tuple[float, float]]:
    """Return the pavements, (from, to) in metres of distance, near to far."""
    first = lanes(scene)[0][0]
    return [(scene.near_m * 1.04, first - 2.2), (first + 6.2, first + 9.5)]


def paint(scene: SceneConfig) -> Scenery:
    """Paint everything static of a scene."""
    rng = np.random.default_rng([scene.seed, 211])
    painter = {"street": _street, "lobby": _lobby, "court": _court}[scene.scene]
    scenery = painter(scene, rng)
    height, width = scene.height_px, scene.width_px
    scenery.albedo += _grain(rng, height, width, 2, 0.012) + _grain(rng, height, width, 24, 0.015)
    np.clip(scenery.albedo, 0.02, 1, out=scenery.albedo)
    return scenery


def _street(scene: SceneConfig, rng: np.random.Generator) -> Scenery:
    ground = Ground.of(scene)
    height, width = scene.height_px, scene.width_px
    albedo = np.zeros((height, width, 3), np.float32)
    glow = np.zeros_like(albedo)
    sky = np.zeros((height, width), np.bool_)
    sky[: round(ground.horizon_px) + 1] = True
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    albedo[:] = np.array([0.60, 0.74, 0.92]) * (1 - fade) + np.array([0.88, 0.90, 0.93]) * fade
    asphalt = np.array([0.30, 0.31, 0.33]) * rng.uniform(0.8, 1.5)
    paving = np.array([0.56, 0.54, 0.51]) * rng.uniform(0.75, 1.25) * rng.uniform(0.95, 1.05, 3)
    grass = np.array([0.33, 0.45, 0.22]) * rng.uniform(0.7, 1.2)
    far = 400.0
    first, kerb_far = lanes(scene)[0][0] - 1.9, lanes(scene)[-1][0] + 1.9
    behind = pavements(scene)[1][1]
    wide = ground.half_width_m(far) * 1.2
    _band(albedo, ground, (-wide, wide), (far, scene.near_m * 0.5), grass)

    def band(z0: float, z1: float, colour: npt.ArrayLike) -> None:
        reach = ground.half_width_m(z1) * 1.1
        _band(albedo, ground, (-reach, reach), (z1, z0), colour)

    band(kerb_far, behind, paving)
    band(scene.near_m * 0.5, first, paving)
    band(first, kerb_far, asphalt)
    for z in (first, kerb_far):
        band(z - 0.08, z + 0.14, np.array([0.72, 0.71, 0.68]))
    for z in np.arange(scene.near_m * 0.8, first - 0.3, 1.2):  # joints of the paving
        band(z, z + 0.025, paving * 0.86)
    for z in np.arange(kerb_far + 0.6, behind, 1.2):
        band(z, z + 0.03, paving * 0.88)
    for x in np.arange(-40, 40, 1.6):
        _band(albedo, ground, (x, x + 0.03), (first - 0.2, scene.near_m * 0.8), paving * 0.88)
    middle = (lanes(scene)[0][0] + lanes(scene)[1][0]) / 2
    for x in np.arange(-80, 80, 4.0):
        _band(albedo, ground, (x, x + 1.9), (middle + 0.07, middle - 0.07), (0.86, 0.86, 0.83))
    crossing = rng.uniform(-0.6, 0.6) * ground.half_width_m(middle)
    if rng.random() < 0.6:
        for z in np.arange(first + 0.3, kerb_far - 0.4, 0.95):
            _band(albedo, ground, (crossing - 1.6, crossing + 1.6), (z + 0.5, z), (0.84, 0.84, 0.82))
    for _ in range(5):  # patches, oil, manholes
        x, z = rng.uniform(-1, 1) * ground.half_width_m(first), rng.uniform(first + 0.3, kerb_far - 0.5)
        px, py = ground.at(x, z)
        r = ground.scale(z) * rng.uniform(0.3, 0.9)
        axes, tone = (max(1, round(r)), max(1, round(r * 0.3))), asphalt * rng.uniform(0.75, 1.15)
        cv2.ellipse(albedo, (round(px), round(py)), axes, 0, 0, 360, tone.tolist(), -1, cv2.LINE_AA)

    # houses behind the far pavement: fronts that rise above the horizon
    foot_z = behind + 0.6
    foot = ground.at(0, foot_z)[1]
    scale = ground.scale(foot_z)
    x = -ground.half_width_m(foot_z) - rng.uniform(0, 6)
    while x < ground.half_width_m(foot_z):
        wide_m, tall_m = rng.uniform(7, 15), rng.uniform(5, 15)
        colour = np.array([0.62, 0.55, 0.48]) * rng.uniform(0.65, 1.35) * rng.uniform(0.85, 1.15, 3)
        x0, x1 = ground.at(x, foot_z)[0], ground.at(x + wide_m, foot_z)[0]
        top = foot - tall_m * scale
        _rect(albedo, x0, top, x1, foot, np.clip(colour, 0.1, 0.95))
        sky[max(0, round(top)) : round(foot) + 1, max(0, round(x0)) : max(0, round(x1) + 1)] = False
        _rect(albedo, x0, top, x1, top + max(1, 0.35 * scale), colour * 0.7)
        storey = 3.1 * scale
        level = foot - storey
        if rng.random() < 0.5:  # a shop
            sign = rng.uniform(0.2, 0.9, 3)
            pane = (0.28, 0.31, 0.34)
            _rect(albedo, x0 + 0.6 * scale, foot - 2.6 * scale, x1 - 0.6 * scale, foot - 0.4 * scale, pane)
            _rect(albedo, x0 + 0.4 * scale, foot - 3.1 * scale, x1 - 0.4 * scale, foot - 2.6 * scale, sign)
            light = np.array([0.45, 0.40, 0.28]) * rng.uniform(0.3, 1)
            _rect(glow, x0 + 0.6 * scale, foot - 2.6 * scale, x1 - 0.6 * scale, foot - 0.4 * scale, light)
            _rect(glow, x0 + 0.4 * scale, foot - 3.1 * scale, x1 - 0.4 * scale, foot - 2.6 * scale, sign * 0.6)
        while level > top + 0.6 * scale:
            for wx in np.arange(x0 + 0.9 * scale, x1 - 1.5 * scale, 2.4 * scale):
                wy = level - 2.0 * scale
                if wy < top + 0.4 * scale:
                    continue
                _rect(albedo, wx, wy, wx + 1.2 * scale, wy + 1.5 * scale, (0.25, 0.29, 0.34))
                _rect(albedo, wx, wy + 1.5 * scale, wx + 1.2 * scale, wy + 1.65 * scale, colour * 1.2)
                if rng.random() < 0.35:
                    light = np.array([0.75, 0.58, 0.30]) * rng.uniform(0.4, 1)
                    _rect(glow, wx, wy, wx + 1.2 * scale, wy + 1.5 * scale, light)
            level -= storey
        door = rng.uniform(x0 + 1 * scale, max(x0 + 1.1 * scale, x1 - 2 * scale))
        _rect(albedo, door, foot - 2.2 * scale, door + 1.1 * scale, foot, colour * 0.45)
        x += wide_m + (rng.uniform(0, 3) if rng.random() < 0.3 else 0)
    scenery = Scenery(albedo, glow, sky)
    _street_furniture(scene, ground, rng, scenery)
    return scenery


def _street_furniture(scene: SceneConfig, ground: Ground, rng: np.random.Generator, scenery: Scenery) -> None:
    """Paint lamps and trees that hide objects, and distractors that resemble them."""
    near, far = pavements(scene)
    kerb_far = lanes(scene)[-1][0] + 2.6
    for x in np.arange(-3, 4) * rng.uniform(9, 14) + rng.uniform(-4, 4):
        if abs(x) < ground.half_width_m(kerb_far) * 1.1:
            _lamp(scenery, ground, x, kerb_far)
    for _ in range(int(rng.integers(1, 5))):
        z = float(rng.choice([kerb_far + 0.4, near[1] + 0.2, far[1]]))
        _tree(scenery, ground, rng, rng.uniform(-1, 1) * ground.half_width_m(z), z)
    for _ in range(scene.distractors):
        strip = near if rng.random() < 0.4 else far
        z = rng.uniform(strip[0] + 0.1, strip[1])
        x = rng.uniform(-1, 1) * ground.half_width_m(z)
        px, py = ground.at(x, z)
        s = ground.scale(z)
        kind = rng.integers(0, 4)
        colour = rng.uniform(0.15, 0.6, 3)
        if kind == 0:  # a bin
            _rect(scenery.albedo, px - 0.28 * s, py - 1.0 * s, px + 0.28 * s, py, colour)
            _rect(scenery.albedo, px - 0.32 * s, py - 1.1 * s, px + 0.32 * s, py - 0.95 * s, colour * 0.6)
        elif kind == 1:  # a bollard with a light band
            _rect(scenery.albedo, px - 0.1 * s, py - 0.95 * s, px + 0.1 * s, py, (0.2, 0.2, 0.2))
            _rect(scenery.albedo, px - 0.1 * s, py - 0.85 * s, px + 0.1 * s, py - 0.7 * s, (0.85, 0.85, 0.8))
        elif kind == 2:  # a hydrant-like post with a round head
            _rect(scenery.albedo, px - 0.13 * s, py - 0.9 * s, px + 0.13 * s, py, colour)
            _disc(scenery.albedo, px, py - 1.0 * s, 0.17 * s, colour * 1.3)
        else:  # a stand with a figure on it
            _rect(scenery.albedo, px - 0.4 * s, py - 1.8 * s, px + 0.4 * s, py - 0.2 * s, (0.85, 0.83, 0.78))
            _rect(scenery.albedo, px - 0.15 * s, py - 1.2 * s, px + 0.15 * s, py - 0.5 * s, colour)
            _disc(scenery.albedo, px, py - 1.35 * s, 0.12 * s, (0.75, 0.58, 0.48))


def _lamp(scenery: Scenery, ground: Ground, x: float, z: float) -> None:
    px, py = ground.at(x, z)
    s = ground.scale(z)
    tall, wide = 5.2 * s, max(1.5, 0.12 * s)
    h, w = int(tall) + 4, int(1.4 * s) + 6
    rgba = np.zeros((h, w, 4), np.uint8)
    base = int(wide) + 1
    cv2.rectangle(rgba, (base - int(wide / 2), 4), (base + int(wide / 2), h - 1), (70, 74, 78, 255), -1)
    cv2.line(rgba, (base, 4), (w - 4, 3), (70, 74, 78, 255), max(1, round(wide * 0.7)))
    axes = (max(1, round(0.25 * s)), max(1, round(0.09 * s)))
    cv2.ellipse(rgba, (w - 5, 5), axes, 0, 0, 360, (220, 215, 190, 255), -1)
    scenery.occluders.append(Occluder(rgba, round(px) - base, round(py) - h, z))
    scenery.lamps.append((px + w - base - 5, py - h + 5, 5.2 * s))


def _tree(scenery: Scenery, ground: Ground, rng: np.random.Generator, x: float, z: float) -> None:
    px, py = ground.at(x, z)
    s = ground.scale(z)
    tall, crown = rng.uniform(4, 7) * s, rng.uniform(1.2, 2.2) * s
    h, w = int(tall + crown) + 4, int(2.6 * crown) + 4
    rgba = np.zeros((h, w, 4), np.uint8)
    trunk = max(1, round(0.14 * s))
    cv2.rectangle(rgba, (w // 2 - trunk, h - int(tall)), (w // 2 + trunk, h - 1), (78, 62, 48, 255), -1)
    green = np.array([58, 92, 44]) * rng.uniform(0.7, 1.3)
    for _ in range(60):
        angle, reach = rng.uniform(0, 2 * np.pi), crown * np.sqrt(rng.uniform(0, 0.75))
        cx, cy = w / 2 + reach * np.cos(angle), crown * 1.1 + reach * 0.8 * np.sin(angle)
        tone = green * rng.uniform(0.65, 1.3) * (1.15 - 0.35 * (cy / (2 * crown + 1)))
        radius, colour = max(1, round(crown * rng.uniform(0.14, 0.3))), (*np.minimum(tone, 255).tolist(), 255)
        cv2.circle(rgba, (round(cx), round(cy)), radius, colour, -1, cv2.LINE_AA)
    scenery.occluders.append(Occluder(rgba, round(px) - w // 2, round(py) - h, z))


def _room(scene: SceneConfig, wall: npt.NDArray[np.float64]) -> tuple[Ground, Scenery, float]:
    ground = Ground.of(scene)
    albedo = np.zeros((scene.height_px, scene.width_px, 3), np.float32)
    back = scene.near_m * 3.4
    foot = ground.at(0, back)[1]
    shadow = np.linspace(0.82, 1.05, scene.height_px, dtype=np.float32)[:, None, None]
    albedo[:] = wall * shadow
    scenery = Scenery(albedo, np.zeros_like(albedo), np.zeros((scene.height_px, scene.width_px), np.bool_))
    return ground, scenery, foot


def _lobby(scene: SceneConfig, rng: np.random.Generator) -> Scenery:
    wall = np.array([0.72, 0.70, 0.66]) * rng.uniform(0.75, 1.2) * rng.uniform(0.93, 1.07, 3)
    ground, scenery, foot = _room(scene, wall)
    back = scene.near_m * 3.4
    tile_a = np.array([0.66, 0.63, 0.58]) * rng.uniform(0.6, 1.25)
    tile_b = tile_a * rng.uniform(0.82, 0.97)
    size = rng.uniform(0.9, 1.6)
    xs = np.arange(-int(ground.half_width_m(back) / size) - 2, int(ground.half_width_m(back) / size) + 3)
    for row, z in enumerate(np.arange(back, scene.near_m * 0.85, -size)):
        for column in xs:
            x = float(column) * size
            _band(scenery.albedo, ground, (x, x + size), (z, z - size), tile_a if (row + column) % 2 else tile_b)
    s = ground.scale(back)
    _rect(scenery.albedo, 0, foot - 0.18 * s, scene.width_px, foot, wall * 0.6)  # skirting
    for pillar in np.arange(rng.uniform(0, 3) * s, scene.width_px, rng.uniform(4, 7) * s):
        _rect(scenery.albedo, pillar, 0, pillar + 0.5 * s, foot, wall * 0.88)
        _rect(scenery.albedo, pillar + 0.4 * s, 0, pillar + 0.5 * s, foot, wall * 0.75)
    for _ in range(int(rng.integers(2, 5))):  # doors and lifts
        x = rng.uniform(0, scene.width_px)
        metal = rng.uniform(0.35, 0.7) * np.ones(3)
        _rect(scenery.albedo, x, foot - 2.3 * s, x + 1.5 * s, foot, metal)
        middle = round(x + 0.75 * s)
        cv2.line(scenery.albedo, (middle, round(foot - 2.3 * s)), (middle, round(foot)), [0.2, 0.2, 0.2], 1)
    for _ in range(int(rng.integers(2, 6))):  # light panels
        x = rng.uniform(-0.05, 0.95) * scene.width_px
        _rect(scenery.albedo, x, foot - 4.2 * s, x + 2.4 * s, foot - 3.9 * s, (0.98, 0.97, 0.93))
        _rect(scenery.glow, x, foot - 4.2 * s, x + 2.4 * s, foot - 3.9 * s, (0.5, 0.5, 0.47))
    for _ in range(scene.distractors):  # posters with figures, plants, stands
        if rng.random() < 0.5:
            x, y = rng.uniform(0, scene.width_px), foot - rng.uniform(2.4, 2.8) * s
            _rect(scenery.albedo, x, y, x + 1.0 * s, y + 1.5 * s, rng.uniform(0.3, 0.9, 3))
            _rect(scenery.albedo, x + 0.35 * s, y + 0.6 * s, x + 0.65 * s, y + 1.2 * s, rng.uniform(0.1, 0.7, 3))
            _disc(scenery.albedo, x + 0.5 * s, y + 0.45 * s, 0.12 * s, (0.78, 0.6, 0.5))
        else:
            z = rng.uniform(scene.near_m * 1.6, back * 0.98)
            px, py = ground.at(rng.uniform(-1, 1) * ground.half_width_m(z), z)
            k = ground.scale(z)
            _rect(scenery.albedo, px - 0.2 * k, py - 0.5 * k, px + 0.2 * k, py, rng.uniform(0.15, 0.6, 3))
            for _ in range(14):
                x, y = px + rng.normal(0, 0.2) * k, py - (0.8 + rng.normal(0, 0.2)) * k
                _disc(scenery.albedo, x, y, 0.13 * k, (0.2 * rng.uniform(0.6, 1.4), 0.36, 0.18))
    z = rng.uniform(scene.near_m * 1.9, scene.near_m * 2.6)  # a desk hides people behind it
    k, x = ground.scale(z), rng.uniform(-0.7, 0.5) * ground.half_width_m(z)
    px, py = ground.at(x, z)
    wood = np.array([120, 84, 56]) * rng.uniform(0.6, 1.5)
    desk = np.zeros((max(2, int(1.05 * k)), max(2, int(2.8 * k)), 4), np.uint8)
    desk[..., :3] = np.clip(wood, 20, 240)
    desk[: max(1, int(0.08 * k)), :, :3] = np.clip(wood * 1.5, 20, 250)
    desk[..., 3] = 255
    scenery.occluders.append(Occluder(desk, round(px), round(py) - desk.shape[0], z))
    return scenery


def _court(scene: SceneConfig, rng: np.random.Generator) -> Scenery:
    wall = np.array([0.45, 0.48, 0.54]) * rng.uniform(0.6, 1.3) * rng.uniform(0.9, 1.1, 3)
    ground, scenery, foot = _room(scene, wall)
    back = scene.near_m * 3.4
    floor = (np.array([0.74, 0.55, 0.34]) if rng.random() < 0.5 else rng.uniform(0.25, 0.6, 3)) * rng.uniform(0.8, 1.15)
    reach = ground.half_width_m(back) * 1.2
    _band(scenery.albedo, ground, (-reach, reach), (back, scene.near_m * 0.5), floor)
    for x in np.arange(-30, 30, 0.9):
        tone = floor * (1 + 0.04 * np.sin(x * 7))
        _band(scenery.albedo, ground, (x, x + 0.9), (back, scene.near_m * 0.5), tone)
    half, z0, z1 = ground.half_width_m(scene.near_m * 1.3) * 0.86, scene.near_m * 1.12, back * 0.86
    white = (0.92, 0.92, 0.9)
    _band(scenery.albedo, ground, (-half, half), (z1, z1 - 0.25), white)
    _band(scenery.albedo, ground, (-half, half), (z0 + 0.12, z0), white)
    for x in (-half, 0, half):
        _band(scenery.albedo, ground, (x - 0.07, x + 0.07), (z1, z0), white)
    px, py = ground.at(0, (z0 + z1) / 2)
    k = ground.scale((z0 + z1) / 2)
    squash = k * ground.camera_m / ((z0 + z1) / 2)
    axes, thick = (round(1.8 * k), max(1, round(1.8 * squash))), max(1, round(0.1 * k))
    cv2.ellipse(scenery.albedo, (round(px), round(py)), axes, 0, 0, 360, white, thick, cv2.LINE_AA)
    s = ground.scale(back)
    top = foot - 3.2 * s
    for x in np.arange(0, scene.width_px, 2.6 * s):  # a band of windows under the roof, banners below it
        _rect(scenery.albedo, x, top - 2.6 * s, x + 2.2 * s, top - 1.2 * s, (0.80, 0.86, 0.92))
        end, thick = (round(x), max(0, round(top - 2.8 * s))), max(1, round(0.15 * s))
        cv2.line(scenery.albedo, (round(x), 0), end, (wall * 0.7).tolist(), thick)
        if rng.random() < 0.4:
            _rect(scenery.albedo, x + 0.3 * s, top - 0.9 * s, x + 1.7 * s, top - 0.1 * s, rng.uniform(0.2, 0.9, 3))
    for row in range(4):  # stands with seats, some of them taken by a bag or a coat
        y = foot - (0.5 + 0.62 * row) * s
        _rect(scenery.albedo, 0, y - 0.5 * s, scene.width_px, y, wall * (0.75 + 0.08 * row))
        for x in np.arange(0, scene.width_px, max(3.0, 0.75 * s)):
            blue = rng.random() < 0.8
            seat = np.array([0.20, 0.28, 0.50]) * rng.uniform(0.7, 1.2) if blue else rng.uniform(0.2, 0.8, 3)
            _rect(scenery.albedo, x, y - 0.42 * s, x + 0.5 * s, y - 0.05 * s, seat)
    for _ in range(scene.distractors):
        x, y = rng.uniform(0, scene.width_px), foot - rng.uniform(0.2, 0.9) * s
        _rect(scenery.albedo, x, y, x + rng.uniform(1, 3) * s, foot, rng.uniform(0.2, 0.9, 3))
    return scenery
