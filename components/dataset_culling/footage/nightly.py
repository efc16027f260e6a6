"""The footage of a night: `{day}` in the names of videos, and a version that changes when the files do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dataset_culling.errors import ConfigError, FootageError
from dataset_culling.footage.find import find_sources
from dataset_culling.footage.paths import RemoteVideo

DAY = "{day}"
"""In a source: the day, as 2026-11-20."""


@dataclass(frozen=True, slots=True)
class Footage:
    """Listed footage and its version."""

    sources: tuple[str, ...]
    version: str
    num_files: int
    num_bytes: int


def with_day(sources: Sequence[str], day: date) -> tuple[str, ...]:
    """Replace `{day}` in the sources."""
    return tuple(source.replace(DAY, day.isoformat()) for source in sources)


def day_of(day: str, zone: str, scheduled_utc: str = "") -> date:
    """Return the day of the footage.

    Args:
        day: 2026-11-20; empty: the day before the scheduled start, by the calendar of the zone.
        zone: IANA time zone of the camera.
        scheduled_utc: ISO 8601 with an offset; empty: now.

    Raises:
        ConfigError: If an argument is invalid.
    """
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"time zone: expected an IANA name such as Europe/Berlin, found '{zone}'.") from None
    if day:
        try:
            return datetime.strptime(day, "%Y-%m-%d").date()
        except ValueError:
            raise ConfigError(f"day: expected a date such as 2026-11-20, found '{day}'. Correct it.") from None
    return moment_of(scheduled_utc).astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


def moment_of(scheduled_utc: str) -> datetime:
    """Read an ISO 8601 time with an offset; empty: now."""
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
        The footage; its version is a digest of names, sizes and etags (of local files: times of change).

    Raises:
        FootageError: If a source leads to no file.
        StoreError: If the store cannot be listed.
    """
    rows: list[tuple[str, int, str]] = []
    for source in find_sources(sources):
        if isinstance(source.path, RemoteVideo):
            rows.append((source.name, source.path.num_bytes, source.path.etag))
            continue
        try:
            stat = source.path.stat()
        except OSError as error:
            raise FootageError(f"{source.name}: expected a video, found {error.strerror}. Check the name.") from None
        rows.append((source.name, stat.st_size, str(stat.st_mtime_ns)))
    text = json.dumps([sorted(rows), fresh], ensure_ascii=False, separators=(",", ":"))
    version = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return Footage(tuple(sources), version, len(rows), sum(size for _, size, _ in rows))
