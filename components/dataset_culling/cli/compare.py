"""`culling compare`: several finished runs side by side, in the terminal, as JSON and as one page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dataset_culling.cli.command import Command
from dataset_culling.errors import ConfigError
from dataset_culling.report.compare_runs import as_values
from dataset_culling.report.run_folders import read_runs
from dataset_culling.report.terminal import print_comparison
from dataset_culling.storage import is_remote
from dataset_culling.storage.transfer import write_page


@click.command("compare", cls=Command)
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path))
@click.option("--out", help="Page to write, e.g. compare.html, or s3://bucket/key.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def compare_command(runs: tuple[Path, ...], out: str | None, as_json: bool) -> None:
    """Show several finished runs side by side: nights, strategies, cameras.

    RUN is the folder of a run, or its summary.json. --out also writes the comparison as one page, with charts and links
    to the runs' own pages.

    \b
    culling compare runs/demo runs/night
    culling compare runs/*/ --out compare.html
    culling compare runs/monday runs/tuesday --json
    """
    compared = read_runs(runs, out=Path(out) if out and not is_remote(out) else None)
    if out is not None:
        from dataset_culling.report.compare_page import build_comparison_page  # loads matplotlib

        try:
            page = build_comparison_page(compared)
        except ValueError as error:
            raise ConfigError(f"compare: {error}. Name fewer runs.") from None
        write_page(out, page)
    if as_json:
        click.echo(json.dumps(as_values(compared), indent=1, sort_keys=True))
        return
    print_comparison(compared)
    if out is not None:
        click.echo(f"Page  {out}")
