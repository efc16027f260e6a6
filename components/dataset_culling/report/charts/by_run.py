"""Charts that compare runs: accuracy by run, AP by class, cost. R = runs compared."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from dataset_culling.report import words
from dataset_culling.report.charts.accuracy import metric_name
from dataset_culling.report.charts.dumbbells import (
    AGREEMENT,
    LEGEND_COLUMNS,
    NAMES,
    TRUTH,
    dumbbell_legend,
    dumbbell_panels,
    dumbbells,
    legend_height,
)
from dataset_culling.report.charts.svg import Chart, Table, bars_sideways, colour, draw, legend
from dataset_culling.report.compare_runs import ComparedRun
from dataset_culling.report.words import MISSING, number

MAX_CLASSES = 12
"""Most classes with a panel; the table has all of them."""
MAX_NAMED = 8
"""Most runs that a chart's sentence names one by one."""
SPENT: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("student scoring", "passed", ("score-frames", "cull-confidence")),
    ("teacher labelling", "labelled", ("label-selection", "cull-precision")),
    ("optResolution", "heldout", ("choose-resolution",)),
    ("training", "kept", ("train-student",)),
)
"""Parts of the cost: (display name, colour role, tasks that are summed), over all tasks of `CULLING_TASKS`."""


def accuracy_by_run(runs: Sequence[ComparedRun]) -> Chart | None:
    """Draw mAP@50 of raw and trained student, other models and intervals by run; None if no run has it."""
    judged = [run for run in runs if number(run.summary, "map_50_trained") is not None]
    if not judged:
        return None
    metrics = _by_row(judged, "map_50")
    has_truth = any(number(run.summary, "map_50_trained_truth") is not None for run in judged)
    panels = [AGREEMENT, TRUTH] if has_truth else [AGREEMENT]
    models = _judged_models(judged, "map_50", "")

    def plot(figure: Figure, narrow: bool) -> None:
        dumbbell_panels(figure, metrics, _rows(judged, 14 if narrow else 26), panels, models, narrow=narrow)

    trained = [number(run.summary, "map_50_trained") or 0.0 for run in judged]
    best = trained.index(max(trained))
    others = [
        (value, run.name) for place, (value, run) in enumerate(zip(trained, judged, strict=True)) if place != best
    ]
    alt = f"After training, {judged[best].name} agrees best with its teacher, with {words.points(trained[best])} points"
    if len(others) > MAX_NAMED:
        alt += f"; the {len(others)} others reach {words.points(min(others)[0])} to {words.points(max(others)[0])}"
    elif others:
        alt += f"; the others reach {', '.join(f'{words.points(value)} ({name})' for value, name in others)}"
    height = 84 + 30 * len(judged)
    columns = [(model, suffix) for _, suffix in panels for model in (*models, *(["teacher"] if suffix else []))]
    return Chart(
        "by-run",
        "By run",
        "mAP at IoU 0.5 on each run's held-out frames, in points of a hundred; from the raw to the trained student. "
        "Agreement counts the run's own teacher as right, so agreeing with a weak teacher is easy. Whiskers, and "
        "numbers in brackets, are 95 % intervals over footage like this.",
        f"{alt}.",
        *draw("by-run", plot, height_px=height, narrow_height_px=len(panels) * (height + 10)),
        Table(
            "mAP@50 by run, in points",
            ("Run", *(f"{model}, {'truth' if suffix else 'agreement'}".capitalize() for model, suffix in columns)),
            tuple(
                (
                    run.name,
                    *(
                        words.points_and_interval(run.summary, f"map_50_{model}{suffix}") or MISSING
                        for model, suffix in columns
                    ),
                )
                for run in judged
            ),
        ),
    )


