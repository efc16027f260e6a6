"""The page of `culling fleet report`: all cameras, those that need attention first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from dataset_culling.report import words
from dataset_culling.report.charts.by_run import accuracy_by_run, cost_by_run
from dataset_culling.report.charts.nights import MAX_NIGHTS, PANELS, nights_chart
from dataset_culling.report.charts.svg import Chart, Table
from dataset_culling.report.compare_runs import ComparedRun, change
from dataset_culling.report.fleet_cameras import TITLES, Camera, Night, State, in_order, last_promotion
from dataset_culling.report.templating import MAX_PAGE_BYTES, render_page
from dataset_culling.report.words import MISSING, number

MAX_DRAWN = 36
"""Most cameras that are drawn; the tables have all of them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One camera in the table of all cameras, whose columns the template names."""

    name: str
    state: State
    night: str
    page: str
    cells: tuple[str, ...]


def build_fleet_page(
    cameras: Sequence[Camera], *, now: datetime, stale_days: float = 2.0, max_bytes: int = MAX_PAGE_BYTES
) -> str:
    """Build the page as HTML; equal cameras at an equal time give equal text.

    Args:
        cameras: At least one.
        now: Time of the report, with a time zone.
        stale_days: See `state_of`.
        max_bytes: Most bytes of the page in UTF-8; charts, then nights are left out to fit it.

    Raises:
        ValueError: If the table of cameras alone is larger than that.
    """
    ordered = in_order(cameras, now=now, stale_days=stale_days)
    shown = [camera for camera, _ in ordered if camera.nights][:MAX_DRAWN]
    over_nights = [nights_chart(shown[start : start + PANELS], start) for start in range(0, len(shown), PANELS)]
    page = ""
    for drawn, nights in ((MAX_DRAWN, MAX_NIGHTS), (min(PANELS, MAX_DRAWN), 14), (0, 7), (0, 0)):
        page = _render(ordered, shown[:drawn], over_nights[: -(-drawn // PANELS)], now, stale_days, nights)
        if len(page.encode()) <= max_bytes:
            return page
    raise ValueError(f"the page of {len(cameras)} cameras needs {len(page.encode())} bytes, more than {max_bytes}")


def _render(
    ordered: Sequence[tuple[Camera, State]],
    shown: Sequence[Camera],
    over_nights: Sequence[Chart | None],
    now: datetime,
    stale_days: float,
    nights: int,
) -> str:
    latest = [ComparedRun(camera.name, camera.last.summary) for camera in shown if camera.last is not None]
    title = "The latest night, by camera"
    accuracy = [chart for chart in over_nights if chart is not None]
    if (by_camera := accuracy_by_run(latest)) is not None:
        accuracy.append(replace(by_camera, title=title, text="Latest night of every camera. " + by_camera.text))
    cost = cost_by_run(latest)
    return render_page(
        "fleet.html.j2",
        ordered=ordered,
        counts=[(kind, TITLES[kind], sum(state.kind == kind for _, state in ordered)) for kind in TITLES],
        now=f"{now.astimezone(UTC):%Y-%m-%d %H:%M}",
        stale_days=f"{stale_days:g}",
        overview=[overview_row(camera, state) for camera, state in ordered],
        accuracy=accuracy,
        cost=[replace(cost, title=title)] if cost is not None else [],
        num_drawn=len(shown),
        tables=[
            (camera, state, _nights_table(camera, nights), _promotions_table(camera, nights))
            for camera, state in ordered
        ],
        num_nights=sum(len(camera.nights) for camera, _ in ordered),
        total_s=sum(spent for camera, _ in ordered for spent in _spent(camera)),
    )


def overview_row(camera: Camera, state: State) -> Row:
    """Return a camera's row in the table of all cameras."""
    summary = camera.last.summary if camera.last is not None else {}
    moved = MISSING
    if (promotion := last_promotion(camera)) is not None:
        moved = f"{_day(promotion.when)}, version {promotion.version}"
        if promotion.kind == "rollback":
            moved += ", rolled back"
    spent = _spent(camera)
    return Row(
        camera.name,
        state,
        _day(camera.last.when) if camera.last is not None else MISSING,
        camera.last.page if camera.last is not None else "",
        (
            _points(summary, "map_50_raw"),
            _points(summary, "map_50_trained"),
            change(summary).partition(" ")[0] or MISSING,
            _points(summary, "map_50_trained_truth"),
            moved,
            str(len(camera.nights)),
            _seconds(summary),
            words.duration(sum(spent)) if spent else MISSING,
        ),
    )


def _nights_table(camera: Camera, most: int) -> tuple[tuple[Night, tuple[str, ...]], ...]:
    """Return (night, its cells) of the latest `most` nights, latest first; the template names the columns."""
    return tuple(
        (
            night,
            (
                _day(night.when),
                _points(night.summary, "map_50_raw"),
                _points(night.summary, "map_50_trained"),
                change(night.summary) or MISSING,
                _points(night.summary, "map_50_trained_truth"),
                words.count(number(night.summary, "frames_kept") or 0) if "frames_kept" in night.summary else MISSING,
                _seconds(night.summary),
                {True: "yes", False: "no"}.get(night.summary.get("promoted", ""), MISSING),
            ),
        )
        for night in reversed(camera.nights[-most:] if most else ())
    )


def _promotions_table(camera: Camera, most: int) -> Table | None:
    if not camera.promotions or not most:
        return None
    return Table(
        "History of the champion",
        ("When", "Move", "Version", "Reason"),
        tuple(
            (
                _day(move.when),
                "rolled back" if move.kind == "rollback" else "promoted",
                str(move.version) if move.version else "none",
                move.reason,
            )
            for move in reversed(camera.promotions[-most:])
        ),
    )


def _spent(camera: Camera) -> list[float]:
    """Return the seconds of culling, labelling and training of each night where they are known."""
    found = (number(night.summary, "culled_training_seconds") for night in camera.nights)
    return [seconds for seconds in found if seconds is not None]


def _seconds(summary: Mapping[str, Any]) -> str:
    seconds = number(summary, "culled_training_seconds")
    return words.duration(seconds) if seconds is not None else MISSING


def _points(summary: Mapping[str, Any], key: str) -> str:
    value = number(summary, key)
    return words.points(value) if value is not None else MISSING


def _day(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d}"
