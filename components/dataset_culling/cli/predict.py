"""`culling predict`: run a model on videos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, QUIET, Command, device_option, verbosity
from dataset_culling.cli.complete import DEFAULT_REGISTRY, camera_names
from dataset_culling.errors import ConfigError


@click.command(cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="[MODEL] VIDEO...")
@click.option("--camera", default="", shell_complete=camera_names, help="A camera of --registry, instead of MODEL.")
@click.option(
    "--version", type=click.IntRange(0), default=0, help="With --camera: its version. [default: the champion]"
)
@click.option(
    "--registry", envvar="CULLING_REGISTRY", default=DEFAULT_REGISTRY, show_default=True,
    help="With --camera: folder or s3:// prefix of the registry.",
)  # fmt: skip
@click.option("--out", type=PATH, default=Path("predictions"), show_default=True, help="Folder of results.")
@click.option("--draw/--no-draw", default=True, show_default=True, help="Write a video with the boxes drawn in.")
@click.option(
    "--fps", type=click.FloatRange(0, 1000, min_open=True), help="Frames per second to run on. [default: all]"
)
@click.option(
    "--format", "formats", default="jsonl,coco", show_default=True, help="Files to write: jsonl, coco or both."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Least score of every class, instead of the model's own thresholds.",
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Frames in a batch.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def predict(
    names: tuple[str, ...], camera: str, version: int, registry: str, formats: str, fps: float | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Run a trained model on a video: boxes as JSON lines and COCO json, and a video with them drawn in.

    MODEL is a bundle's folder, a model/1 directory, or REGISTRY#CAMERA for a camera's champion (REGISTRY#CAMERA@3 for
    its version 3); VIDEO a file, a folder of segments, a glob or an s3:// prefix. docs/serving.md explains what is
    written.

    \b
    culling predict runs/demo/model day.mp4
    culling predict bundles/gate day.mp4 --out seen --no-draw --threshold 0.3
    culling predict s3://fleet/registry#gate s3://footage/gate/2026-11-20/ --fps 2
    culling predict --registry runs/demo/registry --camera demo day.mp4
    """
    from dataset_culling.serving.predict_video import PredictOptions, parse_formats, predict_video

    model, videos = names[0], names[1:]
    if camera:
        model, videos = f"{registry}#{camera}{f'@{version}' if version else ''}", names
    elif version:
        raise ConfigError(
            f"--version {version}: expected --camera beside it. Add it, or write REGISTRY#CAMERA@{version}."
        )
    if not videos:
        raise ConfigError(f"predict {model}: expected a model and a video, found only one name. Add the other.")
    try:
        done = predict_video(
            model,
            videos,
            PredictOptions(
                frames_per_second=fps or 0.0, formats=parse_formats(formats), quiet=verbosity() == QUIET, **options
            ),
        )
    except KeyboardInterrupt:  # unlike a run, this does not go on from where it was
        click.echo("stopped; nothing was written", err=True)
        raise click.exceptions.Exit(130) from None
    if as_json:
        click.echo(json.dumps(done.values()))
        return
    for line in done.lines():
        click.echo(line)
