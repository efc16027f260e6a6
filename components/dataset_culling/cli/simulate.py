"""`culling simulate`: a video of a simulated camera, with its true boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, Command
from dataset_culling.cli.complete import scene_names


@click.command(cls=Command)
@click.argument("path", type=PATH)
@click.option(
    "--scene", default="demo", show_default=True, shell_complete=scene_names, help="Named scene, or random:SEED."
)
@click.option(
    "--duration", "duration_s", default=600.0, show_default=True, type=click.FloatRange(1), help="Seconds of video."
)
@click.option("--fps", default=2.0, show_default=True, type=click.FloatRange(0.1, 60), help="Frames per second.")
@click.option("--seed", type=click.IntRange(0), help="Another seed of the same scene.")
@click.option(
    "--day-length", "day_length_s", type=click.FloatRange(1),
    help="Seconds in which a day passes. [default: the scene's]",
)  # fmt: skip
@click.option("--truth", type=PATH, help="File for the true boxes. [default: PATH with .truth.json]")
def simulate(path: Path, scene: str, duration_s: float, fps: float, **options: Any) -> None:
    """Film a simulated fixed camera: an ordinary video and, beside it, the true boxes as COCO json.

    \b
    culling simulate street.mp4 --duration 60
    culling simulate night.mp4 --scene street-night-rain --duration 600 --fps 2 --seed 3
    """
    from dataset_culling.engine.simulate import simulate_video

    simulate_video(path, scene, duration_s, fps, **options)
