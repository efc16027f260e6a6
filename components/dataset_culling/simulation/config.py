"""Configuration of simulated scenes; the named and the random scenes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from dataset_culling.config import StageConfig, did_you_mean
from dataset_culling.errors import ConfigError

CLASS_NAMES = ("person", "bicycle", "car", "truck", "dog")
"""Classes of the simulated world; dog is the rare one."""


class SceneConfig(StageConfig):
    """A fixed camera's scene. Rates are mean arrivals per minute of video at the busiest hour."""

    seed: int = Field(0, ge=0, description="Seed of all random draws.")
    scene: Literal["street", "lobby", "court"] = Field("street", description="Kind of scene.")
    width_px: int = Field(512, ge=64, le=4096, multiple_of=2, description="Width of the picture.")
    height_px: int = Field(288, ge=64, le=4096, multiple_of=2, description="Height of the picture.")
    day_length_s: float = Field(86_400.0, gt=0, description="Seconds of video in which a whole day passes.")
    start_hour: float = Field(0.0, ge=0, lt=24, description="Hour of the day at time 0.")
    people_per_minute: float = Field(10.0, ge=0, le=200, description="People.")
    bicycles_per_minute: float = Field(3.0, ge=0, le=100, description="Bicycles with riders; street only.")
    cars_per_minute: float = Field(10.0, ge=0, le=100, description="Cars; street only.")
    trucks_per_minute: float = Field(2.0, ge=0, le=100, description="Trucks; street only.")
    dogs_per_minute: float = Field(0.3, ge=0, le=100, description="Dogs; the rare class.")
    night_share: float = Field(
        0.08, ge=0, le=1, description="Share of the traffic that remains in the middle of the night."
    )
    rain: float = Field(0.2, ge=0, le=1, description="Share of the time that it rains; street only.")
    noise_levels: float = Field(3.0, ge=0, le=40, description="Sensor noise by day, standard deviation of 0..255.")
    blur_px: float = Field(0.0, ge=0, le=4, description="Softness of the lens, sigma.")
    haze: float = Field(0.0, ge=0, le=0.7, description="Fading of distant objects.")
    contrast: float = Field(1.0, ge=0.4, le=1.4, description="Contrast of the camera.")
    horizon: float = Field(
        0.3, ge=0.05, le=0.6, description="Height of the horizon, share of the picture from its top."
    )
    near_m: float = Field(9.0, gt=2, le=60, description="Distance of the picture's lower edge on the ground.")
    camera_height_m: float = Field(5.0, gt=1, le=30, description="Height of the camera above the ground.")
    camouflage: float = Field(0.3, ge=0, le=1, description="Share of objects whose colours are close to the ground's.")
    parked: int = Field(3, ge=0, le=12, description="Parking places along the kerb; each is taken or free for a while.")
    standing: int = Field(2, ge=0, le=10, description="Places where people stand for a while.")
    distractors: int = Field(6, ge=0, le=40, description="Things that resemble objects without being any.")
    shake_px: float = Field(0.0, ge=0, le=5, description="Amplitude of camera shake in the wind.")


def random_scene(seed: int, *, width_px: int = 512, height_px: int = 288) -> SceneConfig:
    """Draw a scene from the general distribution of the simulated world.

    Named scenes use seeds below 1,000, pretraining 10,000,000 and up.
    """
    rng = np.random.default_rng([seed, 101])
    scene: Literal["street", "lobby", "court"] = rng.choice(["street", "street", "street", "lobby", "court"])
    camera_height = float(rng.uniform(2.4, 8))
    return SceneConfig(
        seed=seed,
        scene=scene,
        width_px=width_px,
        height_px=height_px,
        start_hour=float(rng.uniform(0, 24)),
        people_per_minute=float(rng.uniform(4, 24)),
        bicycles_per_minute=float(rng.uniform(1, 9)),
        cars_per_minute=float(rng.uniform(4, 22)),
        trucks_per_minute=float(rng.uniform(1, 6)),
        dogs_per_minute=float(rng.uniform(0.5, 3)),
        night_share=float(rng.uniform(0.05, 0.6)),
        rain=float(rng.uniform(0, 0.5)),
        noise_levels=float(rng.uniform(1, 6)),
        blur_px=float(rng.choice([0.0, rng.uniform(0.3, 0.9)])),
        haze=float(rng.choice([0.0, rng.uniform(0.1, 0.5)])),
        contrast=float(rng.uniform(0.7, 1.15)),
        horizon=float(rng.uniform(0.15, 0.42)),
        near_m=float(camera_height * rng.uniform(1.3, 2.6)),
        camera_height_m=camera_height,
        camouflage=float(rng.uniform(0.1, 0.5)),
        parked=int(rng.integers(0, 7)),
        standing=int(rng.integers(0, 5)),
        distractors=int(rng.integers(3, 14)),
        shake_px=float(rng.choice([0.0, 0.0, rng.uniform(0.2, 1.2)])),
    )


