"""`culling fleet report`: nights and promotions of every camera as one page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dataset_culling.cli.command import Command
from dataset_culling.errors import ConfigError
from dataset_culling.fleet.history import parse_moment, read_cameras
from dataset_culling.report.fleet_cameras import in_order
from dataset_culling.storage import is_remote
from dataset_culling.storage.transfer import write_page


@click.command("report", cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, help="Page to write, e.g. fleet.html, or s3://bucket/key.")
@click.option(
    "--stale-days",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Days without a finished run after which a camera is stale.",
)
@click.option("--now", "now_utc", default="", help="Time of the report in UTC, ISO 8601. [default: this moment]")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def fleet_report_command(sources: tuple[str, ...], out: str, stale_days: float, now_utc: str, as_json: bool) -> None:
    """Show all cameras on one page: accuracy over the nights, promotions, cost; failing and stale ones first.

    SOURCE is a folder with runs, at any depth, or the root of a registry (a folder or s3://bucket/prefix). Registries
    inside folders of runs are found, too.

    \b
    culling fleet report runs --out fleet.html
    culling fleet report runs s3://fleet/registry --out fleet.html --stale-days 3
    """
    now = parse_moment(now_utc)
    cameras = read_cameras(sources, out=None if is_remote(out) else Path(out))
    from dataset_culling.report.fleet_page import build_fleet_page, overview_row  # loads matplotlib

    try:
        page = build_fleet_page(cameras, now=now, stale_days=stale_days)
    except ValueError as error:
        raise ConfigError(f"fleet report: {error}. Name fewer folders.") from None
    write_page(out, page)
    ordered = in_order(cameras, now=now, stale_days=stale_days)
    if as_json:
        values = [
            {"camera": camera.name, "state": state.kind, "reason": state.reason, "nights": len(camera.nights),
             "summary": dict(camera.last.summary) if camera.last is not None else None}
            for camera, state in ordered
        ]  # fmt: skip
        click.echo(json.dumps(values, indent=1, sort_keys=True))
        return
    width = max(len(camera.name) for camera in cameras)
    for camera, state in ordered:
        row = overview_row(camera, state)
        before, after, night = (value.replace("–", "-") for value in (*row.cells[:2], row.night))
        click.echo(f"{state.kind:8}  {camera.name:{width}}  {night:10}  {before:>5} -> {after:>5}  {state.reason}")
    click.echo(f"Page  {out}")
