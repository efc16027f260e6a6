"""`culling fleet report`: what it finds in folders, and when a run was."""

from __future__ import annotations

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dataset_culling.cli.fleet_report import fleet_report_command
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.fleet.history import find, is_locked, read_cameras, stopped_at, when_of
from page_outline import assert_sound


def reported(*arguments: object) -> str:
    done = CliRunner().invoke(
        fleet_report_command, list(map(str, arguments)), catch_exceptions=False, standalone_mode=False
    )
    return done.output


def finished(folder: Path, **summary: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"map_50_raw": 0.5, "map_50_trained": 0.75, **summary}))
    inner = folder / "tasks" / "render-report" / "report"
    inner.mkdir(parents=True)
    (inner / "summary.json").write_text("{}")  # the artifact's own: no run
    return folder


def moved(registry: Path, camera: str, version: int, when: str) -> None:
    folder = registry / "cameras" / camera
    folder.mkdir(parents=True)
    move = {"number": 1, "kind": "promote", "version": version, "previous": 0, "reason": "better", "moved_utc": when}
    (folder / "champion.json").write_text(json.dumps(move))


def half(folder: Path, camera: str, error: str) -> Path:
    (folder / "tasks" / ".train-student.partial").mkdir(parents=True)
    (folder / "logs").mkdir()
    (folder / "logs" / "train-student.log").write_text(f"epoch 1\nerror: {error}\n")
    (folder / "config.json").write_text(json.dumps({"camera": camera}))
    return folder


def test_find__runs_and_registries_at_any_depth(tmp_path: Path):
    one, two = finished(tmp_path / "gate" / "2026-11-19"), finished(tmp_path / "demo")
    three = half(tmp_path / "gate" / "2026-11-20", "gate", "disk full")
    moved(two / "registry", "demo", 1, "2026-11-19T05:00:00+00:00")
    found = find([str(tmp_path), str(two)])
    assert set(found.runs) == {one, two, three}
    assert found.registries == (str(two / "registry"),)
    with pytest.raises(InputError, match=r"no such folder\. Name a folder with runs"):
        find([str(tmp_path / "nowhere")])


def test_read_cameras__nights_unfinished_runs_and_promotions(tmp_path: Path):
    finished(tmp_path / "gate" / "2026-11-19", camera="gate")
    finished(tmp_path / "gate" / "2026-11-18", camera="gate", footage_start_utc="2026-11-17T22:00:00Z")
    half(tmp_path / "gate" / "2026-11-20", "gate", "disk full")
    moved(tmp_path / "registry", "gate", 7, "2026-11-19T05:00:00+00:00")
    (camera,) = read_cameras([str(tmp_path)], out=tmp_path / "fleet.html")
    assert camera.name == "gate"
    assert [one.when.isoformat() for one in camera.nights] == ["2026-11-17T22:00:00+00:00", "2026-11-19T00:00:00+00:00"]
    assert [one.reason for one in camera.unfinished] == ["train-student: disk full"]
    assert [(move.version, move.reason) for move in camera.promotions] == [(7, "better")]


def test_when_of__summary_then_folder_then_file(tmp_path: Path):
    run = finished(tmp_path / "2026-11-19" / "gate")
    assert when_of(run, {"footage_start_utc": "2026-11-18T23:00:00"}) == datetime(2026, 11, 18, 23, tzinfo=UTC)
    assert when_of(run, {}) == datetime(2026, 11, 19, tzinfo=UTC)
    pool = run / "tasks" / "extract-frames" / "pool"
    pool.mkdir(parents=True)
    (pool / "footage.json").write_text('{"start_utc": "2026-11-19T20:00:00.000Z"}')
    assert when_of(run, {}) == datetime(2026, 11, 19, 20, tzinfo=UTC)
    other = finished(tmp_path / "runs" / "gate-20261399")  # no date
    os.utime(other / "summary.json", (86_400, 86_400))
    assert when_of(other, {"footage_start_utc": "yesterday"}) == datetime(1970, 1, 2, tzinfo=UTC)


def test_stopped_at__a_finished_run_did_not(tmp_path: Path):
    run = finished(tmp_path / "a")
    assert stopped_at(run, finished=True) is None
    assert stopped_at(run, finished=False) == "it stopped between two stages"
    (run / "tasks" / ".score-frames.partial").mkdir()
    assert stopped_at(run, finished=True) == "it stopped in score-frames"


def test_is_locked__while_a_process_holds_it(tmp_path: Path):
    assert not is_locked(tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_fleet_report__page_lines_and_json(tmp_path: Path):
    finished(tmp_path / "runs" / "2026-11-19", camera="gate", promoted=True)
    half(tmp_path / "runs" / "2026-11-20", "court", "disk full")
    out = tmp_path / "fleet.html"
    now = ("--now", "2026-11-19T12:00:00Z")
    lines = reported(tmp_path / "runs", "--out", out, *now).splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["failing", "court"], ["fine", "gate"]]
    assert_sound(out.read_text(encoding="utf-8"))
    values = json.loads(reported(tmp_path / "runs", "--out", out, *now, "--json"))
    assert [(one["camera"], one["state"]) for one in values] == [("court", "failing"), ("gate", "fine")]


def test_fleet_report__mistakes_are_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"no runs \(folders with a summary.json\) and no registry"):
        reported(tmp_path, "--out", tmp_path / "fleet.html")
    with pytest.raises(ConfigError, match="'noon': not a time"):
        reported(tmp_path, "--out", tmp_path / "fleet.html", "--now", "noon")
