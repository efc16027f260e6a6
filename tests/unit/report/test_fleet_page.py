"""The page of all cameras: their states and order, and the page itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dataset_culling.report import fleet_page as fleet
from dataset_culling.report.fleet_cameras import (
    Camera,
    Night,
    Promotion,
    Unfinished,
    in_order,
    last_promotion,
    state_of,
)
from dataset_culling.report.fleet_page import build_fleet_page, overview_row
from page_outline import assert_sound

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def night(days_ago: float, trained: float = 0.8, *, promoted: bool = True, **more: Any) -> Night:
    summary = {"map_50_raw": 0.6, "map_50_trained": trained, "promoted": promoted, **more}
    return Night(f"night-{days_ago:g}", NOW - timedelta(days=days_ago), summary, f"runs/{days_ago:g}/report.html")


def kind(camera: Camera, **more: Any) -> str:
    return state_of(camera, now=NOW, stale_days=more.get("stale_days", 2.0)).kind


def stopped(days_ago: float, *, running: bool = False) -> Unfinished:
    return Unfinished("tonight", NOW - timedelta(days=days_ago), running, "train-student: disk full")


def test_state_of__first_that_holds():
    assert kind(Camera("a", (night(1),))) == "fine"
    assert kind(Camera("a", (night(3),))) == "stale"
    assert kind(Camera("a", (night(3),)), stale_days=4.0) == "fine"
    assert kind(Camera("a")) == "stale"
    assert kind(Camera("a", (night(1, 0.5),))) == "failing"
    assert kind(Camera("a", (night(1),), (stopped(0),))) == "failing"
    assert kind(Camera("a", (night(1),), (stopped(0, running=True),))) == "fine"
    assert kind(Camera("a", (night(0),), (stopped(1),))) == "fine"  # it has come to an end since
    refused = tuple(night(3 - day, promoted=False) for day in (0, 1, 2))
    assert kind(Camera("a", refused)) == "refused"
    assert kind(Camera("a", refused[1:])) == "fine"
    assert kind(Camera("a", (*refused, night(0)))) == "fine"


def test_in_order__those_that_need_attention_first():
    cameras = [
        Camera("well", (night(0),)), Camera("old", (night(9),)), Camera("broken", (night(0, 0.1),)),
        Camera("attic", (night(8),)),
    ]  # fmt: skip
    ordered = in_order(cameras, now=NOW, stale_days=2)
    assert [(camera.name, state.kind) for camera, state in ordered] == [
        ("broken", "failing"), ("attic", "stale"), ("old", "stale"), ("well", "fine"),
    ]  # fmt: skip
    assert "60.0 before, 10.0 after" in ordered[0][1].reason


def test_last_promotion__the_registry_goes_before_the_runs():
    nights = (night(2, promoted_version=4), night(1, promoted=False))
    found = last_promotion(Camera("a", nights))
    assert found is not None
    assert (found.version, found.when) == (4, NOW - timedelta(days=2))
    move = Promotion(NOW, "rollback", 3, "it misses dogs")
    assert last_promotion(Camera("a", nights, promotions=(move,))) == move
    assert last_promotion(Camera("a", nights[1:])) is None


def test_overview_row__latest_night_and_sums():
    camera = Camera("a", (night(2, culled_training_seconds=100.0), night(1, 0.75, culled_training_seconds=20.0)))
    row = overview_row(camera, state_of(camera, now=NOW, stale_days=2))
    assert row.night == "2026-11-20"
    assert row.cells == ("60.0", "75.0", "+15.0", "–", "2026-11-20, version 0", "2", "20 s", "2 min")


def test_build_fleet_page__is_sound_and_names_are_escaped():
    cameras = [
        Camera("<gate>", (night(1), night(0, 0.4)), (), (Promotion(NOW, "promote", 1, "<b>"),)),
        Camera("court", (night(0),), (stopped(0),)),
        Camera("attic"),
    ]
    html = build_fleet_page(cameras, now=NOW)
    outline = assert_sound(html)
    assert "<gate>" not in html
    assert "<b>&lt;" not in html
    assert html.index("court") < html.index("attic")
    assert "runs/0/report.html" in outline.links
    assert "chart-nights-0" in outline.ids
    assert "train-student: disk full" in html
    assert build_fleet_page(cameras, now=NOW) == html


def test_build_fleet_page__cameras_without_a_night():
    html = build_fleet_page([Camera("attic")], now=NOW)
    assert_sound(html)
    assert "No run has finished yet." in html


def test_build_fleet_page__gives_up_charts_rather_than_the_limit():
    cameras = [Camera(f"camera-{place:03d}", (night(2), night(1))) for place in range(13)]
    whole = build_fleet_page(cameras, now=NOW)
    assert [name for name in assert_sound(whole).ids if name.startswith("chart-nights")] == [
        "chart-nights-0", "chart-nights-12",
    ]  # fmt: skip
    small = build_fleet_page(cameras, now=NOW, max_bytes=len(whole.encode()) - 1)
    assert "The first 12 cameras" in small
    assert [name for name in assert_sound(small).ids if name.startswith("chart-nights")] == ["chart-nights-0"]
    assert small.count("night-2") == small.count("night-1") == 13


def test_build_fleet_page__five_hundred_cameras_fit_without_charts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fleet, "MAX_DRAWN", 0)
    cameras = [Camera(f"camera-{place:03d}", tuple(night(day) for day in range(7, 0, -1))) for place in range(500)]
    assert_sound(build_fleet_page(cameras, now=NOW))
    with pytest.raises(ValueError, match="the page of 500 cameras needs"):
        build_fleet_page(cameras, now=NOW, max_bytes=10_000)
