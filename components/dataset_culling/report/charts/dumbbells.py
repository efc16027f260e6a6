"""Dumbbell plot: one row per class or run, from the raw to the trained student, with other models and intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dataset_culling.report.charts.svg import bars_sideways, colour, legend

AGREEMENT, TRUTH = ("Agreement with the teacher", ""), ("Accuracy against the truth", "_truth")
"""(title, suffix of the metrics' names) of the two panels."""
NAMES: Mapping[str, str] = {
    "raw": "raw", "control": "control arm", "champion": "champion", "trained": "trained", "teacher": "teacher",
}  # fmt: skip
"""Display names of the models that metrics are about."""
_MARKS: Mapping[str, dict[str, Any]] = {
    "raw": {"marker": "o", "markeredgecolor": "raw", "color": "surface", "markersize": 11, "markeredgewidth": 2.2},
    "control": {"marker": "^", "markeredgecolor": "muted", "color": "none", "markersize": 7, "markeredgewidth": 1.6},
    "champion": {"marker": "s", "markeredgecolor": "good", "color": "none", "markersize": 8, "markeredgewidth": 1.8},
    "teacher": {"marker": "D", "markeredgecolor": "teacher", "color": "none", "markersize": 7, "markeredgewidth": 1.8},
    "trained": {"marker": "o", "markeredgecolor": "trained", "color": "trained", "markersize": 8},
}
"""Style of each model's marks, from back to front. Shapes differ, so that they can be read without seeing hues."""
LEGEND_COLUMNS = 3


def legend_height(num_marks: int) -> int:
    """Space above a plot for a legend of that many marks in LEGEND_COLUMNS columns, in points."""
    return 8 + 18 * -(-num_marks // LEGEND_COLUMNS)


def dumbbells(axes: Axes, metrics: Mapping[str, float], rows: Sequence[tuple[str, str]], suffix: str) -> None:
    """Draw one dumbbell per row.

    Args:
        axes: Axes to draw on.
        metrics: Values 0..1 under STEM_MODEL, with low_95_ and high_95_ before the name for whiskers.
        rows: (label, stem), from the top.
        suffix: End of the metrics' names: "" for agreement with the teacher, "_truth" for accuracy.
    """
    for place, (_, stem) in enumerate(rows):
        values = {model: metrics.get(f"{stem}_{model}{suffix}") for model in _MARKS if model != "teacher" or suffix}
        raw, trained = values["raw"], values["trained"]
        if raw is not None and trained is not None:
            axes.plot([100 * raw, 100 * trained], [place] * 2, color=colour("line"), linewidth=5, zorder=1,
                      solid_capstyle="round")  # fmt: skip
        for model, below in (("raw", 0.34), ("trained", -0.34)):
            low, high = (metrics.get(f"{end}_95_{stem}_{model}{suffix}") for end in ("low", "high"))
            if low is not None and high is not None:
                axes.plot([100 * low, 100 * high], [place + below] * 2, "-|", color=colour(model), linewidth=1.4,
                          markersize=6, zorder=2)  # fmt: skip
        for layer, (model, value) in enumerate(values.items()):
            if value is not None:
                _mark(axes, model, [100 * value], [place], zorder=3 + layer)
    bars_sideways(axes, [label for label, _ in rows])
    axes.set_xlim(-2, 102)


def dumbbell_legend(axes: Axes, models: Sequence[str], *, columns: int = 0) -> None:
    """Add the legend of `dumbbells` above the plot, in one line unless `columns` is given."""
    marks = [_mark(axes, model, [], [], label=NAMES[model]) for model in models]
    legend(axes, columns=columns or len(marks))


def dumbbell_panels(
    figure: Figure,
    metrics: Mapping[str, float],
    rows: Sequence[tuple[str, str]],
    panels: Sequence[tuple[str, str]],
    models: Sequence[str],
    *,
    narrow: bool,
) -> None:
    """Draw the panels AGREEMENT and, if the truth is known, TRUTH: side by side, or one below the other if narrow.

    Args:
        figure: An empty figure.
        metrics: See `dumbbells`.
        rows: See `dumbbells`.
        panels: AGREEMENT alone, or both.
        models: Models with metrics, without the teacher.
        narrow: For phones.
    """
    shape = (len(panels), 1) if narrow else (1, len(panels))
    axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
    teacher = ["teacher"] if len(panels) == 2 else []
    above = legend_height(len(models) + len(teacher)) if narrow else 26
    for one, (title, suffix) in zip(axes, panels, strict=True):
        dumbbells(one, metrics, rows, suffix)
        one.set_title(title, fontweight="bold", pad=above if one is axes[0] or not narrow else 8)
        one.tick_params(labelbottom=True)
    if narrow:
        dumbbell_legend(axes[0], [*models, *teacher], columns=LEGEND_COLUMNS)
    elif len(panels) == 1:
        dumbbell_legend(axes[0], models)
    else:  # half of the legend above each panel
        students = ("raw", "trained")
        dumbbell_legend(axes[0], [model for model in models if model in students])
        dumbbell_legend(axes[1], [*teacher, *(model for model in models if model not in students)])


def _mark(axes: Axes, model: str, x: list[float], y: list[float], **more: Any) -> Line2D:
    style: dict[str, Any] = {
        key: colour(value) if "color" in key and value != "none" else value for key, value in _MARKS[model].items()
    }
    return axes.plot(x, y, linestyle="none", **style, **more)[0]
