"""The page of all cameras: accuracy over the nights, promotions, cost; those that need somebody come first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from dataset_culling.report import words
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend
from dataset_culling.report.compare_page import MAX_PAGE_BYTES, accuracy_by_run, cost_by_run, short
from dataset_culling.report.comparison import MISSING, ComparedRun, change, number
from dataset_culling.report.templating import render_page

PANELS = 12
"""Cameras in one chart of nights."""
MAX_DRAWN = 36
"""Most cameras that are drawn; the tables have them all."""
MAX_NIGHTS = 60
"""Most nights of a camera that are drawn and listed: the latest."""
REFUSALS = 3
"""Nights in a row without a promotion from which a camera is told apart."""

Kind = Literal["failing", "stale", "refused", "fine"]
ORDER: tuple[Kind, ...] = ("failing", "stale", "refused", "fine")
TITLES: Mapping[Kind, str] = {
    "failing": "Failing",
    "stale": "Stale",
    "refused": "Not promoted for long",
    "fine": "Well",
}


@dataclass(frozen=True, slots=True)
class Night:
    """One finished run of a camera, or one version of its registry where the run itself is not at hand."""

    name: str
    when: datetime  # of the footage where that is known, else when the run was written; with a time zone
    summary: Mapping[str, Any]
    page: str = ""  # link to its own page


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run that has not come to its end."""

    name: str
    when: datetime
    running: bool  # a process is at it at this moment
    reason: str  # where it stopped and why, as far as its logs say


