"""`culling show`: print an artifact."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from dataset_culling.artifacts.header import read_header
from dataset_culling.artifacts.header import verify as verify_artifact
from dataset_culling.cli.command import PATH, Command
from dataset_culling.types import Detections


@click.command(cls=Command)
@click.argument("directory", type=PATH)
@click.option("--rows", default=10, show_default=True, help="Rows of its content to print.")
@click.option("--verify", is_flag=True, help="Check every file's size and hash first.")
@click.option("--json", "as_json", is_flag=True, help="The header, for machines.")
def show(directory: Path, rows: int, verify: bool, as_json: bool) -> None:
    """Print an artifact's header and first rows.

    \b
    culling show runs/demo/tasks/cull-precision/kept
    culling show runs/demo/tasks/label-selection/labels --rows 3 --verify
    """
    from dataset_culling.artifacts.detections import read_detections
    from dataset_culling.artifacts.labels import read_labels
    from dataset_culling.artifacts.selection import read_selection

    header = verify_artifact(directory) if verify else read_header(directory)
    if as_json:
        click.echo(json.dumps(asdict(header), indent=1, sort_keys=True))
        return
    num_bytes = sum(entry["bytes"] for entry in header.files.values())
    click.echo(f"{header.schema}  made by {header.made_by}  {len(header.files)} files, {num_bytes:,} bytes")
    if verify:
        click.echo("every file is as its header says")
    for name, count in header.counts.items():
        click.echo(f"  {name}: {count:,}")
    for name, digest in header.inputs.items():
        click.echo(f"  from {name} {digest[:12]}")
    click.echo(f"  config {json.dumps(header.config, sort_keys=True)}")
    if header.kind == "selection":
        selection = read_selection(directory)
        for rank in range(min(rows, len(selection))):
            click.echo(
                f"  {rank:5}  frame {selection.frame_ids[rank]:>10}  loss {selection.loss[rank]:8.3f}  "
                f"{selection.reasons[rank]}"
            )
    elif header.kind in ("detections", "labels"):
        _show_boxes(read_detections(directory) if header.kind == "detections" else read_labels(directory), rows)
    else:
        for name in header.files:
            if name.endswith(".json"):
                text = (directory / name).read_text(encoding="utf-8").splitlines()
                click.echo("\n".join([f"  {name}:", *(f"    {line}" for line in text[: rows * 3])]))


def _show_boxes(boxes: Detections, rows: int) -> None:
    for row in range(min(rows, len(boxes))):
        image = boxes.image(row)
        found = ", ".join(
            f"{boxes.class_names[int(image.class_ids[k])]} {image.scores[k]:.2f}" for k in range(min(len(image), 6))
        )
        more = f" and {len(image) - 6} more" if len(image) > 6 else ""
        state = found + more if len(image) else ("nothing" if boxes.scored[row] else "not scored")
        click.echo(f"  frame {boxes.frame_ids[row]:>10}  {boxes.time_s[row]:9.1f} s  {state}")
