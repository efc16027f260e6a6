"""`culling run`: the main job, a video in, a trained model and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, Command, config_option, device_option, verbosity
from dataset_culling.cli.complete import detector_names, preset_names
from dataset_culling.errors import ConfigError

SETTINGS = {
    "student": "student.name", "student_weights": "student.weights", "teacher": "teacher.name",
    "teacher_weights": "teacher.weights", "camera": "camera", "registry": "registry", "truth": "truth",
    "target": "cull_precision.budget", "shortlist": "cull_confidence.budget",
    "fps": "extract_frames.frames_per_second",
}  # fmt: skip
"""Option -> the configuration's key that it sets."""


def _only_local(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if value == "docker":
        raise ConfigError(
            "--engine docker: this engine was removed. Run the command in one container instead: "
            "docker run -v FOLDER:FOLDER IMAGE culling run ...; see docs/tutorials/containers-on-one-machine.md."
        )
    if value != "local":
        raise ConfigError(f"--engine {value}: the only engine is local. Omit the option.")


def _no_image(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if value:
        raise ConfigError(f"--image {value}: this option was removed with --engine docker. Omit it.")


@click.command(cls=Command)
@click.option(
    "--video", "videos", multiple=True,
    help="Video, folder of segments, glob or s3:// prefix; may repeat. Without it a simulated camera is used.",
)  # fmt: skip
@click.argument("more_videos", nargs=-1)
@click.option("--classes", multiple=True, help="The camera's classes, e.g. person,vehicle=car+truck+bus.")
@click.option("--out", type=PATH, default=Path("runs/latest"), show_default=True, help="Folder of the run.")
@click.option(
    "--preset", default="", shell_complete=preset_names,
    help="Named settings: see 'culling presets'. [default: demo without --video, else default]",
)  # fmt: skip
@config_option
@click.option(
    "--set", "changes", multiple=True, nargs=2, metavar="KEY VALUE",
    help="One setting, e.g. --set train_student.recipe.epochs 40.",
)  # fmt: skip
@click.option(
    "--student", default="", shell_complete=detector_names, help="Detector that learns; see 'culling detectors'."
)
@click.option("--student-weights", default="", help="File, torchvision name, model directory or s3:// URI.")
@click.option(
    "--teacher", default="", shell_complete=detector_names,
    help="Detector that is believed, or a .yaml describing an exported network.",
)  # fmt: skip
@click.option("--teacher-weights", default="", help="File, torchvision name, model directory or s3:// URI.")
@click.option("--target", type=click.IntRange(1), help="Frames to keep for training (the paper's n).")
@click.option("--shortlist", type=click.IntRange(1), help="Frames that the confidence cull passes to the teacher.")
@click.option("--pool", type=click.IntRange(1), hidden=True)  # the former name of --shortlist
@click.option("--fps", type=click.FloatRange(0, min_open=True), help="Frames per second taken from the video.")
@click.option("--camera", default="", help="The camera's name in the registry.")
@click.option("--registry", default="", help="Folder or s3:// prefix of the model registry. [default: OUT/registry]")
@click.option("--day", default="", help="YYYY-MM-DD that {day} in the video's name stands for. [default: yesterday]")
@click.option("--truth", default="", help="COCO json with the true boxes of the footage, where they are known.")
@click.option(
    "--publish", "publish_to", default="", help="Folder or s3:// prefix that report, summary and model are copied to."
)
@device_option
@click.option("--engine", default="local", hidden=True, expose_value=False, callback=_only_local)
@click.option("--image", default="", hidden=True, expose_value=False, callback=_no_image)
@click.option("--fresh", is_flag=True, help="Forget what is finished in OUT and start over.")
@click.option("--json", "as_json", is_flag=True, help="Print summary.json instead of the tables.")
def run(
    videos: tuple[str, ...], more_videos: tuple[str, ...], classes: tuple[str, ...], preset: str, **given: Any
) -> None:
    """Specialise a student for one camera: video in, trained model and report out.

    Run it again with the same --out to continue a run that was interrupted.

    \b
    culling run --out runs/demo
    culling run --video day1.mp4 day2.mp4 --classes person,car --out runs/entrance
    culling run --video 'recordings/{day}/*.mp4' --day 2026-11-20 --out runs/2026-11-20
    culling run --video segments/ --classes vehicle=car+truck+bus --student yolox_nano
        --student-weights yolox_nano.onnx --teacher teacher.yaml
    """
    from dataset_culling.engine.job import run_job

    sources = (*videos, *more_videos)
    pool = given.pop("pool")
    given["shortlist"] = given["shortlist"] or pool
    settings = {
        "extract_frames.sources": list(sources),
        "classes": [name for item in classes for name in map(str.strip, item.split(",")) if name],
        **{key: given.pop(option) for option, key in SETTINGS.items()},
    }
    run_job(
        preset=preset or ("default" if sources else "demo"),
        options={key: value for key, value in settings.items() if value},
        level=verbosity(),
        **given,
    )