@dataclass(frozen=True, slots=True)
class Promotion:
    """One move of a camera's champion pointer."""

    when: datetime
    kind: str  # "promote" or "rollback"
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Camera:
    """What is known of one camera; nights and promotions oldest first."""

    name: str
    nights: tuple[Night, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    promotions: tuple[Promotion, ...] = ()

    @property
    def last(self) -> Night | None:
        """The latest night."""
        return self.nights[-1] if self.nights else None


@dataclass(frozen=True, slots=True)
class State:
    """How a camera is, and why one thinks so."""

    kind: Kind
    reason: str

    @property
    def title(self) -> str:
        """What people call it."""
        return TITLES[self.kind]


def state_of(camera: Camera, *, now: datetime, stale_days: float) -> State:
    """How a camera is; the first that holds of failing, stale, refused, fine.

    Args:
        camera: The camera.
        now: The time of the report, with a time zone.
        stale_days: Days after its latest night from which a camera is stale.

    Returns:
        failing: its latest run stopped on the way, or what it trained is worse than the raw student.
        stale: nothing finished for `stale_days`, or never.
        refused: its last nights, three or more, brought no promotion.
        fine: none of these.
    """
    last = camera.last
    stopped = [one for one in camera.unfinished if not one.running and (last is None or one.when >= last.when)]
    if stopped:
        latest = max(stopped, key=lambda one: one.when)
        return State("failing", f"{latest.name} did not end: {latest.reason}")
    if last is None:
        return State("stale", "no run has ended yet")
    raw, trained = number(last.summary, "map_50_raw"), number(last.summary, "map_50_trained")
    if raw is not None and trained is not None and trained < raw:
        return State(
            "failing",
            f"training made it worse: {words.points(raw)} before, {words.points(trained)} after, in {last.name}",
        )
    age_s = (now - last.when).total_seconds()
    if age_s > stale_days * 86400:
        return State("stale", f"nothing new for {words.duration(age_s)}")
    refused = 0
    for night in reversed(camera.nights):
        if night.summary.get("promoted") is not False:
            break
        refused += 1
    if refused >= REFUSALS:
        return State("refused", f"{refused} nights without a promotion")
    return State("fine", "promoted last night" if last.summary.get("promoted") else "the champion stays")


def in_order(cameras: Sequence[Camera], *, now: datetime, stale_days: float) -> list[tuple[Camera, State]]:
    """Every camera with its state, those that need somebody first, then by name."""
    found = [(camera, state_of(camera, now=now, stale_days=stale_days)) for camera in cameras]
    return sorted(found, key=lambda one: (ORDER.index(one[1].kind), one[0].name))


def last_promotion(camera: Camera) -> Promotion | None:
    """The latest move of the champion pointer: the registry's, else that of the latest night that was promoted."""
    if camera.promotions:
        return camera.promotions[-1]
    for night in reversed(camera.nights):
        if night.summary.get("promoted"):
            version = int(number(night.summary, "promoted_version") or 0)
            return Promotion(night.when, "promote", version, str(night.summary.get("promotion_reason", "")))
    return None


def build_fleet_page(
    cameras: Sequence[Camera], *, now: datetime, stale_days: float = 2.0, max_bytes: int = MAX_PAGE_BYTES
) -> str:
    """The page as HTML; equal cameras at an equal time give equal text.

    Args:
        cameras: At least one.
        now: The time of the report, with a time zone.
        stale_days: See `state_of`.
        max_bytes: Most bytes of the page in UTF-8; charts, then single nights are given up for it.

    Raises:
        ValueError: If not even the table of cameras fits.
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
    spent = [one for camera, _ in ordered for night in camera.nights if (one := _spent(night)) is not None]
    cost = cost_by_run(latest)
    by_camera = accuracy_by_run(latest)
    accuracy = list(over_nights)
    if by_camera is not None:
        accuracy.append(
            dataclasses.replace(
                by_camera, title="The latest night, by camera", text="Latest night of every camera. " + by_camera.text
            )
        )
    return render_page(
        "fleet.html.j2",
        ordered=ordered,
        counts=[(kind, TITLES[kind], sum(state.kind == kind for _, state in ordered)) for kind in ORDER],
        now=f"{now.astimezone(UTC):%Y-%m-%d %H:%M}",
        stale_days=f"{stale_days:g}",
        overview=[overview_row(camera, state) for camera, state in ordered],
        accuracy=[chart for chart in accuracy if chart is not None],
        cost=[dataclasses.replace(cost, title="The latest night, by camera")] if cost is not None else [],
        num_drawn=len(shown),
        tables=[
            (camera, state, nights_table(camera, nights), promotions_table(camera, nights)) for camera, state in ordered
        ],
        num_nights=sum(len(camera.nights) for camera, _ in ordered),
        total_s=sum(spent),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One camera in the table of all; its columns are the template's."""

    name: str
    state: State
    night: str
    page: str
    cells: tuple[str, ...]


def overview_row(camera: Camera, state: State) -> Row:
    """The camera's line in the table of all."""
    summary = camera.last.summary if camera.last is not None else {}
    promotion = last_promotion(camera)
    spent = [one for night in camera.nights if (one := _spent(night)) is not None]
    last_spent = _spent(camera.last) if camera.last is not None else None
    moved = f"{_day(promotion.when)}, version {promotion.version}" if promotion is not None else MISSING
    if promotion is not None and promotion.kind == "rollback":
        moved += ", rolled back"
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
            words.duration(last_spent) if last_spent is not None else MISSING,
            words.duration(sum(spent)) if spent else MISSING,
        ),
    )


def nights_table(camera: Camera, most: int) -> tuple[tuple[Night, tuple[str, ...]], ...]:
    """(night, its cells) of the latest `most` nights, the latest first; the columns are the template's."""
    latest = camera.nights[-most:] if most else ()
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
                words.duration(spent) if (spent := _spent(night)) is not None else MISSING,
                {True: "yes", False: "no"}.get(night.summary.get("promoted", ""), MISSING),
            ),
        )
        for night in reversed(latest)
    )


