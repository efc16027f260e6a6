"""A camera's start: local time of day, in its time zone, as the server's cron in UTC with seconds.

A cron is fixed in UTC, local time is not. So a cron is made for the **next** start, by the offset in force then, and
`culling fleet apply` makes it anew after the clocks change; one apply a day (at noon, say) keeps every night right,
and without it the fleet is an hour off until the next apply. On the nights of the change themselves:

- clocks go forward over the start (02:30 does not exist): it starts as many minutes after the jump, at 03:30;
- clocks go back over it (02:30 comes twice): it starts the first time, once.

Every recurring run begins at its next start and not before, so that a cron laid anew between the two 02:30s does not
start a second run that night.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Start:
    """A camera's next start and the cron that repeats it: `sec min hour * * *`, UTC."""

    at_utc: datetime
    cron: str


def next_start(now_utc: datetime, zone: str, minute_of_day: int, offset_s: int = 0) -> Start:
    """Return the first start after `now_utc`.

    Args:
        now_utc: The present, with a time zone.
        zone: IANA name, for example Europe/Berlin.
        minute_of_day: Local time as minutes after midnight, 0 to 1439.
        offset_s: Seconds by which this camera starts later than that; real seconds, whatever the clocks do.

    Raises:
        ValueError: If `now_utc` has no time zone or a number is out of its range.
        zoneinfo.ZoneInfoNotFoundError: If the zone is unknown.
    """
    if now_utc.tzinfo is None:
        raise ValueError("now_utc must have a time zone")
    if not 0 <= minute_of_day < 1440 or not 0 <= offset_s < DAY_S:
        raise ValueError(f"expected a minute of the day and less than a day's offset, got {minute_of_day}, {offset_s}")
    local = now_utc.astimezone(ZoneInfo(zone)).date()
    # The offset may carry yesterday's start over midnight, and west of Greenwich the local date lags behind.
    candidates = (_start(local + timedelta(days=days), zone, minute_of_day, offset_s) for days in range(-1, 3))
    at = next(start for start in candidates if start > now_utc)
    return Start(at, f"{at.second} {at.minute} {at.hour} * * *")


def _start(day: date, zone: str, minute_of_day: int, offset_s: int) -> datetime:
    # fold=0: the first of two; and before a jump the offset that was in force, which lands as far behind it.
    wall = datetime.combine(day, time(minute_of_day // 60, minute_of_day % 60), tzinfo=ZoneInfo(zone))
    return wall.astimezone(UTC) + timedelta(seconds=offset_s)


def stagger_s(camera: str, spread_s: int) -> int:
    """Return the camera's own delay, from 0 below `spread_s` seconds, by its name: adding cameras moves no other.

    Args:
        camera: The camera's name.
        spread_s: Seconds over which starts of the same time are spread; 0: none.
    """
    if spread_s <= 0:
        return 0
    return int.from_bytes(hashlib.sha256(camera.encode()).digest()[:8], "big") % spread_s
