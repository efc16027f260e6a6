"""`culling presets`: the named settings."""

from __future__ import annotations

import json

import click

from dataset_culling.cli.command import Command


@click.command(cls=Command)
@click.option("--json", "as_json", is_flag=True, help="For machines, with all that each sets.")
def presets(as_json: bool) -> None:
    """List the presets and what they are for.

    \b
    culling presets
    culling presets --json
    """
    from dataset_culling.pipeline.presets import describe_presets, read_preset

    summaries = describe_presets()
    if as_json:
        rows = {name: {"summary": summary, "settings": read_preset(name)} for name, summary in summaries.items()}
        click.echo(json.dumps(rows, indent=1, sort_keys=True))
        return
    for name, summary in summaries.items():
        click.echo(f"{name:10}  {summary}")
