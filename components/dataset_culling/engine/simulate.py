"""`culling simulate`, and the footage of a run that was given none."""

from __future__ import annotations

import json
from pathlib import Path

from dataset_culling.engine.stage_main import progress_writer
from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.simulation import SceneConfig, SimulatedCamera, demo_scene, random_scene, write_video


def named_scene(name: str, seed: int | None) -> SceneConfig:
    """A named scene, or random:SEED out of the simulated world.

    Raises:
        ConfigError: If there is no such scene.
    """
    if name.startswith("random:"):
        number = name.removeprefix("random:")
        if not number.isdigit():
            raise ConfigError(f"--scene {name}: expected random:SEED with a whole number, found '{number}'.")
        return random_scene(int(number))
    scene = demo_scene(name)
    return scene if seed is None else scene.replace(seed=seed)


def truth_path(video: Path) -> Path:
    """Where the true boxes of a simulated video lie unless said otherwise."""
    return video.with_suffix(".truth.json")


def simulate_video(
    path: Path,
    *,
    scene: str,
    duration_s: float,
    fps: float,
    seed: int | None,
    truth: Path | None,
    day_length_s: float | None = None,
) -> None:
    """Write a simulated video and its true boxes.

    Raises:
        ConfigError: If there is no such scene.
        OutputError: If it cannot be written.
    """
    config = named_scene(scene, seed)
    if day_length_s is not None:
        config = config.replace(day_length_s=day_length_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(
            SimulatedCamera(config),
            path,
            fps=fps,
            duration_s=duration_s,
            truth_path=truth or truth_path(path),
            on_progress=progress_writer(),
        )
    except OSError as error:
        raise OutputError(
            f"{path}: expected to write a video, found {error.strerror or error}. Choose another path."
        ) from error


def scene_text(scene: str, duration_s: float, fps: float) -> str:
    """What identifies a simulated video, as text."""
    return json.dumps([json.loads(named_scene(scene, None).to_json()), duration_s, fps])
