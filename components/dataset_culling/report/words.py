"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

MAX_LISTED = 40
"""Most rows of a list that grows with the footage: files, damaged stretches, entries of one setting."""


def count(number: float) -> str:
    """1234 -> '1,234'."""
    return f"{number:,.0f}"


def points(share: float) -> str:
    """A mAP between 0 and 1 in points of a hundred, as the literature prints it: 0.5861 -> '58.6'."""
    return f"{100 * share:.1f}"


def signed_points(change: float) -> str:
    """0.307 -> '+30.7'; a minus is typeset as one."""
    text = f"{100 * change:+.1f}"
    return text.replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """A length of time in two units at most: 0.42 -> '0.4 s', 155 -> '2 min 35 s', 5000 -> '1 h 23 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if whole < 48 * 3600:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds / 86400:.1f} days"


def times(ratio: float) -> str:
    """How many times: 12.34 -> '12×', 3.21 -> '3.2×', 0.61 -> '0.61×'."""
    digits = 2 if ratio < 1 else 1 if ratio < 10 else 0
    return f"{ratio:,.{digits}f}×"


def mib(value: float) -> str:
    """812.4 -> '812 MiB', 2311.0 -> '2.3 GiB'."""
    return f"{value / 1024:.1f} GiB" if value >= 1024 else f"{value:.0f} MiB"


def clock(time_s: float, start_utc: str = "") -> str:
    """When a frame was: wall clock in UTC where the start is known, else hours, minutes, seconds of the footage."""
    if (start := parse_start(start_utc)) is not None:
        return (start + timedelta(seconds=round(time_s))).strftime("%H:%M:%S")
    hours, rest = divmod(round(time_s), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def parse_start(start_utc: str) -> datetime | None:
    """The start of the footage, or None where it is not known or cannot be read."""
    try:
        return datetime.fromisoformat(start_utc) if start_utc else None
    except ValueError:
        return None


def plural(number: int, one: str, many: str = "") -> str:
    """1 -> '1 frame', 3 -> '3 frames'."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def counted(number: int, name: str) -> str:
    """A count of an artifact's header: (3, 'teacher_boxes') -> '3 teacher boxes', (1, 'shards') -> '1 shard'."""
    plain = name.replace("_", " ")
    return f"{number:,} {plain.removesuffix('s') if number == 1 else plain}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted key, value) rows, as `--set` takes them; long lists are cut."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            more = f" and {len(value) - MAX_LISTED} more" if len(value) > MAX_LISTED else ""
            rows.append((prefix + key, (", ".join(str(one) for one in value[:MAX_LISTED]) or "none") + more))
        else:
            rows.append((prefix + key, str(value) if value != "" else "–"))
    return rows
