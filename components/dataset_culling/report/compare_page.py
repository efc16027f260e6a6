"""The page that shows several runs side by side; see `comparison` for its figures.

R = runs compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dataset_culling.report import words
from dataset_culling.report.charts.run import dumbbell_legend, dumbbells, metric_name
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend
from dataset_culling.report.comparison import (
    MISSING,
    ComparedRun,
    caveats,
    differing_settings,
    headline,
    num_same_settings,
    number,
    points_and_interval,
)
from dataset_culling.report.templating import render_page

MAX_PAGE_BYTES = 1_950_000
"""Below the two million that Kubeflow's page viewer takes."""
MAX_CLASSES = 12
"""Most classes that get a panel; the table has them all."""

SPENT: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("student looks", "passed", ("score-frames", "cull-confidence")),
    ("teacher labels", "labelled", ("label-selection", "cull-precision")),
    ("optResolution", "heldout", ("choose-resolution",)),
    ("training", "kept", ("train-student",)),
)
"""What people call the parts of the cost, their colours, and the tasks that are summed: those of `CULLING_TASKS`."""

MAX_NAMED = 8
"""Most runs that a chart's sentence names one by one."""

_WHO = ("raw", "control", "champion", "trained", "teacher")


def build_comparison_page(runs: Sequence[ComparedRun], *, max_bytes: int = MAX_PAGE_BYTES) -> str:
    """The page as HTML; equal runs give equal text.

    Args:
        runs: In the order in which they are shown; at least one.
        max_bytes: Most bytes of the page in UTF-8.

    Raises:
        ValueError: If the page would be larger than that, which only hundreds of runs can do.
    """
    drawn = (accuracy_by_run(runs), *(ap_by_class(runs, suffix) for suffix in ("", "_truth")))
    differing = differing_settings(runs)
    page = render_page(
        "compare.html.j2",
        runs=runs,
        groups=headline(runs),
        notes=caveats(runs),
        accuracy=[chart for chart in drawn if chart is not None],
        cost=[chart for chart in (cost_by_run(runs),) if chart is not None],
        settings=Table("Settings that differ", ("Key", *(run.name for run in runs)), _rows(differing))
        if differing
        else None,
        num_same=num_same_settings(runs),
    )
    if (size := len(page.encode())) > max_bytes:
        raise ValueError(f"the page of {len(runs)} runs needs {size} bytes, more than {max_bytes}")
    return page


def _rows(named: Sequence[tuple[str, tuple[str, ...]]]) -> tuple[tuple[str, ...], ...]:
    return tuple((key, *values) for key, values in named)