def promotions_table(camera: Camera, most: int) -> Table | None:
    """The champion's moves, the latest first; None where the registry tells of none."""
    if not camera.promotions or not most:
        return None
    return Table(
        "How the champion came to be",
        ("When", "What", "Version", "Why"),
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


def nights_chart(cameras: Sequence[Camera], start: int) -> Chart | None:
    """mAP@50 of raw and trained student over the nights, a panel for each camera; None where none was judged.

    Args:
        cameras: At most PANELS.
        start: How many cameras are in the charts before.
    """
    judged = [(camera, points) for camera in cameras if (points := _judged(camera))]
    if not judged:
        return None

    def plot(figure: Figure, narrow: bool) -> None:
        columns = 1 if narrow else min(3, len(judged))
        lines = -(-len(judged) // columns)
        axes = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
        for place, (one, (camera, nights)) in enumerate(zip(axes, judged, strict=False)):
            _panel(one, nights)
            one.set_title(short(camera.name, 26), fontweight="bold", pad=26 if place < columns else 8)
        for one in axes[len(judged) :]:
            one.set_visible(False)
        legend(axes[0], columns=3)
        if (marks := axes[0].get_legend()) is not None:  # as wide as a panel; it must not push the others aside
            marks.set_in_layout(False)

    lines = -(-len(judged) // min(3, len(judged)))
    key = f"nights-{start}"
    wide, narrow = draw(key, plot, height_px=36 + 150 * lines, narrow_height_px=36 + 140 * len(judged))
    first, last = start + 1, start + len(cameras)
    latest = [number(nights[-1].summary, "map_50_trained") or 0.0 for _, nights in judged]
    return Chart(
        key,
        "Over the nights" + (f", cameras {first} to {last}" if start or len(cameras) == PANELS else ""),
        "mAP at IoU 0.5 against the teacher, in points, night by night, each on its own held-out frames: a step from "
        "one night to the next is also one of footage. Squares are nights that were promoted. Cameras that need "
        "somebody come first.",
        f"On the latest night the trained students of {words.plural(len(judged), 'camera')} reach "
        f"{words.points(min(latest))}"
        + (f" to {words.points(max(latest))}" if len(latest) > 1 else "")
        + " points of agreement with their teachers.",
        wide,
        narrow,
        Table(
            "Agreement over the nights, mAP@50 in points",
            ("Camera", "Nights", "First", "Latest", "Best", "Promoted"),
            tuple(
                (
                    camera.name,
                    str(len(nights)),
                    *(words.points(one) for one in (values[0], values[-1], max(values))),
                    str(sum(bool(night.summary.get("promoted")) for night in nights)),
                )
                for camera, nights in judged
                for values in ([number(night.summary, "map_50_trained") or 0.0 for night in nights],)
            ),
        ),
    )


def _judged(camera: Camera) -> list[Night]:
    return [night for night in camera.nights[-MAX_NIGHTS:] if number(night.summary, "map_50_trained") is not None]


def _panel(axes: Axes, nights: Sequence[Night]) -> None:
    when = [float(date2num(night.when.astimezone(UTC))) for night in nights]
    trained = [100 * (number(night.summary, "map_50_trained") or 0.0) for night in nights]
    raw = [
        (time, 100 * value)
        for time, night in zip(when, nights, strict=True)
        if (value := number(night.summary, "map_50_raw")) is not None
    ]
    axes.plot([time for time, _ in raw], [value for _, value in raw], "--o", color=colour("raw"), markersize=4,
              markerfacecolor=colour("surface"), linewidth=1.2, label="raw")  # fmt: skip
    axes.plot(when, trained, "-o", color=colour("trained"), markersize=4, linewidth=1.8, label="trained")
    promoted = [place for place, night in enumerate(nights) if night.summary.get("promoted")]
    axes.plot([when[place] for place in promoted], [trained[place] for place in promoted], "s", color="none",
              markeredgecolor=colour("good"), markersize=9, markeredgewidth=1.6, label="promoted")  # fmt: skip
    axes.set_ylim(0, 104)
    span = max(when[-1] - when[0], 1.0)
    axes.set_xlim(when[0] - 0.06 * span, when[0] + 1.06 * span)
    ends = [when[0], when[-1]] if when[-1] - when[0] >= 1 else [when[0]]
    axes.set_xticks(ends, [f"{nights[0].when:%b %d}", f"{nights[-1].when:%b %d}"][: len(ends)])


def _spent(night: Night) -> float | None:
    return number(night.summary, "culled_training_seconds")


def _points(summary: Mapping[str, Any], key: str) -> str:
    value = number(summary, key)
    return words.points(value) if value is not None else MISSING


def _day(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d}"
