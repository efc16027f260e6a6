"""`culling detectors`: the table of detectors."""

from __future__ import annotations

import json

import click

from dataset_culling.cli.command import Command, json_option


@click.command(cls=Command)
@json_option
def detectors(as_json: bool) -> None:
    """List the detectors: size, cost of an image, and whether their weights are at hand.

    \b
    culling detectors
    culling detectors --json
    """
    from dataset_culling.detectors.table import DETECTORS, weights_at_hand

    if as_json:
        rows = {
            name: {"trainable": spec.trainable, "weights": spec.default_weights,
                   "weights_at_hand": weights_at_hand(name), "million_parameters": spec.million_parameters,
                   "gflops_320": spec.gflops_320}
            for name, spec in DETECTORS.items()
        }  # fmt: skip
        click.echo(json.dumps(rows))
        return
    width = max(len(name) for name in DETECTORS)
    click.echo(f"{'detector':{width}}  {'M param.':>8}  {'GFLOPs*':>8}  {'weights':<22}  what it is")
    for name, spec in DETECTORS.items():
        default = spec.default_weights or "give a file"
        where = "" if default == "embedded" else ", at hand" if weights_at_hand(name) else ", not here"
        here = f"{default}{where}"
        size = f"{spec.million_parameters:8.2f}  {spec.gflops_320:8.2f}"
        click.echo(f"{name:{width}}  {size}  {here:<22}  {spec.summary}")
    click.echo("* of one 16:9 image with a short side of 320 px, two per multiply-add")