SCENES: dict[str, SceneConfig] = {
    "demo": SceneConfig(
        seed=7, day_length_s=1400.0, start_hour=5.0, people_per_minute=14, bicycles_per_minute=5, cars_per_minute=12,
        trucks_per_minute=3, dogs_per_minute=0.6, night_share=0.1, rain=0.25, noise_levels=3.5, horizon=0.24,
        near_m=9.0, camera_height_m=5.5, camouflage=0.35, parked=3, standing=2, distractors=9, contrast=0.9,
    ),
    "street-night-rain": SceneConfig(
        seed=11, day_length_s=2800.0, start_hour=19.0, people_per_minute=10, bicycles_per_minute=4, cars_per_minute=12,
        trucks_per_minute=2, night_share=0.5, rain=0.8, noise_levels=5.0, horizon=0.3, near_m=11.0, camera_height_m=6.0,
        distractors=8,
    ),
    "street-far": SceneConfig(
        seed=13, day_length_s=1400.0, start_hour=6.0, people_per_minute=16, bicycles_per_minute=5, cars_per_minute=16,
        trucks_per_minute=4, night_share=0.2, rain=0.1, noise_levels=3.0, horizon=0.12, near_m=24.0,
        camera_height_m=12.0, haze=0.3, parked=6, distractors=12,
    ),
    "lobby": SceneConfig(
        seed=17, scene="lobby", day_length_s=1400.0, start_hour=6.0, people_per_minute=14, dogs_per_minute=0.5,
        noise_levels=2.5, horizon=0.2, near_m=5.5, camera_height_m=3.4, standing=3, distractors=8,
    ),
    "court": SceneConfig(
        seed=19, scene="court", day_length_s=1400.0, start_hour=8.0, people_per_minute=10, dogs_per_minute=0,
        noise_levels=2.5, horizon=0.16, near_m=12.0, camera_height_m=7.0, standing=2, distractors=5,
    ),
    "crossing": SceneConfig(
        seed=23, day_length_s=1400.0, start_hour=7.0, people_per_minute=18, bicycles_per_minute=9, cars_per_minute=14,
        trucks_per_minute=2, dogs_per_minute=0.3, night_share=0.15, rain=0.15, noise_levels=2.5, horizon=0.2,
        near_m=7.0, camera_height_m=4.5, camouflage=0.25, parked=1, standing=4, distractors=7,
    ),
    "court-far": SceneConfig(
        seed=29, scene="court", day_length_s=1400.0, start_hour=9.0, people_per_minute=12, dogs_per_minute=0,
        noise_levels=3.5, horizon=0.12, near_m=18.0, camera_height_m=9.5, standing=3, distractors=7, haze=0.15,
    ),
    "court-near": SceneConfig(
        seed=31, scene="court", day_length_s=1400.0, start_hour=13.0, people_per_minute=7, dogs_per_minute=0,
        noise_levels=2.0, horizon=0.22, near_m=6.5, camera_height_m=3.8, standing=1, distractors=4, camouflage=0.45,
    ),
}  # fmt: skip
"""Named scenes; pretraining never uses them."""


def demo_scene(name: str) -> SceneConfig:
    """Return a named scene.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in SCENES:
        raise ConfigError(
            f"--scene: unknown scene '{name}'.{did_you_mean(name, list(SCENES))} "
            f"Known: {', '.join(SCENES)}, or random:SEED."
        )
    return SCENES[name]
