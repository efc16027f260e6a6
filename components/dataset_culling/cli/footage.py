"""`culling footage`: which footage a night has, and what the store holds of it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from dataset_culling.cli.command import Command
from dataset_culling.errors import ConfigError, FootageError, OutputError
from dataset_culling.storage import Stat, is_remote, list_prefix, open_object

DAY = "{day}"
"""In a source: the day, as 2026-11-20."""


@dataclass(frozen=True, slots=True)
class Footage:
    """What `culling footage` says."""

    sources: tuple[str, ...]
    version: str
    num_files: int
    num_bytes: int


def with_day(sources: Sequence[str], day: date) -> tuple[str, ...]:
    """The sources with `{day}` replaced."""
    return tuple(source.replace(DAY, day.isoformat()) for source in sources)


def day_of(day: str, zone: str, scheduled_utc: str = "") -> date:
    """The day that is meant.

    Args:
        day: 2026-11-20; empty: the day before the scheduled start, by the calendar of the zone.
        zone: IANA time zone of the camera.
        scheduled_utc: ISO 8601 with an offset; empty: now.

    Raises:
        ConfigError: If one of them is not such a thing.
    """
    from dataset_culling.fleet.schedule import footage_day

    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"time zone: expected an IANA name such as Europe/Berlin, found '{zone}'. Mend it.") from None
    if day:
        try:
            return datetime.strptime(day, "%Y-%m-%d").date()
        except ValueError:
            raise ConfigError(f"day: expected a date such as 2026-11-20, found '{day}'. Mend it.") from None
    return footage_day(_moment(scheduled_utc), zone)


def _moment(scheduled_utc: str) -> datetime:
    try:
        moment = datetime.fromisoformat(scheduled_utc) if scheduled_utc else datetime.now(UTC)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise ConfigError(
            f"--scheduled-utc: expected a time such as 2026-11-21T01:12:00Z, found '{scheduled_utc}'. "
            f"Pass --day, or leave both out for yesterday."
        )
    return moment


def find_footage(sources: Sequence[str], *, fresh: str = "") -> Footage:
    """List the footage, opening none of it.

    Args:
        sources: Files, folders, globs, s3:// prefixes and patterns, without `{day}`.
        fresh: Part of the version.

    Returns:
        The version is a digest over names, sizes and etags (of files: times of change), so it is another one when a
        file has come, gone or changed.

    Raises:
        FootageError: If a source leads to nothing.
        StoreError: If the store does not say what it holds.
    """
    from dataset_culling.footage.find import find_sources

    stats: dict[str, Stat] = {}

    class Remote:
        """The store, whose answers are kept."""

        def is_remote(self, uri: str) -> bool:
            return is_remote(uri)

        def find(self, uri: str) -> list[tuple[str, int]]:
            here = list_prefix(uri)
            stats.update((stat.uri, stat) for stat in here)
            return [(stat.uri, stat.size) for stat in here]

        def open(self, uri: str) -> BinaryIO:
            return open_object(uri)

    rows: list[tuple[str, int, str]] = []
    for source in find_sources(sources, Remote()):
        if (stat := stats.get(source.name)) is not None:
            rows.append((stat.uri, stat.size, stat.etag))
            continue
        try:
            here = Path(source.name).stat()
        except OSError as error:
            raise FootageError(f"{source.name}: expected a video, found {error.strerror}. Check the name.") from None
        rows.append((source.name, here.st_size, str(here.st_mtime_ns)))
    text = json.dumps([sorted(rows), fresh], ensure_ascii=False, separators=(",", ":"))
    version = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Footage(tuple(sources), version, len(rows), sum(size for _, size, _ in rows))


def _listed(text: str) -> list[str]:
    """KFP's launcher writes a list as JSON."""
    try:
        found: Any = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(f'--sources: expected JSON like ["s3://bucket/prefix/"], found {text}. Mend it.')
    return found


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: expected to write it, found {error.strerror}. Choose another path.") from None


@click.command(cls=Command)
@click.argument("more", nargs=-1, metavar="[SOURCE]...")
@click.option("--sources", default="", metavar="JSON", help="Sources as a JSON list, before the arguments.")
@click.option("--day", default="", help="YYYY-MM-DD for {day}. [default: the day before the start]")
@click.option("--time-zone", default="UTC", show_default=True, help="IANA time zone of the camera.")
@click.option("--scheduled-utc", default="", help="When the run was to start, ISO 8601. [default: now]")
@click.option("--fresh", default="", help="A word that becomes part of the version.")
@click.option("--found-out", type=click.Path(path_type=Path), help="File for the sources with their day, as JSON.")
@click.option("--version-out", type=click.Path(path_type=Path), help="File for the version.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def footage(
    more: tuple[str, ...],
    sources: str,
    day: str,
    time_zone: str,
    scheduled_utc: str,
    fresh: str,
    found_out: Path | None,
    version_out: Path | None,
    as_json: bool,
) -> None:
    """Say which videos SOURCE leads to: how many, how large, and a version: another one when they are others.

    {day} in a source stands for the day before the start, where the camera stands: what a nightly run reads.

    \b
    culling footage segments/
    culling footage 's3://footage/gate/{day}/*.mp4' --time-zone Europe/Berlin
    """
    given = [*(_listed(sources) if sources else ()), *more]
    if not given:
        raise ConfigError("footage: expected a video, folder or s3:// prefix, found none. Name one.")
    # What a run has left in the store is removed after some weeks, but not from KFP's cache, which therefore holds for
    # one week only.
    week = _moment(scheduled_utc).toordinal() // 7
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
