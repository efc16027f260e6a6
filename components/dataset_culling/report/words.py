"""Figures as text for readers: counts, points, durations, times of day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

MAX_LISTED = 40
"""Most rows of a list that grows with the footage: files, damaged stretches, entries of one setting."""
MISSING = "\N{EN DASH}"
"""Table cell without a figure."""


def count(num: float) -> str:
    """1234 -> '1,234'."""
    return f"{num:,.0f}"


def points(share: float) -> str:
    """Format a mAP between 0 and 1 in points of a hundred, as the literature prints it: 0.5861 -> '58.6'."""
    return f"{100 * share:.1f}"


def signed_points(change: float) -> str:
    """0.307 -> '+30.7', with a typographic minus sign."""
    return f"{100 * change:+.1f}".replace("-", "\N{MINUS SIGN}")


def number(values: Mapping[str, Any], key: str) -> float | None:
    """Return the number `values[key]`; None if it is missing or not a number."""
    value = values.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def with_interval(show: Callable[[float], str], value: float | None, values: Mapping[str, Any], key: str) -> str:
    """Format `value` with its 95 % interval if known: '81.8 (77.4 to 86.5)'; '' for None.

    Args:
        show: Formats one figure.
        value: Figure of that key, or one derived from several keys.
        values: Metrics or a summary, with the interval in low_95_KEY and high_95_KEY.
        key: Name of the figure.
    """
    if value is None:
        return ""
    low, high = number(values, f"low_95_{key}"), number(values, f"high_95_{key}")
    return show(value) if low is None or high is None else f"{show(value)} ({show(low)} to {show(high)})"


def points_and_interval(values: Mapping[str, Any], key: str) -> str:
    """Format a mAP in points, with its 95 % interval if known; '' if it is missing."""
    return with_interval(points, number(values, key), values, key)


def duration(seconds: float) -> str:
    """Format a length of time in at most two units: 0.42 -> '0.4 s', 155 -> '2 min 35 s', 5000 -> '1 h 23 min'."""
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
    """Format a ratio: 12.34 -> '12×', 3.21 -> '3.2×', 0.61 -> '0.61×'."""
    digits = 2 if ratio < 1 else 1 if ratio < 10 else 0
    return f"{ratio:,.{digits}f}×"


def mib(value: float) -> str:
    """812.4 -> '812 MiB', 2311.0 -> '2.3 GiB'."""
    return f"{value / 1024:.1f} GiB" if value >= 1024 else f"{value:.0f} MiB"


def clock(time_s: float, start_utc: str = "") -> str:
    """Format a frame's time: UTC time of day if the start is known, else h:mm:ss from the start of the footage."""
    if (start := parse_start(start_utc)) is not None:
        return (start + timedelta(seconds=round(time_s))).strftime("%H:%M:%S")
    hours, rest = divmod(round(time_s), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def parse_start(start_utc: str) -> datetime | None:
    """Parse the start of the footage; None if it is unknown or invalid."""
    try:
        return datetime.fromisoformat(start_utc) if start_utc else None
    except ValueError:
        return None


def plural(num: int, one: str, many: str = "") -> str:
    """1 -> '1 frame', 3 -> '3 frames'."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"


def counted(num: int, name: str) -> str:
    """Format a count of an artifact's header: (3, 'teacher_boxes') -> '3 teacher boxes', (1, 'shards') -> '1 shard'."""
    plain = name.replace("_", " ")
    return f"{num:,} {plain.removesuffix('s') if num == 1 else plain}"


def short(name: str, most: int) -> str:
    """Cut a name in the middle to `most` characters, because similar names differ at either end."""
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[: most - 1 - half]}…{name[-half:]}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List nested settings as (dotted key, value) rows, with the keys of `--set`; long lists are cut."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            more = f" and {len(value) - MAX_LISTED} more" if len(value) > MAX_LISTED else ""
            rows.append((prefix + key, (", ".join(str(one) for one in value[:MAX_LISTED]) or "none") + more))
        else:
            rows.append((prefix + key, str(value) if value != "" else MISSING))
    return rows
