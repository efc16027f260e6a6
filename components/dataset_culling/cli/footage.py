"""`culling footage`: list the footage of a night, with a version for KFP's cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, Command, json_option
from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.footage.nightly import day_of, find_footage, moment_of, with_day
from dataset_culling.storage.atomic import replacing


def _listed(text: str) -> list[str]:
    """KFP's launcher writes a list as JSON."""
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(f'--sources: expected JSON like ["s3://bucket/prefix/"], found {text}. Correct it.')
    return found


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: expected to write it, found {error.strerror}. Choose another path.") from None


@click.command(cls=Command)
@click.argument("more", nargs=-1, metavar="[SOURCE]...")
@click.option("--sources", default="", metavar="JSON", help="Sources as a JSON list, before the arguments.")
@click.option("--day", default="", help="YYYY-MM-DD for {day}. [default: the day before the start]")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA time zone of the camera.")
@click.option("--scheduled-utc", default="", help="Scheduled start of the run, ISO 8601. [default: now]")
@click.option("--fresh", default="", help="A word that becomes part of the version.")
@click.option("--found-out", type=PATH, help="File for the sources with their day, as JSON.")
@click.option("--version-out", type=PATH, help="File for the version.")
@json_option
def footage(
    more: tuple[str, ...], sources: str, day: str, time_zone: str, scheduled_utc: str, fresh: str,
    found_out: Path | None, version_out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Say which videos SOURCE leads to: how many, how large, and a version: another one when they are others.

    {day} in a source stands for the day before the start, where the camera stands: what a nightly run reads.

    \b
    culling footage segments/
    culling footage 's3://footage/gate/{day}/*.mp4' --time-zone Europe/Berlin
    """
    given = [*(_listed(sources) if sources else ()), *more]
    if not given:
        raise ConfigError("footage: name a video, a folder or an s3:// prefix.")
    # What a run has left in the store is removed after some weeks, but not from KFP's cache, which therefore holds for
    # one week only.
    week = moment_of(scheduled_utc).toordinal() // 7
    found = find_footage(with_day(given, day_of(day, time_zone, scheduled_utc)), fresh=f"{fresh} {week}")
    if found_out is not None:
        _write(found_out, json.dumps(found.sources))
    if version_out is not None:
        _write(version_out, found.version)
    if as_json:
        said = {"sources": list(found.sources), "version": found.version, "files": found.num_files}
        click.echo(json.dumps({**said, "bytes": found.num_bytes}))
        return
    click.echo(f"{', '.join(found.sources)}: {found.num_files:,} files, {found.num_bytes:,} bytes")
    click.echo(f"version {found.version}")