def accuracy_by_run(runs: Sequence[ComparedRun]) -> Chart | None:
    """mAP@50 of raw and trained student run by run, with whoever else was judged and the intervals."""
    judged = [run for run in runs if number(run.summary, "map_50_trained") is not None]
    if not judged:
        return None
    metrics = stacked(judged, {f"run{place}": "map_50" for place in range(len(judged))})
    panels = [("Agreement with the teacher", "")]
    if any(number(run.summary, "map_50_trained_truth") is not None for run in judged):
        panels.append(("Accuracy against the truth", "_truth"))
    whos = _judged_who(judged, "map_50", "")

    truths = ["teacher"] if len(panels) == 2 else []
    above = 8 + 18 * -(-len([*whos, *truths]) // 3)  # points for a legend of three columns

    def plot(figure: Figure, narrow: bool) -> None:
        shape = (len(panels), 1) if narrow else (1, len(panels))
        axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
        rows = [(short(run.name, 14 if narrow else 26), f"run{place}") for place, run in enumerate(judged)]
        for place, ((title, suffix), one) in enumerate(zip(panels, axes, strict=True)):
            dumbbells(one, metrics, rows, suffix)
            one.set_title(title, fontweight="bold", pad=(above if narrow else 26) if place == 0 or not narrow else 8)
            one.tick_params(labelbottom=True)
        if narrow:
            dumbbell_legend(axes[0], [*whos, *truths], columns=3)
        elif len(panels) == 1:
            dumbbell_legend(axes[0], whos)
        else:
            dumbbell_legend(axes[0], [who for who in whos if who in ("raw", "trained")])
            dumbbell_legend(axes[1], [*truths, *(who for who in whos if who not in ("raw", "trained"))])

    height = 84 + 30 * len(judged)
    wide, narrow = draw("by-run", plot, height_px=height, narrow_height_px=len(panels) * (height + 10))
    best = max(judged, key=lambda run: number(run.summary, "map_50_trained") or 0.0)
    columns = [(who, suffix) for _, suffix in panels for who in (*whos, *(["teacher"] if suffix else []))]
    return Chart(
        "by-run",
        "By run",
        "mAP at IoU 0.5 on each run's held-out frames, in points of a hundred; from the raw to the trained student. "
        "Agreement counts the run's own teacher as right, so a weak teacher is easily agreed with. Whiskers, and "
        "numbers in brackets, say where 95 of 100 footages such as this would lie.",
        f"After training, {best.name} agrees best with its teacher, with "
        f"{words.points(number(best.summary, 'map_50_trained') or 0.0)} points"
        + _others([run for run in judged if run is not best]),
        wide,
        narrow,
        Table(
            "mAP@50 by run, in points",
            ("Run", *(f"{who}, {'truth' if suffix else 'agreement'}".capitalize() for who, suffix in columns)),
            tuple(
                (
                    run.name,
                    *(points_and_interval(run.summary, f"map_50_{who}{suffix}") or MISSING for who, suffix in columns),
                )
                for run in judged
            ),
        ),
    )


def _judged_who(runs: Sequence[ComparedRun], stem: str, suffix: str) -> list[str]:
    return [who for who in _WHO if any(number(run.summary, f"{stem}_{who}{suffix}") is not None for run in runs)]


def _others(runs: Sequence[ComparedRun]) -> str:
    """The end of a sentence that says what the others reach: each where they are few, else from where to where."""
    values = [number(run.summary, "map_50_trained") or 0.0 for run in runs]
    if not values:
        return "."
    if len(values) > MAX_NAMED:
        return f"; the {len(values)} others reach {words.points(min(values))} to {words.points(max(values))}."
    named = (f"{words.points(value)} ({run.name})" for value, run in zip(values, runs, strict=True))
    return f"; the others reach {', '.join(named)}."


def ap_by_class(runs: Sequence[ComparedRun], suffix: str = "") -> Chart | None:
    """AP@50 of raw and trained student by class, run by run; None where no run was judged by class.

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
    whos = [who for who in _WHO if any(who in _judged_who(judged, stem, suffix) for _, stem in shown)]
    above = 8 + 18 * -(-len(whos) // 3)

    def plot(figure: Figure, narrow: bool) -> None:
        columns = 1 if narrow else min(3, len(shown))
        lines = -(-len(shown) // columns)
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        rows = [(short(run.name, 14 if narrow else 20), f"run{place}") for place, run in enumerate(judged)]
        for place, (one, (name, stem)) in enumerate(zip(axes, shown, strict=False)):
            dumbbells(one, stacked(judged, {key: stem for _, key in rows}), rows, suffix)
            one.set_title(short(name, 24), fontweight="bold", pad=above if place < columns else 8)
            one.tick_params(labelbottom=True)
        for one in axes[len(shown) :]:
            one.set_visible(False)
        dumbbell_legend(axes[0], whos, columns=3)
        if (marks := axes[0].get_legend()) is not None:  # over the next panel, where there is room beside its title
            marks.set_in_layout(narrow)

    height = 62 + 26 * len(judged)
    lines = -(-len(shown) // min(3, len(shown)))
    key = f"by-class{suffix.replace('_', '-')}"
    wide, narrow = draw(key, plot, height_px=above + height * lines, narrow_height_px=above + height * len(shown))
    left_out = len(stems) - len(shown)
    against = "Accuracy against the truth" if suffix else "Agreement with the teacher"
    return Chart(
        key,
        f"By class: {against.lower()}",
        f"{against} by class, AP at IoU 0.5 on held-out frames, in points. A class that a run does not have, or that "
        "its held-out frames do not show, is left empty."
        + (f" The first {len(shown)} classes are drawn; {left_out} more are in the figures." if left_out else ""),
        "Best trained student by class: "
        + "; ".join(f"{name} {_best(judged, f'{stem}_trained{suffix}')}" for name, stem in shown)
        + ".",
        wide,
        narrow,
        Table(
            f"AP@50 by class, in points: {against.lower()}, raw to trained student",
            ("Class", *(run.name for run in judged)),
            tuple((name, *(_raw_to_trained(run, stem, suffix) for run in judged)) for name, stem in stems.items()),
        ),
    )


def _best(runs: Sequence[ComparedRun], key: str) -> str:
    values = [(value, run.name) for run in runs if (value := number(run.summary, key)) is not None]
    top = max(value for value, _ in values)
    return f"{words.points(top)} ({next(name for value, name in values if value == top)})"


def _raw_to_trained(run: ComparedRun, stem: str, suffix: str) -> str:
    raw, trained = (number(run.summary, f"{stem}_{who}{suffix}") for who in ("raw", "trained"))
    if trained is None:
        return MISSING
    return f"{words.points(raw)} to {words.points(trained)}" if raw is not None else words.points(trained)


def cost_by_run(runs: Sequence[ComparedRun]) -> Chart | None:
    """What every run spent and on what, beside what training on everything would have taken by projection."""
    costed = [run for run in runs if number(run.summary, "culled_training_seconds") is not None]
    if not costed:
        return None
    parts = [(title, role, [_spent(run, tasks) for run in costed]) for title, role, tasks in SPENT]
    full = [number(run.summary, "projected_full_training_seconds") or 0.0 for run in costed]
    longest = max([sum(seconds) for seconds in zip(*(one for _, _, one in parts), strict=True)] + full)
    unit, unit_s = ("hours", 3600.0) if longest >= 7200 else ("minutes", 60.0) if longest >= 120 else ("seconds", 1.0)

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots(2 if narrow else 1, 1 if narrow else 2, sharey=True, squeeze=False).ravel()
        base = [0.0] * len(costed)
        places = range(len(costed))
        for title, role, seconds in parts:
            axes[0].barh(places, [one / unit_s for one in seconds], 0.62, base, color=colour(role), label=title)
            base = [low + one / unit_s for low, one in zip(base, seconds, strict=True)]
        axes[1].barh(places, [one / unit_s for one in full], 0.62, facecolor="none", edgecolor=colour("muted"),
                     hatch="////", linewidth=1.2)  # fmt: skip
        for place, run in enumerate(costed):
            if (ratio := number(run.summary, "projected_full_training_ratio")) is not None:
                axes[1].annotate(words.times(ratio), (full[place] / unit_s, place), xytext=(5, 0), va="center",
                                 textcoords="offset points", fontsize=11)  # fmt: skip
        axes[1].margins(x=0.2)
        names = [short(run.name, 14 if narrow else 26) for run in costed]
        for one, title in zip(axes, ("Spent, as measured", "On everything, projected"), strict=True):
            one.set_title(title, fontweight="bold", pad=44 if one is axes[0] or not narrow else 8)
            _bars_sideways(one, names)
            one.set_xlabel(unit)
        legend(axes[0], columns=2)

    height = 114 + 30 * len(costed)
    wide, narrow = draw("cost-by-run", plot, height_px=height, narrow_height_px=2 * height + 30)
    ratios = [run for run in costed if number(run.summary, "projected_full_training_ratio") is not None]
    spent = [number(run.summary, "culled_training_seconds") or 0.0 for run in costed]
    if len(costed) > MAX_NAMED:
        said = f"{words.duration(min(spent))} to {words.duration(max(spent))}"
    else:
        said = ", ".join(f"{words.duration(one)} ({run.name})" for one, run in zip(spent, costed, strict=True))
    alt = f"Culling, labelling and training took {said}"
    if ratios:
        low, high = (
            words.times(pick(number(run.summary, "projected_full_training_ratio") or 0.0 for run in ratios))
            for pick in (min, max)
        )
        alt += f"; training on everything would take {low if low == high else f'{low} to {high}'} as much by projection"
    return Chart(
        "cost-by-run",
        "By run",
        "Left, what the tasks took that stand in the place of training on everything, as measured. Right, labelling "
        "and training on all frames, by the cost model with the run's own seconds: a projection, not measured. The two "
        "have axes of their own. Seconds of different machines do not compare.",
        f"{alt}.",
        wide,
        narrow,
        Table(
            "Seconds by run",
            ("Run", *(title.capitalize() for title, _, _ in parts), "Spent", "On everything, projected", "Times"),
            tuple(
                (
                    run.name,
                    *(f"{seconds[place]:,.1f}" for _, _, seconds in parts),
                    f"{number(run.summary, 'culled_training_seconds') or 0.0:,.1f}",
                    f"{full[place]:,.1f}" if full[place] else MISSING,
                    words.times(ratio)
                    if (ratio := number(run.summary, "projected_full_training_ratio")) is not None
                    else MISSING,
                )
                for place, run in enumerate(costed)
            ),
        ),
    )


def _spent(run: ComparedRun, tasks: Sequence[str]) -> float:
    seconds = run.summary.get("stage_seconds", {})
    return sum(number(seconds, task) or 0.0 for task in tasks)


def _bars_sideways(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", visible=True)
    axes.grid(axis="y", visible=False)


def stacked(runs: Sequence[ComparedRun], stems: Mapping[str, str]) -> dict[str, float]:
    """One figure of all runs as the metrics of one: for `dumbbells`, whose rows are then runs.

    Args:
        runs: R runs.
        stems: R items in their order: stem in the result -> stem in the run's summary.
    """
    found = {}
    for run, (new, old) in zip(runs, stems.items(), strict=True):
        for who in _WHO:
            for suffix in ("", "_truth"):
                for before in ("", "low_95_", "high_95_"):
                    value = number(run.summary, f"{before}{old}_{who}{suffix}")
                    if value is not None:
                        found[f"{before}{new}_{who}{suffix}"] = value
    return found


def short(name: str, most: int) -> str:
    """A name that fits beside a plot, cut in the middle, as both its ends tell it from others."""
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[: most - 1 - half]}…{name[-half:]}"
