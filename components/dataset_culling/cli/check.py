"""`culling check`: validate a configuration file."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dataset_culling.cli.command import PATH, Command
from dataset_culling.config import parse_config, read_yaml
from dataset_culling.pipeline.graph import PipelineConfig


@click.command(cls=Command)
@click.argument("file", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="For machines: all settings that the file leads to.")
def check(file: Path, as_json: bool) -> None:
    """Check a configuration file for culling run --config.

    \b
    culling check camera.yaml
    culling check camera.yaml --json
    """
    config = parse_config(PipelineConfig, read_yaml(file), where=str(file))
    if as_json:
        values = {"file": str(file), "settings": config.model_dump(mode="json")}
        click.echo(json.dumps(values, indent=1, sort_keys=True))
    else:
        click.echo(f"{file}: fine")
