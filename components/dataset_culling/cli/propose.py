"""`culling propose`: frames of a run with proposed labels, for an annotator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from dataset_culling.cli.command import PATH, Command, json_option


@click.command("propose", cls=Command)
@click.argument("run", type=PATH)
@click.option("--to", required=True, help="The folder to write; new or empty.")
@click.option("--frames", type=click.IntRange(1), default=50, show_default=True, help="Most frames.")
@click.option(
    "--pick", type=click.Choice(["even", "doubtful"]), default="even", show_default=True,
    help="Of each slice of time, the frame in its middle or the most doubtful one.",
)  # fmt: skip
@json_option
def propose_command(run: Path, to: str, frames: int, pick: Literal["even", "doubtful"], as_json: bool) -> None:
    """Write a finished RUN's held-out frames with the teacher's boxes: the draft of a check set for an annotator.

    Images and COCO json, doubtful boxes first, and a README.txt with the steps. culling models check-set reads the
    corrected labels.

    \b
    culling propose runs/demo --to proposals
    culling propose runs/demo --to proposals --frames 20 --pick doubtful
    """
    from dataset_culling.review.proposals import README, propose

    done = propose(run, to, frames=frames, pick=pick)
    if as_json:
        click.echo(json.dumps(done.values()))
        return
    click.echo(
        f"{done.folder}: {done.frames} of {done.of_frames} held-out frames, {done.boxes} boxes, "
        f"{done.doubtful} of them doubtful (by {', '.join(done.known)})"
    )
    click.echo(f"next: {done.folder / README}")
