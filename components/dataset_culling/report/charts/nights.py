"""Chart of the fleet: accuracy of each camera over its nights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure

from dataset_culling.report import words
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend
from dataset_culling.report.fleet_cameras import Camera, Night
from dataset_culling.report.words import number

PANELS = 12
"""Most cameras in one chart."""
MAX_NIGHTS = 60
"""Most nights of a camera that are drawn and listed: the latest."""


def nights_chart(cameras: Sequence[Camera], start: int) -> Chart | None:
    """Draw mAP@50 of raw and trained student over the nights, one panel per camera; None if no night has it.

    Args:
        cameras: At most PANELS.
        start: Number of cameras in the charts before this one.
    """
    judged = [(camera, nights) for camera in cameras if (nights := _judged(camera))]
    if not judged:
        return None
    trained = [[number(night.summary, "map_50_trained") or 0.0 for night in nights] for _, nights in judged]
    wide_columns = min(3, len(judged))

    def plot(figure: Figure, narrow: bool) -> None:
        columns = 1 if narrow else wide_columns
        axes = figure.subplots(-(-len(judged) // columns), columns, sharey=True, squeeze=False).ravel()
        for place, (camera, nights) in enumerate(judged):
            _panel(axes[place], nights, trained[place])
            axes[place].set_title(words.short(camera.name, 26), fontweight="bold", pad=26 if place < columns else 8)
        for one in axes[len(judged) :]:
            one.set_visible(False)
        legend(axes[0], columns=3)
        axes[0].get_legend().set_in_layout(False)  # it is as wide as a panel and must not move the others

    key = f"nights-{start}"
    latest = [values[-1] for values in trained]
    title = "Over the nights"
    if start or len(cameras) == PANELS:
        title += f", cameras {start + 1} to {start + len(cameras)}"
    return Chart(
        key,
        title,
        "mAP at IoU 0.5 against the teacher, in points, night by night, each on its own held-out frames: part of a "
        "step from one night to the next is a difference of footage. Squares are nights that were promoted. Cameras "
        "that need attention come first.",
        f"On the latest night the trained students of {words.plural(len(judged), 'camera')} reach "
        f"{words.points(min(latest))}"
        + (f" to {words.points(max(latest))}" if len(latest) > 1 else "")
        + " points of agreement with their teachers.",
        *draw(
            key,
            plot,
            height_px=36 + 150 * -(-len(judged) // wide_columns),
            narrow_height_px=36 + 140 * len(judged),
        ),
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
                for (camera, nights), values in zip(judged, trained, strict=True)
            ),
        ),
    )


def _judged(camera: Camera) -> list[Night]:
    return [night for night in camera.nights[-MAX_NIGHTS:] if number(night.summary, "map_50_trained") is not None]


def _panel(axes: Axes, nights: Sequence[Night], trained: Sequence[float]) -> None:
    when = [float(date2num(night.when.astimezone(UTC))) for night in nights]
    raw = [
        (time, 100 * value)
        for time, night in zip(when, nights, strict=True)
        if (value := number(night.summary, "map_50_raw")) is not None
    ]
    promoted = [
        (time, 100 * value)
        for time, value, night in zip(when, trained, nights, strict=True)
        if night.summary.get("promoted")
    ]
    axes.plot([time for time, _ in raw], [value for _, value in raw], "--o", color=colour("raw"), markersize=4,
              markerfacecolor=colour("surface"), linewidth=1.2, label="raw")  # fmt: skip
    axes.plot(when, [100 * value for value in trained], "-o", color=colour("trained"), markersize=4, linewidth=1.8,
              label="trained")  # fmt: skip
    axes.plot([time for time, _ in promoted], [value for _, value in promoted], "s", color="none",
              markeredgecolor=colour("good"), markersize=9, markeredgewidth=1.6, label="promoted")  # fmt: skip
    axes.set_ylim(0, 104)
    span = max(when[-1] - when[0], 1.0)
    axes.set_xlim(when[0] - 0.06 * span, when[0] + 1.06 * span)
    ends = [nights[0], nights[-1]] if when[-1] - when[0] >= 1 else [nights[0]]
    axes.set_xticks([when[0], when[-1]][: len(ends)], [f"{night.when:%b %d}" for night in ends])
