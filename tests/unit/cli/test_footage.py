from __future__ import annotations

import json
import os
from datetime import date

import pytest
from click.testing import CliRunner

from dataset_culling.cli.footage import footage
from dataset_culling.engine.job import with_days_footage
from dataset_culling.errors import ConfigError, FootageError
from dataset_culling.footage.nightly import day_of, find_footage, with_day
from dataset_culling.pipeline.settings import job_config


@pytest.mark.parametrize(
    ("scheduled_utc", "zone", "day"),
    [
        # 02:12 in Berlin on the 21st: the night is for the 20th. At that moment it is still the 20th in New York.
        ("2026-11-21T01:12:00Z", "Europe/Berlin", date(2026, 11, 20)),
        ("2026-11-21T01:12:00Z", "America/New_York", date(2026, 11, 19)),
        # 00:30 in Tokyo on the 21st is 15:30 in UTC on the 20th.
        ("2026-11-20T15:30:00Z", "Asia/Tokyo", date(2026, 11, 20)),
        # The clocks go back at 03:00 in Berlin on 2026-10-25: both 02:30s are in the night after the 24th.
        ("2026-10-25T00:30:00Z", "Europe/Berlin", date(2026, 10, 24)),
        ("2026-10-25T01:30:00Z", "Europe/Berlin", date(2026, 10, 24)),
        # 00:15 there on the 25th is 22:15 in UTC on the 24th in summer; a day later, in winter, 23:15 is.
        ("2026-10-24T22:15:00Z", "Europe/Berlin", date(2026, 10, 24)),
        ("2026-10-25T23:15:00Z", "Europe/Berlin", date(2026, 10, 25)),
        # The clocks go forward at 02:00 on 2027-03-28: 02:30 does not exist and is started at 03:30, 01:30 in UTC.
        ("2027-03-28T01:30:00+00:00", "Europe/Berlin", date(2027, 3, 27)),
        ("2027-03-01T12:00:00Z", "UTC", date(2027, 2, 28)),
        # 20:00 in UTC is 05:00 on the 21st in Tokyo.
        ("2026-11-20T20:00:00Z", "Asia/Tokyo", date(2026, 11, 20)),
        ("2026-11-20T20:00:00Z", "UTC", date(2026, 11, 19)),
    ],
)
def test_day_of__is_the_day_before_the_start_where_the_camera_stands(scheduled_utc, zone, day):
    assert day_of("", zone, scheduled_utc) == day


def test_day_of__a_day_that_is_given_wins():
    assert day_of("2026-02-28", "Europe/Berlin", "2026-11-21T01:12:00Z") == date(2026, 2, 28)


@pytest.mark.parametrize(
    ("day", "zone", "scheduled_utc", "said"),
    [
        ("20.11.", "UTC", "", "day: expected a date such as 2026-11-20, found '20.11.'"),
        ("2026-02-30", "UTC", "", "found '2026-02-30'"),
        ("", "Europe/Berlln", "", "expected an IANA name .* found 'Europe/Berlln'"),
        ("", "UTC", "{{$.pipeline_job_schedule_time_utc}}", "--scheduled-utc: expected a time"),
        ("", "UTC", "2026-11-21T01:12:00", "--scheduled-utc: expected a time"),  # whose noon is that?
    ],
)
def test_day_of__refused(day, zone, scheduled_utc, said):
    with pytest.raises(ConfigError, match=said):
        day_of(day, zone, scheduled_utc)


def test_with_day__everywhere():
    assert with_day(("s3://a/{day}/{day}.mp4", "/b"), date(2026, 1, 2)) == ("s3://a/2026-01-02/2026-01-02.mp4", "/b")


def test_find_footage__version_changes_with_names_sizes_times_and_the_word(tmp_path):
    for name in ("a.mp4", "b.mp4", "note.txt"):
        (tmp_path / name).write_bytes(b"12")
    first = find_footage([str(tmp_path)])
    assert (first.num_files, first.num_bytes) == (2, 4)
    assert find_footage([str(tmp_path)]) == first
    versions = {first.version, find_footage([str(tmp_path)], fresh="1").version}
    os.utime(tmp_path / "a.mp4", ns=(1, 1))
    versions.add(find_footage([str(tmp_path)]).version)
    (tmp_path / "c.mp4").write_bytes(b"")
    versions.add(find_footage([str(tmp_path)]).version)
    (tmp_path / "note.txt").write_bytes(b"another")  # which is no footage
    assert find_footage([str(tmp_path)]).version in versions
    assert len(versions) == 4


def test_footage__writes_what_kfp_takes(tmp_path):
    (tmp_path / "2026-11-20").mkdir()
    (tmp_path / "2026-11-20" / "a.mp4").write_bytes(b"12")
    sources = json.dumps([f"{tmp_path}/{{day}}/"])
    arguments = ["--sources", sources, "--day=", "--scheduled-utc=2026-11-21T01:12:00Z", "--time-zone=Europe/Berlin"]
    files = ["--found-out", str(tmp_path / "k" / "found"), "--version-out", str(tmp_path / "k" / "version")]
    done = CliRunner().invoke(footage, [*arguments, *files, "--json"], catch_exceptions=False)
    said = json.loads(done.output)
    assert json.loads((tmp_path / "k" / "found").read_text()) == said["sources"] == [f"{tmp_path}/2026-11-20/"]
    assert (tmp_path / "k" / "version").read_text() == said["version"]
    assert sorted(file.name for file in (tmp_path / "k").iterdir()) == ["found", "version"]


def test_footage__version_holds_for_a_week(tmp_path):
    """Artifacts are removed from the store one day, and KFP's cache does not know."""
    (tmp_path / "a.mp4").write_bytes(b"12")

    def version(day: str) -> str:
        arguments = [str(tmp_path), f"--scheduled-utc={day}T01:12:00Z", "--json"]
        return json.loads(CliRunner().invoke(footage, arguments, catch_exceptions=False).output)["version"]

    assert date(2026, 11, 15).toordinal() % 7 == 0
    assert version("2026-11-15") == version("2026-11-21") != version("2026-11-22")


def test_footage__a_day_without_footage_is_said(tmp_path):
    with pytest.raises(FootageError, match="2026-11-19: expected a video"):
        find_footage(with_day([f"{tmp_path}/{{day}}/"], date(2026, 11, 19)))


def test_with_days_footage__a_runs_configuration_says_which_footage_it_was():
    config = job_config("tiny", None, {"extract_frames.sources": ["rec/{day}/*.mp4"]}, ())
    assert with_days_footage(config, "2026-11-20").extract_frames.sources == ("rec/2026-11-20/*.mp4",)
    assert "{day}" not in with_days_footage(config, "").extract_frames.sources[0]


def test_with_days_footage__a_day_that_nobody_asked_for():
    config = job_config("tiny", None, {"extract_frames.sources": ["day.mp4"]}, ())
    assert with_days_footage(config, "") == config
    with pytest.raises(ConfigError, match=r"--day 2026-11-20: no video has \{day\} in its name"):
        with_days_footage(config, "2026-11-20")