def ap_by_class(runs: Sequence[ComparedRun], suffix: str = "") -> Chart | None:
    """Draw AP@50 of raw and trained student by class and run; None if no run has it.

    Args:
        runs: The runs.
        suffix: "" for agreement with the teacher, "_truth" for accuracy.
    """
    names = {name: f"ap_50_{metric_name(name)}" for run in runs for name in run.summary.get("classes", ())}
    stems = {
        name: stem
        for name, stem in names.items()
        if any(number(run.summary, f"{stem}_trained{suffix}") is not None for run in runs)
    }
    if not stems:
        return None
    judged = [run for run in runs if any(f"{stem}_trained{suffix}" in run.summary for stem in stems.values())]
    shown = list(stems.items())[:MAX_CLASSES]
    models = [model for model in NAMES if any(model in _judged_models(judged, stem, suffix) for _, stem in shown)]
    above = legend_height(len(models))
    wide_columns = min(3, len(shown))

    def plot(figure: Figure, narrow: bool) -> None:
        columns = 1 if narrow else wide_columns
        axes = figure.subplots(-(-len(shown) // columns), columns, sharex=True, sharey=True, squeeze=False).ravel()
        for place, (one, (name, stem)) in enumerate(zip(axes, shown, strict=False)):
            dumbbells(one, _by_row(judged, stem), _rows(judged, 14 if narrow else 20), suffix)
            one.set_title(words.short(name, 24), fontweight="bold", pad=above if place < columns else 8)
            one.tick_params(labelbottom=True)
        for one in axes[len(shown) :]:
            one.set_visible(False)
        dumbbell_legend(axes[0], models, columns=LEGEND_COLUMNS)
        axes[0].get_legend().set_in_layout(narrow)  # wide: it may extend over the next panel, beside its title

    def best(key: str) -> str:
        values = [(value, run.name) for run in judged if (value := number(run.summary, key)) is not None]
        value, name = max(values, key=lambda one: one[0])
        return f"{words.points(value)} ({name})"

    def raw_to_trained(run: ComparedRun, stem: str) -> str:
        raw, trained = (number(run.summary, f"{stem}_{model}{suffix}") for model in ("raw", "trained"))
        if trained is None:
            return MISSING
        return f"{words.points(raw)} to {words.points(trained)}" if raw is not None else words.points(trained)

    height = 62 + 26 * len(judged)
    key = f"by-class{suffix.replace('_', '-')}"
    against = (TRUTH if suffix else AGREEMENT)[0]
    text = (
        f"{against} by class, AP at IoU 0.5 on held-out frames, in points. A row is empty if the run does not have the "
        "class or its held-out frames do not show it."
    )
    if left_out := len(stems) - len(shown):
        text += f" The first {len(shown)} classes are drawn; {left_out} more are in the figures."
    return Chart(
        key,
        f"By class: {against.lower()}",
        text,
        "Best trained student by class: "
        + "; ".join(f"{name} {best(f'{stem}_trained{suffix}')}" for name, stem in shown)
        + ".",
        *draw(
            key,
            plot,
            height_px=above + height * -(-len(shown) // wide_columns),
            narrow_height_px=above + height * len(shown),
        ),
        Table(
            f"AP@50 by class, in points: {against.lower()}, raw to trained student",
            ("Class", *(run.name for run in judged)),
            tuple((name, *(raw_to_trained(run, stem) for run in judged)) for name, stem in stems.items()),
        ),
    )


def cost_by_run(runs: Sequence[ComparedRun]) -> Chart | None:
    """Draw the measured cost of every run by part, beside the projection for training on everything."""
    costed = [run for run in runs if number(run.summary, "culled_training_seconds") is not None]
    if not costed:
        return None
    parts = [(title, role, [_spent(run, tasks) for run in costed]) for title, role, tasks in SPENT]
    spent = [number(run.summary, "culled_training_seconds") or 0.0 for run in costed]
    full = [number(run.summary, "projected_full_training_seconds") or 0.0 for run in costed]
    ratios = [number(run.summary, "projected_full_training_ratio") for run in costed]
    longest = max([sum(seconds) for seconds in zip(*(one for _, _, one in parts), strict=True)] + full)
    unit, unit_s = ("hours", 3600.0) if longest >= 7200 else ("minutes", 60.0) if longest >= 120 else ("seconds", 1.0)

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots(2 if narrow else 1, 1 if narrow else 2, sharey=True, squeeze=False).ravel()
        base = [0.0] * len(costed)
        places = range(len(costed))
        for title, role, seconds in parts:
            widths = [one / unit_s for one in seconds]
            axes[0].barh(places, widths, 0.62, base, color=colour(role), label=title)
            base = [left + width for left, width in zip(base, widths, strict=True)]
        axes[1].barh(places, [one / unit_s for one in full], 0.62, facecolor="none", edgecolor=colour("muted"),
                     hatch="////", linewidth=1.2)  # fmt: skip
        for place, ratio in enumerate(ratios):
            if ratio is not None:
                axes[1].annotate(words.times(ratio), (full[place] / unit_s, place), xytext=(5, 0), va="center",
                                 textcoords="offset points", fontsize=11)  # fmt: skip
        axes[1].margins(x=0.2)
        for one, title in zip(axes, ("Spent, as measured", "On everything, projected"), strict=True):
            one.set_title(title, fontweight="bold", pad=44 if one is axes[0] or not narrow else 8)
            bars_sideways(one, [words.short(run.name, 14 if narrow else 26) for run in costed])
            one.set_xlabel(unit)
        legend(axes[0], columns=2)

    if len(costed) > MAX_NAMED:
        took = f"{words.duration(min(spent))} to {words.duration(max(spent))}"
    else:
        took = ", ".join(f"{words.duration(one)} ({run.name})" for one, run in zip(spent, costed, strict=True))
    alt = f"Culling, labelling and training took {took}"
    if known := [ratio for ratio in ratios if ratio is not None]:
        low, high = words.times(min(known)), words.times(max(known))
        alt += f"; training on everything would take {low if low == high else f'{low} to {high}'} as much by projection"
    height = 114 + 30 * len(costed)
    return Chart(
        "cost-by-run",
        "By run",
        "Left, the measured seconds of the tasks that replace training on everything. Right, labelling and training on "
        "all frames, by the cost model with the run's own seconds: a projection, not measured. Each has its own axis. "
        "Seconds of different machines are not comparable.",
        f"{alt}.",
        *draw("cost-by-run", plot, height_px=height, narrow_height_px=2 * height + 30),
        Table(
            "Seconds by run",
            ("Run", *(title.capitalize() for title, _, _ in parts), "Spent", "On everything, projected", "Times"),
            tuple(
                (
                    run.name,
                    *(f"{seconds[place]:,.1f}" for _, _, seconds in parts),
                    f"{spent[place]:,.1f}",
                    f"{full[place]:,.1f}" if full[place] else MISSING,
                    words.times(ratio) if (ratio := ratios[place]) is not None else MISSING,
                )
                for place, run in enumerate(costed)
            ),
        ),
    )


def _by_row(runs: Sequence[ComparedRun], stem: str) -> dict[str, float]:
    """Collect one metric of all runs under the stems run0, run1, ..., so that `dumbbells` draws one row per run."""
    return {
        f"{before}run{place}_{model}{suffix}": value
        for place, run in enumerate(runs)
        for model in NAMES
        for suffix in ("", "_truth")
        for before in ("", "low_95_", "high_95_")
        if (value := number(run.summary, f"{before}{stem}_{model}{suffix}")) is not None
    }


def _rows(runs: Sequence[ComparedRun], most: int) -> list[tuple[str, str]]:
    return [(words.short(run.name, most), f"run{place}") for place, run in enumerate(runs)]


def _judged_models(runs: Sequence[ComparedRun], stem: str, suffix: str) -> list[str]:
    return [model for model in NAMES if any(number(run.summary, f"{stem}_{model}{suffix}") is not None for run in runs)]


def _spent(run: ComparedRun, tasks: Sequence[str]) -> float:
    return sum(number(run.summary.get("stage_seconds", {}), task) or 0.0 for task in tasks)
