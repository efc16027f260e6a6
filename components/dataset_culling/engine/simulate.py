"""Simulated footage: for `culling simulate`, and for a run without a video."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dataset_culling.engine.process import run_child, start_fork_server
from dataset_culling.engine.stage_main import progress_writer
from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.simulation import SceneConfig, SimulatedCamera, demo_scene, random_scene, write_video


def named_scene(name: str, seed: int | None) -> SceneConfig:
    """Find a named scene, or draw one for random:SEED.

    Raises:
        ConfigError: If the scene is unknown.
    """
    if name.startswith("random:"):
        number = name.removeprefix("random:")
        if not number.isdigit():
            raise ConfigError(f"--scene {name}: expected random:SEED with a whole number, found '{number}'.")
        return random_scene(int(number))
    scene = demo_scene(name)
    return scene if seed is None else scene.replace(seed=seed)


def truth_path(video: Path) -> Path:
    """Return the default path of a simulated video's true boxes."""
    return video.with_suffix(".truth.json")


def simulate_video(
    path: Path, scene: str, duration_s: float, fps: float, *,
    seed: int | None = None, truth: Path | None = None, day_length_s: float | None = None,
) -> None:  # fmt: skip
    """Write a simulated video and its true boxes.

    Raises:
        ConfigError: If the scene is unknown.
        OutputError: If it cannot be written.
    """
    config = named_scene(scene, seed)
    if day_length_s is not None:
        config = config.replace(day_length_s=day_length_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(
            SimulatedCamera(config), path, fps=fps, duration_s=duration_s, truth_path=truth or truth_path(path),
            on_progress=progress_writer(),
        )  # fmt: skip
    except OSError as error:
        raise OutputError(
            f"{path}: expected to write a video, found {error.strerror or error}. Choose another path."
        ) from error


def scene_text(scene: str, duration_s: float, fps: float) -> str:
    """Return a text that identifies a simulated video."""
    return json.dumps([json.loads(named_scene(scene, None).to_json()), duration_s, fps])


def simulate_in_child(
    video: Path, scene: str, duration_s: float, fps: float, *,
    log: Path, progress: Callable[[int, int], None], day_length_s: float | None = None,
) -> None:  # fmt: skip
    """Write a simulated video from a child process, while the fork server imports; see `run_child`."""
    start_fork_server()
    simulate = partial(simulate_video, day_length_s=day_length_s)
    run_child(simulate, video, scene, duration_s, fps, log=log, task="Simulated camera", progress=progress)
