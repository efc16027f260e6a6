"""Objects in the scene as a pure function of (scene, time), drawn slot by slot, so times may come in any order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from dataset_culling.simulation.config import CLASS_NAMES, SceneConfig
from dataset_culling.simulation.scenery import Ground, lanes, pavements
from dataset_culling.simulation.sprites import PHASES, Colour, Look

SLOT_S = 10.0
"""Video for which arrivals are drawn at once."""
STAY_S = 240.0
"""Video for which parked cars and standing people are drawn at once."""

BUSY = np.array([
    0, 0, 0, 0, 0.02, 0.15, 0.4, 0.8, 1, 0.8, 0.65, 0.7,
    0.85, 0.75, 0.65, 0.7, 0.8, 1, 0.9, 0.65, 0.45, 0.3, 0.15, 0.05,
])  # fmt: skip
"""Traffic by hour of the day, as a share of the busiest."""


@dataclass(frozen=True, slots=True)
class Actor:
    """One object at one time: position of its foot, appearance and step of its gait."""

    track_id: int
    class_id: int
    look: Look
    phase: int
    x_m: float
    z_m: float
    lit: bool  # lamps on at night: a vehicle that drives


@dataclass(frozen=True, slots=True)
class _Trip:
    track_id: int
    class_id: int
    look: Look
    start_s: float
    x0_m: float
    z_m: float
    speed: float  # m/s along x, signed
    length_m: float
    gait_hz: float
    sway_m: float


def hour_at(scene: SceneConfig, time_s: float) -> float:
    """Return the hour of the day, 0..24."""
    return (scene.start_hour + time_s * 24 / scene.day_length_s) % 24


def busy_at(scene: SceneConfig, time_s: float) -> float:
    """Return the traffic at a time as a share of the busiest hour's."""
    hour = hour_at(scene, time_s)
    share = float(np.interp(hour, np.arange(25), np.append(BUSY, BUSY[0])))
    return scene.night_share + (1 - scene.night_share) * share if share > 0.01 else scene.night_share * 0.5


def actors(scene: SceneConfig, time_s: float) -> list[Actor]:
    """Return all objects in the scene at a time, unordered."""
    moving = _players if scene.scene == "court" else _moving
    return [*moving(scene, time_s), *_staying(scene, time_s)]


_SKINS = ((236, 196, 168), (205, 155, 120), (150, 105, 75), (95, 65, 48), (70, 48, 38))


def _colour(values: Iterable[float]) -> Colour:
    """Round to whole levels that are neither black nor white."""
    red, green, blue = (int(np.clip(int(value), 8, 245)) for value in values)
    return red, green, blue


def _look(rng: np.random.Generator, scene: SceneConfig, kind: str, view: str, facing: int) -> Look:
    hidden = rng.random() < scene.camouflage
    if kind in ("car", "truck"):
        palette = (
            (225, 226, 228), (168, 172, 178), (40, 42, 46), (92, 96, 102),
            (150, 34, 32), (36, 62, 118), (58, 92, 70), (196, 168, 110),
        )  # fmt: skip
        main = palette[int(rng.integers(0, len(palette)))]
        if hidden:
            main = _colour(rng.normal(88, 8, 3))  # asphalt's own grey
        second = ((214, 214, 210), (120, 124, 130), (70, 90, 130), (172, 150, 120))[int(rng.integers(0, 4))]
    elif kind == "dog":
        main = ((92, 62, 40), (36, 32, 30), (196, 168, 128), (140, 132, 124))[int(rng.integers(0, 4))]
        second = main
    else:
        main = _colour(rng.normal(118, 16) + rng.normal(0, 8, 3) if hidden else rng.uniform(20, 235, 3))
        trousers = (rng.normal(95, 12), 6) if hidden else (rng.uniform(15, 140), 18)
        second = _colour(trousers[0] + rng.normal(0, trousers[1], 3))
    size = float(np.clip(rng.normal(1, 0.07), 0.8, 1.2)) if kind == "person" else 1.0
    if kind == "person" and rng.random() < 0.08:
        size *= 0.68  # a child
    variant = int(rng.integers(0, 1000))
    if scene.scene != "street" and variant % 11 == 3:  # no umbrellas indoors
        variant += 1
    return Look(kind, view, facing, variant, round(size, 2), main, second, _SKINS[int(rng.integers(0, 5))])


