"""The plots of a reproduction, as SVG files that are readable on light and dark pages.

N = points of a line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dataset_culling.report.charts.svg import PALETTE, WIDE_PX, colour, draw, legend
from experiments.reproduce.arms import ARMS
from experiments.reproduce.claims import LOSS_THRESHOLD, Pick, by_curve, reference_size, sizes_of
from experiments.reproduce.cost import mean, plain_epochs, projected
from experiments.reproduce.results import CurvePoint, Row

MOST_CURVES = 8


def draw_charts(rows: Sequence[Row], curves: Sequence[CurvePoint], frames: int) -> dict[str, str]:
    """File name -> SVG, of every plot that there are figures for."""
    found = {
        "sizes.svg": sizes_chart(rows),
        "arms.svg": arms_chart(rows, frames),
        "cameras.svg": cameras_chart(rows),
        "curves.svg": curves_chart(curves),
    }
    return {name: svg for name, svg in found.items() if svg}


def sizes_chart(rows: Sequence[Row]) -> str:
    """Table 1 as lines: agreement and accuracy over n, the full data set and the untrained student beside them."""
    sizes = sizes_of(rows)
    if len(sizes) < 2:
        return ""
    panels = [("Agreement with the teacher", "agreement"), ("Accuracy against the truth", "accuracy")]
    panels = [panel for panel in panels if any(not math.isnan(getattr(row, panel[1])) for row in rows)]
    groups = list(dict.fromkeys(row.group for row in rows))

    def plot(figure: Figure, narrow: bool) -> None:
        if narrow:  # a file has one width
            figure.set_layout_engine(None)
            return
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False).ravel()
        for (title, what), one in zip(panels, axes, strict=True):
            for group, role in zip(groups, ("trained", "heldout"), strict=False):
                ours = [row for row in rows if row.group == group]
                values = [_mean_points(Pick("confidence+precision", size).of(ours).values(), what) for size in sizes]
                one.plot(sizes, values, color=colour(role), marker="o", label=f"{group}, culled")
                for arm, style in (("full", "--"), ("untrained", ":")):
                    value = _mean_points(Pick(arm).of(ours).values(), what)
                    if not math.isnan(value):
                        one.axhline(value, color=colour(role), linestyle=style, linewidth=1.4, label=f"{group}, {arm}")
            one.set_xscale("log", base=2)
            one.set_xticks(sizes, [str(size) for size in sizes])
            one.minorticks_off()
            one.set_title(title)
            one.set_xlabel("frames trained on")
        axes[0].set_ylabel("mAP@50, points")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)

    return _file("sizes", plot, height_px=380)


def arms_chart(rows: Sequence[Row], frames: int) -> str:
    """Table 2 as points: agreement over the hours that a day would cost."""
    size = reference_size(rows)
    arms = {
        name: list(Pick(name, size if arm.sized else 0).of(rows).values()) for name, arm in ARMS.items() if arm.trains
    }
    common = [{row.camera for row in found} for found in arms.values() if found]
    if len(common) < 2:
        return ""
    cameras = set.intersection(*common)
    epochs = plain_epochs(rows)
    points = []
    for name, found in arms.items():
        here = [row for row in found if row.camera in cameras]
        if here:
            hours = mean(projected(row, frames, epochs=epochs).total_s for row in here) / 3600
            points.append((ARMS[name].title, hours, _mean_points(here, "agreement")))
    if len(points) < 2:
        return ""

    def plot(figure: Figure, narrow: bool) -> None:
        if narrow:  # a file has one width
            figure.set_layout_engine(None)
            return
        axes: Axes = figure.subplots()
        for title, hours, agreement, beside in _labels(points):
            axes.plot([hours], [agreement], marker="o", color=colour("trained"), linestyle="none")
            axes.annotate(title, (hours, agreement), (1.12 * hours, beside), fontsize=10, va="center")
        axes.set_xscale("log")
        axes.margins(x=0.2, y=0.15)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel(f"hours at {frames:,} frames, projected by the cost model")
        axes.set_ylabel("agreement, mAP@50")
        axes.set_title(f"n = {size}")

    return _file("arms", plot, height_px=380)


def _labels(points: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float, float]]:
    """Each point with the height of its label: apart from those of points that cost nearly the same."""
    values = [agreement for _, _, agreement in points]
    apart = max(0.05 * (max(values) - min(values)), 1e-9)
    placed: list[tuple[str, float, float, float]] = []
    for title, hours, agreement in sorted(points, key=lambda point: point[2]):
        near = [beside for _, other, _, beside in placed if abs(math.log10(hours / other)) < 0.3]
        placed.append((title, hours, agreement, max(agreement, *(one + apart for one in near), agreement)))
    return placed


def cameras_chart(rows: Sequence[Row]) -> str:
    """Figure 3 as bars: untrained, trained, trained at the scale that optResolution takes."""
    size = reference_size(rows)
    trained = list(Pick("confidence+precision", size).of(rows).values())
    cameras = list(dict.fromkeys(row.camera for row in trained))
    if not cameras:
        return ""
    smaller = list(Pick("confidence+precision", size, "loss").of(rows).values())
    series = [
        ("untrained", "raw",
         [_mean_points((r for r in trained if r.camera == one), "raw_agreement") for one in cameras]),
        (f"n = {size}", "trained",
         [_mean_points((r for r in trained if r.camera == one), "agreement") for one in cameras]),
        ("with optResolution (loss)", "heldout",
         [_mean_points((r for r in smaller if r.camera == one), "agreement") for one in cameras]),
    ]  # fmt: skip
    series = [one for one in series if any(not math.isnan(value) for value in one[2])]

    def plot(figure: Figure, narrow: bool) -> None:
        if narrow:  # a file has one width
            figure.set_layout_engine(None)
            return
        axes: Axes = figure.subplots()
        wide = 0.8 / len(series)
        for place, (title, role, values) in enumerate(series):
            at = [row - 0.4 + wide * (place + 0.5) for row in range(len(cameras))]
            axes.bar(
                at,
                [0 if math.isnan(value) else value for value in values],
                wide * 0.92,
                color=colour(role),
                label=title,
            )
        axes.set_xticks(range(len(cameras)), cameras)
        axes.set_ylabel("agreement, mAP@50")
        legend(axes, columns=3)

    return _file("cameras", plot, height_px=320)


def curves_chart(curves: Sequence[CurvePoint]) -> str:
    """Figure 4: mAP and the change of the loss over the scale, one panel a camera."""
    found: dict[str, list[CurvePoint]] = {}
    for (camera, _, _), points in by_curve(curves).items():
        found.setdefault(camera, points)
    shown = list(found.items())[:MOST_CURVES]
    if not shown:
        return ""
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)

    def plot(figure: Figure, narrow: bool) -> None:
        if narrow:  # a file has one width
            figure.set_layout_engine(None)
            return
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in grid[len(shown) :]:
            axes.set_visible(False)
        for place, (axes, (camera, points)) in enumerate(zip(grid, shown, strict=False)):
            scales = [point.scale for point in points]
            axes.plot(scales, [100 * point.map_50 for point in points], color=colour("trained"), label="mAP@50")
            axes.invert_xaxis()
            other = axes.twinx()
            other.plot(
                scales,
                [point.loss_change for point in points],
                color=colour("raw"),
                linestyle="--",
                label="loss change",
            )
            other.axhline(LOSS_THRESHOLD, color=colour("muted"), linewidth=1, linestyle=":")
            other.grid(visible=False)
            chosen = next((point for point in points if point.chosen), None)
            if chosen is not None:
                axes.plot([chosen.scale], [100 * chosen.map_50], marker="*", markersize=12, color=colour("warn"))
            axes.set_title(camera)
            if place % columns == 0:
                axes.set_ylabel("mAP@50")
            if place % columns == columns - 1:
                other.set_ylabel("loss change (dashed)")

    return _file("curves", plot, height_px=240 * lines)


def _file(key: str, plot: Callable[[Figure, bool], None], *, height_px: int) -> str:
    """A drawing as a file of its own: the page's colours, by the reader's scheme, are in it."""
    wide, _ = draw(key, plot, height_px=height_px)
    light, dark = ("".join(f"--{role}:{pair[place]};" for role, pair in PALETTE.items()) for place in (0, 1))
    style = (
        f"<style>svg{{{light}background:var(--surface)}}text{{font-family:system-ui,sans-serif}}"
        f"@media (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    )
    head, _, body = wide.partition(">")
    size = f' width="{WIDE_PX}" height="{height_px}"'
    return f"{head}{size}>{style}{body}\n"


def _mean_points(rows: Iterable[Row], what: str) -> float:
    """Mean over cameras, in points; NaN of nothing."""
    by_camera: dict[str, list[float]] = {}
    for row in rows:
        by_camera.setdefault(row.camera, []).append(100 * getattr(row, what))
    return mean(mean(values) for values in by_camera.values())
