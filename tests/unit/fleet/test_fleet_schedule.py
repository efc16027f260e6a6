from datetime import UTC, datetime

import pytest

from dataset_culling.fleet.schedule import next_start, stagger_s


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Berlin: UTC+1; clocks go forward on 2026-03-29 at 01:00 UTC (02:00 -> 03:00) and back on 2026-10-25 at 01:00 UTC.
@pytest.mark.parametrize(
    ("now", "start", "cron"),
    [
        pytest.param("2026-01-10 12:00", "2026-01-11 01:30", "0 30 1 * * *", id="winter"),
        pytest.param("2026-07-10 12:00", "2026-07-11 00:30", "0 30 0 * * *", id="summer"),
        pytest.param("2026-01-10 01:30", "2026-01-11 01:30", "0 30 1 * * *", id="not at this very moment"),
        pytest.param("2026-01-10 01:29", "2026-01-10 01:30", "0 30 1 * * *", id="tonight still"),
        pytest.param("2026-03-28 12:00", "2026-03-29 01:30", "0 30 1 * * *", id="02:30 does not exist: at 03:30"),
        pytest.param("2026-03-29 12:00", "2026-03-30 00:30", "0 30 0 * * *", id="the night after, summer"),
        pytest.param("2026-10-24 12:00", "2026-10-25 00:30", "0 30 0 * * *", id="02:30 comes twice: the first"),
        pytest.param("2026-10-25 00:45", "2026-10-26 01:30", "0 30 1 * * *", id="between the two: not the second"),
        pytest.param("2026-10-25 12:00", "2026-10-26 01:30", "0 30 1 * * *", id="the night after, winter"),
    ],
)
def test_next_start__berlin_at_half_past_two(now, start, cron):
    found = next_start(at(now), "Europe/Berlin", 150)
    assert (found.at_utc, found.cron) == (at(start), cron)


def test_next_start__across_midnight_and_the_date_line():
    tokyo = next_start(at("2026-11-20 12:00"), "Asia/Tokyo", 60)  # 01:00 in UTC+9 is 16:00 the day before
    assert (tokyo.at_utc, tokyo.cron) == (at("2026-11-20 16:00"), "0 0 16 * * *")
    late = next_start(at("2026-11-20 12:00"), "UTC", 23 * 60 + 59, 3599)  # staggered over midnight
    assert (late.at_utc, late.cron) == (at("2026-11-21 00:58:59"), "59 58 0 * * *")
    again = next_start(at("2026-11-21 00:30"), "UTC", 23 * 60 + 59, 3599)  # yesterday's is still to come
    assert again.at_utc == at("2026-11-21 00:58:59")
    chatham = next_start(at("2026-06-20 12:00"), "Pacific/Chatham", 0)  # UTC+12:45
    assert chatham.cron == "0 15 11 * * *"


def test_next_start__needs_a_zoned_present():
    with pytest.raises(ValueError, match="time zone"):
        next_start(datetime(2026, 1, 1), "UTC", 0)


def test_stagger_s__by_name_alone_and_spread_evenly():
    delays = [stagger_s(f"camera-{number}", 3600) for number in range(1000)]
    assert stagger_s("camera-7", 3600) == delays[7] == stagger_s("camera-7", 3600)
    assert all(0 <= delay < 3600 for delay in delays)
    # 1,000 over 60 minutes: 16.7 a minute on average; a hash that clumps would put far more into one.
    assert max(sum(delay // 60 == minute for delay in delays) for minute in range(60)) <= 35
    assert stagger_s("camera-7", 0) == 0