_SPEEDS = {"person": (0.9, 1.8), "bicycle": (3.0, 6.0), "car": (6.0, 13.0), "truck": (5.0, 9.0), "dog": (1.2, 3.5)}
_GAIT_HZ = {"person": 1.0, "bicycle": 1.2, "car": 0.0, "truck": 0.0, "dog": 2.2}


@lru_cache(maxsize=4096)
def _slot(scene: SceneConfig, slot: int) -> tuple[_Trip, ...]:
    """Draw the trips that begin in a slot."""
    rng = np.random.default_rng([scene.seed, 307, slot])
    ground = Ground.of(scene)
    trips = []
    busy = busy_at(scene, (slot + 0.5) * SLOT_S)
    quiet = 0.15 if np.random.default_rng([scene.seed, 311, slot // 6]).random() < 0.25 else 1.0  # a lull of a minute
    rates = (
        scene.people_per_minute, scene.bicycles_per_minute, scene.cars_per_minute, scene.trucks_per_minute,
        scene.dogs_per_minute,
    )  # fmt: skip
    for class_id, (kind, rate) in enumerate(zip(CLASS_NAMES, rates, strict=True)):
        if scene.scene == "lobby" and kind not in ("person", "dog"):
            continue
        for number in range(int(rng.poisson(rate * busy * quiet * SLOT_S / 60))):
            direction = int(rng.choice([-1, 1]))
            if kind in ("car", "truck") or (kind == "bicycle" and rng.random() < 0.7):
                z, direction = lanes(scene)[int(rng.integers(0, 2))]
                z += rng.normal(0, 0.2) + (1.2 * -direction if kind == "bicycle" else 0.0)
            elif scene.scene == "lobby":
                z = rng.uniform(scene.near_m * 1.15, scene.near_m * 3.1)
            else:
                strips = pavements(scene)
                z = rng.uniform(*strips[int(rng.random() < 0.6)])
            low, high = _SPEEDS[kind]
            reach = ground.half_width_m(z) + 5
            trips.append(
                _Trip(
                    track_id=slot * 1000 + class_id * 100 + number,
                    class_id=class_id,
                    look=_look(rng, scene, kind, "side", direction),
                    start_s=slot * SLOT_S + rng.uniform(0, SLOT_S),
                    x0_m=-direction * reach,
                    z_m=float(z),
                    speed=direction * rng.uniform(low, high) * (0.8 if busy > 0.8 and kind == "car" else 1.0),
                    length_m=2 * reach,
                    gait_hz=_GAIT_HZ[kind] * rng.uniform(0.85, 1.2),
                    sway_m=rng.uniform(0, 0.5) if kind in ("person", "dog") else 0.0,
                )
            )
    return tuple(trips)


def _moving(scene: SceneConfig, time_s: float) -> Iterator[Actor]:
    ground = Ground.of(scene)
    widest = max(ground.half_width_m(pavements(scene)[1][1]), ground.half_width_m(scene.near_m * 3.1)) + 5
    longest_s = 2 * widest / _SPEEDS["person"][0]
    last = int(time_s // SLOT_S)
    for slot in range(max(int((time_s - longest_s) // SLOT_S), -int(longest_s // SLOT_S) - 1), last + 1):
        for trip in _slot(scene, slot + 1_000_000) if slot < 0 else _slot(scene, slot):
            start = trip.start_s - (1_000_000 * SLOT_S if slot < 0 else 0.0)
            age = time_s - start
            if age < 0 or abs(trip.speed) * age > trip.length_m:
                continue
            yield Actor(
                track_id=trip.track_id,
                class_id=trip.class_id,
                look=trip.look,
                phase=int(age * trip.gait_hz * PHASES) % PHASES,
                x_m=trip.x0_m + trip.speed * age,
                z_m=trip.z_m + trip.sway_m * float(np.sin(0.3 * age + trip.track_id)),
                lit=CLASS_NAMES[trip.class_id] in ("car", "truck"),
            )


def _staying(scene: SceneConfig, time_s: float) -> Iterator[Actor]:
    ground = Ground.of(scene)
    for place in range(scene.parked if scene.scene == "street" else 0):
        rng = np.random.default_rng([scene.seed, 401, place])
        z = lanes(scene)[-1][0] + 2.1
        x = (place - scene.parked / 2) * rng.uniform(5.4, 6.4) + rng.uniform(-1, 1)
        slot = int((time_s + rng.uniform(0, STAY_S)) // STAY_S)
        own = np.random.default_rng([scene.seed, 409, place, slot])
        if own.random() < 0.6:
            kind = "truck" if own.random() < 0.12 else "car"
            look = _look(own, scene, kind, "side", int(own.choice([-1, 1])))
            yield Actor(2_000_000_000 + place * 10_000 + slot, CLASS_NAMES.index(kind), look, 0, x, z, False)
    for place in range(scene.standing):
        rng = np.random.default_rng([scene.seed, 419, place])
        outdoors = scene.scene == "street"
        strip = pavements(scene)[int(rng.random() < 0.6)] if outdoors else (scene.near_m * 1.4, scene.near_m * 3.1)
        z = rng.uniform(*strip)
        x = rng.uniform(-0.85, 0.85) * ground.half_width_m(z)
        slot = int((time_s + rng.uniform(0, STAY_S)) // STAY_S)
        own = np.random.default_rng([scene.seed, 421, place, slot])
        if own.random() < 0.75 * busy_at(scene, time_s):
            view = str(own.choice(["front", "back", "side"]))
            kind = "bicycle" if outdoors and own.random() < 0.15 else "person"
            look = _look(own, scene, kind, view, int(own.choice([-1, 1])))
            phase = int(own.integers(0, PHASES)) if kind == "bicycle" else 0
            yield Actor(2_100_000_000 + place * 10_000 + slot, CLASS_NAMES.index(kind), look, phase, x, z, False)


def _players(scene: SceneConfig, time_s: float) -> Iterator[Actor]:
    """Yield a game of two teams that move by sums of sines; the hour sets the number of players."""
    ground = Ground.of(scene)
    game = int(time_s // STAY_S)
    rng = np.random.default_rng([scene.seed, 431, game])
    share = busy_at(scene, (game + 0.5) * STAY_S)
    count = int(rng.poisson(scene.people_per_minute * share)) if share > 0.1 else 0
    shirts = rng.integers(30, 235, (2, 3))
    for player in range(min(count, 24)):
        own = np.random.default_rng([scene.seed, 433, game, player])
        z0, z1 = scene.near_m * 1.25, scene.near_m * 2.75
        half = ground.half_width_m(scene.near_m * 1.3) * 0.8
        rate, shift = own.uniform(0.1, 0.5, 4), own.uniform(0, 2 * np.pi, 4)
        wave_x = np.sin(rate[0] * time_s + shift[0]) + 0.6 * np.sin(2.1 * rate[1] * time_s + shift[1])
        wave_z = np.sin(rate[2] * time_s + shift[2]) + 0.5 * np.sin(1.9 * rate[3] * time_s + shift[3])
        phases = (rate[0] * time_s + shift[0], 2.1 * rate[1] * time_s + shift[1])
        moving = rate[0] * np.cos(phases[0]) + 1.26 * rate[1] * np.cos(phases[1])
        view = "side" if abs(moving) > 0.12 else str(own.choice(["front", "back"]))
        look = _look(own, scene, "person", view, 1 if moving > 0 else -1)
        look = replace(look, variant=(1, 4, 5, 6, 9)[look.variant % 5], main=_colour(shirts[player % 2]))
        yield Actor(
            track_id=2_200_000_000 + game * 100 + player,
            class_id=0,
            look=look,
            phase=int(time_s * (1.0 + 2.5 * min(1.0, abs(moving))) * PHASES) % PHASES,
            x_m=float(half * wave_x / 1.6),
            z_m=float((z0 + z1) / 2 + (z1 - z0) / 2 * wave_z / 1.5),
            lit=False,
        )
