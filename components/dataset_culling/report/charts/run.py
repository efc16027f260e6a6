"""The page's charts: each a plot by matplotlib, a sentence that says the same, and its figures as a table.

N = frames of the pool, B = bins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dataset_culling.report import words
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend
from dataset_culling.report.gallery import HeldOut
from dataset_culling.report.run_data import Frames, Run, ScaleChoice
from dataset_culling.types import FloatArray

MAX_TABLE_ROWS = 60


def charts(run: Run, heldout: HeldOut) -> dict[str, Chart]:
    """All charts that this run has the figures for, by key."""
    found = (
        accuracy_chart(run.metrics, run.class_names),
        found_over_time(run.heldout, heldout),
        loss_chart(run),
        precision_chart(run),
        timeline_chart(run),
        resolution_chart(run.resolution),
        training_chart(run.training),
    )
    return {chart.key: chart for chart in found if chart is not None}


# --- accuracy -------------------------------------------------------------------------------------------------------


def metric_name(label: str) -> str:
    """A class name as evaluation writes it into a metric's name."""
    return "".join(letter if letter.isalnum() else "_" for letter in label.lower())


_HOUR = re.compile(r"((?:elapsed_)?hour)_(\d+)_map_50_raw")


def accuracy_rows(metrics: Mapping[str, float], class_names: Sequence[str]) -> list[tuple[str, str]]:
    """(label, metric stem) of every figure that was measured, in reading order; hours where there are several."""
    rows = [("all classes", "map_50"), ("all, 50:95", "map_50_95")]
    rows += [(name, f"ap_50_{metric_name(name)}") for name in class_names]
    rows += [(f"{size} objects", f"map_{size}") for size in ("small", "medium", "large")]
    hours = sorted((m[1], int(m[2])) for key in metrics if (m := _HOUR.fullmatch(key)))
    if len(hours) > 1:
        rows += [
            (f"{hour:02d} to {hour + 1:02d} h" if kind == "hour" else f"hour {hour + 1}", f"{kind}_{hour:02d}_map_50")
            for kind, hour in hours
        ]
    return [row for row in rows if any(key.startswith(f"{row[1]}_raw") for key in metrics)]


_STUDENTS = (("raw", "raw"), ("control", "control arm"), ("champion", "champion"), ("trained", "trained"))
"""Who may have been judged, and what people call it."""


def accuracy_chart(metrics: Mapping[str, float], class_names: Sequence[str]) -> Chart | None:
    """The students by class, object size and hour: against the teacher, and against truth where it is known."""
    rows = accuracy_rows(metrics, class_names)
    if not rows:
        return None
    panels = [("Agreement with the teacher", "")]
    if "map_50_raw_truth" in metrics:
        panels.append(("Accuracy against the truth", "_truth"))
    judged = [(who, title) for who, title in _STUDENTS if f"map_50_{who}" in metrics]
    has_intervals = "low_95_map_50_trained" in metrics

    def plot(figure: Figure, narrow: bool) -> None:
        shape = (len(panels), 1) if narrow else (1, len(panels))
        axes = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
        for (title, suffix), one in zip(panels, axes, strict=True):
            dumbbells(one, metrics, rows, suffix)
            one.set_title(title, fontweight="bold", pad=26 if one is axes[0] or not narrow else 8)
        if narrow and len(panels) == 2:
            axes[1].tick_params(labelbottom=True)
            axes[0].tick_params(labelbottom=True)
        whos = [who for who, _ in judged]
        if narrow or len(panels) == 1:
            dumbbell_legend(axes[0], [*whos, *(["teacher"] if len(panels) == 2 else [])])
        else:  # the two panels' legends side by side
            dumbbell_legend(axes[0], [who for who in whos if who in ("raw", "trained")])
            dumbbell_legend(axes[1], ["teacher", *(who for who in whos if who not in ("raw", "trained"))])

    height = 66 + 26 * len(rows)
    wide, narrow = draw("accuracy", plot, height_px=height, narrow_height_px=height * len(panels) + 10 * len(panels))
    names = [f"{who}{suffix}" for _, suffix in panels for who, _ in judged]
    titles = [title.capitalize() for _, title in judged]
    if len(panels) == 2:
        names.append("teacher_truth")
        titles = [f"{title}, {what}" for what in ("agreement", "truth") for title in titles] + ["Teacher, truth"]
    raw, trained = metrics.get("map_50_raw", 0.0), metrics.get("map_50_trained", 0.0)
    alt = f"mAP at IoU 0.5 against the teacher goes from {words.points(raw)} to {words.points(trained)}."
    if "map_50_champion" in metrics:
        alt += f" The deployed champion has {words.points(metrics['map_50_champion'])}."
    if len(panels) == 2:
        alt += (
            f" Against the truth it goes from {words.points(metrics['map_50_raw_truth'])} to "
            f"{words.points(metrics.get('map_50_trained_truth', 0.0))}; the teacher has "
            f"{words.points(metrics.get('map_50_teacher_truth', 0.0))}."
        )
    text = (
        "Average precision at IoU 0.5 on the held-out frames, in points of a hundred; 50:95 is COCO's mean over "
        "stricter overlaps. Agreement counts the teacher as right. "
    )
    if len(panels) == 2:
        text += "Here the true boxes are known too, so accuracy stands beside it, the teacher's own among it. "
    text += "Objects are small below 32² px, large from 96² px (COCO)."
    if has_intervals:
        text += (
            " Whiskers, and numbers in brackets, say where 95 of 100 footages such as this would lie (block bootstrap)."
        )
    return Chart(
        "accuracy",
        "By class, object size and hour" if "hour" in rows[-1][1] else "By class and by object size",
        text,
        alt,
        wide,
        narrow,
        Table(
            "Average precision on held-out frames, in points",
            ("", *titles),
            tuple(
                (label, *(_points_and_interval(metrics, f"{stem}_{name}") for name in names)) for label, stem in rows
            ),
        ),
    )


def _points_and_interval(metrics: Mapping[str, float], key: str) -> str:
    if key not in metrics:
        return "–"
    low, high = metrics.get(f"low_95_{key}"), metrics.get(f"high_95_{key}")
    shown = words.points(metrics[key])
    return shown if low is None or high is None else f"{shown} ({words.points(low)} to {words.points(high)})"


_MARKS: Mapping[str, dict[str, Any]] = {
    "raw": {"marker": "o", "markeredgecolor": "raw", "color": "surface", "markersize": 11, "markeredgewidth": 2.2},
    "control": {"marker": "^", "markeredgecolor": "muted", "color": "none", "markersize": 7, "markeredgewidth": 1.6},
    "champion": {"marker": "s", "markeredgecolor": "good", "color": "none", "markersize": 8, "markeredgewidth": 1.8},
    "teacher": {"marker": "D", "markeredgecolor": "teacher", "color": "none", "markersize": 7, "markeredgewidth": 1.8},
    "trained": {"marker": "o", "markeredgecolor": "trained", "color": "trained", "markersize": 8},
}
"""How each is drawn, the undermost first; shapes differ, so that hues need not be seen."""


def _mark(axes: Axes, who: str, x: list[float], y: list[float], **more: Any) -> Line2D:
    style: dict[str, Any] = {
        key: colour(value) if "color" in key and value != "none" else value for key, value in _MARKS[who].items()
    }
    return axes.plot(x, y, linestyle="none", **style, **more)[0]


def dumbbells(axes: Axes, metrics: Mapping[str, float], rows: Sequence[tuple[str, str]], suffix: str) -> None:
    """From the raw to the trained student, row by row, with whoever else was judged and the whiskers.

    Args:
        axes: Where to draw.
        metrics: STEM_WHO, with low_95_ and high_95_ before it for whiskers.
        rows: (label, stem), from the top.
        suffix: Of the metrics' names: "" for agreement with the teacher, "_truth".
    """
    for place, (_, stem) in enumerate(rows):
        ends = [metrics.get(f"{stem}_{who}{suffix}") for who in ("raw", "trained")]
        if ends[0] is not None and ends[1] is not None:
            axes.plot([100 * ends[0], 100 * ends[1]], [place] * 2, color=colour("line"), linewidth=5, zorder=1,
                      solid_capstyle="round")  # fmt: skip
        for who, below in (("raw", 0.34), ("trained", -0.34)):
            limits = [metrics.get(f"{end}_95_{stem}_{who}{suffix}") for end in ("low", "high")]
            if limits[0] is not None and limits[1] is not None:
                axes.plot([100 * limits[0], 100 * limits[1]], [place + below] * 2, "-|", color=colour(who),
                          linewidth=1.4, markersize=6, zorder=2)  # fmt: skip
        for layer, who in enumerate(_MARKS):
            value = metrics.get(f"{stem}_{who}{suffix}") if who != "teacher" or suffix else None
            if value is not None:
                _mark(axes, who, [100 * value], [place], zorder=3 + layer)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.grid(axis="x", visible=True)
    axes.grid(axis="y", visible=False)


def dumbbell_legend(axes: Axes, whos: Sequence[str], *, columns: int = 0) -> None:
    """What the marks of `dumbbells` mean, above the plot; in one line unless `columns` says otherwise."""
    titles = dict(_STUDENTS)
    marks = [_mark(axes, who, [], [], label=titles.get(who, who)) for who in whos]
    legend(axes, columns=columns or len(marks), above=1.0)


def found_over_time(frames: Frames, heldout: HeldOut) -> Chart | None:
    """Share of the teacher's boxes that raw and trained student find, along the held-out footage."""
    wanted = heldout.raw.found + heldout.raw.missed
    if len(frames) < 2 or not wanted.sum():
        return None
    edges = _time_edges(frames.time_s, 12)
    place = np.clip(np.searchsorted(edges, frames.time_s, side="right") - 1, 0, len(edges) - 2)
    total, raw, trained = (
        np.bincount(place, weights=part, minlength=len(edges) - 1)
        for part in (wanted, heldout.raw.found, heldout.trained.found)
    )
    some = total > 0
    middle = (edges[:-1] + edges[1:]) / 2

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        for who, found, mark in (("raw", raw, "o"), ("trained", trained, "s")):
            axes.plot(middle[some], 100 * found[some] / total[some], f"-{mark}", color=colour(who), markersize=5,
                      label=f"{who} student")  # fmt: skip
        axes.set_ylim(0, 102)
        axes.set_ylabel("found, %")
        _time_axis(axes, frames.start_utc, narrow)
        legend(axes, columns=2)

    wide, narrow = draw("found", plot, height_px=220)
    share_raw, share_trained = raw.sum() / total.sum(), trained.sum() / total.sum()
    return Chart(
        "found",
        "Over the held-out time",
        "Share of the teacher's boxes that the student finds at IoU 0.5, along the held-out footage. Neighbouring "
        "frames resemble each other, so one dip is one event, not a trend.",
        f"Over all held-out footage the raw student finds {100 * share_raw:.0f} % of the teacher's boxes, the trained "
        f"student {100 * share_trained:.0f} %.",
        wide,
        narrow,
        Table(
            "Teacher's boxes found, by time",
            ("From", "Teacher's boxes", "Found by raw", "Found by trained"),
            tuple(
                (words.clock(edges[row], frames.start_utc), words.count(total[row]), words.count(raw[row]),
                 words.count(trained[row]))
                for row in np.flatnonzero(some)
            ),
        ),
    )  # fmt: skip


# --- culling --------------------------------------------------------------------------------------------------------


def loss_chart(run: Run) -> Chart | None:
    """How hard the pool's frames are for the student, and where the confidence cull cut."""
    if run.pool_loss is None or len(run.selection) == 0:
        return None
    kept = np.isin(run.pool.frame_ids, run.kept.frame_ids)
    labelled = np.isin(run.pool.frame_ids, run.selection.frame_ids) & ~kept
    cut = float(run.selection.loss.min())
    return _cut_histogram(
        "losses",
        "How hard every frame is",
        run.pool_loss,
        (
            ("passed over", "passed", ~kept & ~labelled),
            ("labelled, left out", "labelled", labelled),
            ("kept for training", "kept", kept),
        ),
        cut,
        f"loss by the strategy “{run.selected_by}”",
        f"The loss of all {len(run.pool):,} frames of the pool, from the raw student's boxes alone. The cut is the "
        f"least loss that was kept; right of it, a bar's colour says whether the precision cull kept the frames too. "
        + _spared(run.pool_loss[~kept & ~labelled], cut),
        f"{words.plural(len(run.selection), 'frame')} of {len(run.pool):,}, with losses from {cut:.3g} up, went to the "
        f"teacher; {len(run.kept):,} of them were kept for training.",
    )


def precision_chart(run: Run) -> Chart | None:
    """How much student and teacher disagree on labelled frames, and where the precision cull cut."""
    if run.label_loss is None or len(run.kept) == 0:
        return None
    kept = np.isin(run.labels.frame_ids, run.kept.frame_ids)
    cut = float(run.kept.loss.min())
    return _cut_histogram(
        "precision",
        "How wrong the student is on labelled frames",
        run.label_loss,
        (("left out", "labelled", ~kept), ("kept for training", "kept", kept)),
        cut,
        f"loss by the strategy “{run.kept_by}”",
        "The loss of every frame that the teacher labelled, from the raw student's boxes against the teacher's: the "
        "worse the student, the larger. " + _spared(run.label_loss[~kept], cut),
        f"{words.plural(len(run.kept), 'frame')} of {len(run.labels):,} labelled, with losses from {cut:.3g} up, were "
        f"kept for training.",
    )


def _spared(left_out: FloatArray, cut: float) -> str:
    """Why frames above the cut were left out all the same, where there are any."""
    num = int((left_out > cut).sum())
    if not num:
        return ""
    were = "was" if num == 1 else "were"
    return f"{words.plural(num, 'harder frame')} {were} left out for being too close in time to one kept."


def _cut_histogram(
    key: str,
    title: str,
    loss: FloatArray,
    parts: Sequence[tuple[str, str, npt.NDArray[np.bool_]]],
    cut: float,
    label: str,
    text: str,
    alt: str,
) -> Chart:
    # The hardest hundredth can lie far out and would squeeze all else into a few bars; it goes into the last bar.
    top = float(np.quantile(loss, 0.995)) if len(loss) > 200 else float(loss.max())
    low = float(loss.min())
    edges = np.linspace(low, max(top, cut, low + 1e-9), 41)
    shown = np.clip(loss, edges[0], edges[-1])
    counts = [np.histogram(shown[mask], edges)[0] for _, _, mask in parts]

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        base = np.zeros(len(edges) - 1)
        for (name, role, _), height in zip(parts, counts, strict=True):
            axes.bar(edges[:-1], height, np.diff(edges) * 0.86, base, align="edge", color=colour(role), label=name)
            base += height
        axes.axvline(cut, color=colour("warn"), linewidth=1.6, linestyle=(0, (4, 3)))
        right = cut < edges[0] + 0.7 * (edges[-1] - edges[0])
        axes.annotate(f"cut at {cut:.3g}", (cut, 1), xycoords=("data", "axes fraction"), color=colour("warn"),
                      xytext=(6 if right else -6, -4), textcoords="offset points", va="top",
                      ha="left" if right else "right", fontsize=11)  # fmt: skip
        axes.set_xlabel(label)
        axes.set_ylabel("frames")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(y=0.14)  # room for the word above the bars
        legend(axes, columns=2 if narrow else 3)

    wide, narrow = draw(key, plot, height_px=260, narrow_height_px=280)
    step = 2
    table_rows = []
    for start in range(0, len(edges) - 1, step):
        sums = [int(one[start : start + step].sum()) for one in counts]
        table_rows.append((f"{edges[start]:.3g} to {edges[start + step]:.3g}", *(words.count(one) for one in sums)))
    columns = ("Loss", *(name.capitalize() for name, _, _ in parts))
    return Chart(key, title, text, alt, wide, narrow, Table(title + ", frames by loss", columns, tuple(table_rows)))


def timeline_chart(run: Run) -> Chart:
    """What became of the frames along the footage: passed over, labelled, kept, held out."""
    pool, heldout = run.pool, run.heldout
    kept = np.isin(pool.frame_ids, run.kept.frame_ids)
    labelled = np.isin(pool.frame_ids, run.selection.frame_ids) & ~kept
    everything = np.concatenate([pool.time_s, heldout.time_s])
    edges = _time_edges(everything, 48)
    parts = (
        ("passed over", "passed", pool.time_s[~kept & ~labelled]),
        ("labelled, left out", "labelled", pool.time_s[labelled]),
        ("kept for training", "kept", pool.time_s[kept]),
        ("held out", "heldout", heldout.time_s),
    )
    counts = [np.histogram(times, edges)[0] for _, _, times in parts]

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        base = np.zeros(len(edges) - 1)
        for (name, role, _), height in zip(parts, counts, strict=True):
            axes.bar(edges[:-1], height, np.diff(edges) * 0.86, base, align="edge", color=colour(role), label=name)
            base += height
        for start_s, end_s in _stretches(pool.footage.get("missing_stretches_s")):
            axes.axvspan(start_s, end_s, facecolor="none", edgecolor=colour("line"), hatch="///", linewidth=0)
        damaged = [
            (float(one["start_s"]), float(one["end_s"])) for one in pool.footage.get("damaged_stretches", ())
            if isinstance(one, Mapping) and "start_s" in one and "end_s" in one
        ]  # fmt: skip
        if damaged:
            middle = [(start_s + end_s) / 2 for start_s, end_s in damaged]
            axes.plot(middle, np.zeros(len(middle)), "v", color=colour("warn"), markersize=7, clip_on=False,
                      label="damaged footage", zorder=5)  # fmt: skip
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylabel("frames")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        _time_axis(axes, pool.start_utc, narrow)
        legend(axes, columns=2 if narrow else 5)

    wide, narrow = draw("timeline", plot, height_px=250, narrow_height_px=290)
    busiest = int(np.argmax(counts[2]))
    grouped = [np.add.reduceat(one, np.arange(0, len(one), 2)) for one in counts]
    return Chart(
        "timeline",
        "Where in the footage the frames come from",
        "Frames along the footage. The held-out part lies after the rest, with a gap between, so that no frame has a "
        "near-twin among those trained on. Hatched stretches are missing from the footage.",
        f"The {len(run.kept):,} kept frames come from {int((counts[2] > 0).sum())} of {len(edges) - 1} equal "
        f"stretches; most of them ({int(counts[2][busiest])}) from around "
        f"{words.clock(edges[busiest], pool.start_utc)}.",
        wide,
        narrow,
        Table(
            "Frames along the footage",
            ("From", *(name.capitalize() for name, _, _ in parts)),
            tuple(
                (words.clock(edges[2 * row], pool.start_utc), *(words.count(one[row]) for one in grouped))
                for row in range(len(grouped[0]))
            ),
        ),
    )


# --- resolution and training ----------------------------------------------------------------------------------------


def resolution_chart(choice: ScaleChoice) -> Chart | None:
    """The paper's Figure 4: accuracy where measured, change of the confidence loss, and cost, by input size."""
    if not choice.curve:
        return None
    curve = sorted(choice.curve, key=lambda point: point.scale)
    scale = [point.scale for point in curve]
    measured = [point for point in curve if point.map_50 >= 0]

    def plot(figure: Figure, narrow: bool) -> None:
        panels: list[tuple[str, list[float], list[float]]] = []
        if measured:
            panels.append(
                ("mAP@50 of the raw student", [p.scale for p in measured], [100 * p.map_50 for p in measured])
            )
        panels.append(("change of the confidence loss", scale, [p.loss_change for p in curve]))
        panels.append(("GFLOPs per image", scale, [p.gflops for p in curve]))
        columns = 1 if narrow else len(panels)
        axes = figure.subplots(len(panels) // columns, columns, sharex=True, squeeze=False).ravel()
        for one, (title, x, y) in zip(axes, panels, strict=True):
            one.plot(x, y, "-o", color=colour("muted"), markersize=4, linewidth=1.6)
            chosen = min(range(len(x)), key=lambda row: abs(x[row] - choice.scale))
            one.plot([x[chosen]], [y[chosen]], "*", color=colour("kept"), markersize=17, zorder=5)
            one.set_title(title)
            one.set_ylim(0, max(max(y), 1e-9) * 1.15)
            if title.startswith("change") and choice.judge == "loss":
                one.set_ylim(0, max(*y, choice.threshold, 1e-9) * 1.15)
                one.axhline(choice.threshold, color=colour("warn"), linewidth=1.4, linestyle=(0, (4, 3)))
                one.annotate("threshold", (1, choice.threshold), xycoords=("axes fraction", "data"), va="bottom",
                             ha="right", color=colour("warn"), fontsize=11, xytext=(0, 2),
                             textcoords="offset points")  # fmt: skip
            if columns > 1 or one is axes[-1]:
                one.set_xlabel("scale")
            one.xaxis.set_major_locator(MaxNLocator(5))
            one.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))

    num_panels = 3 if measured else 2
    wide, narrow = draw("resolution", plot, height_px=230, narrow_height_px=175 * num_panels)
    return Chart(
        "resolution",
        "Resolution against cost",
        (
            "optResolution makes the image smaller step by step and stops before the student's confidence loss on the "
            "kept frames changes by more than the threshold. The star is the chosen size."
            if choice.judge == "loss"
            else "optResolution looks at labelled frames at several sizes and takes the smallest whose agreement with "
            "the teacher is within a tolerance of the best one's. The star is the chosen size."
        ),
        f"Chosen: {choice.scale:.2f} of full size, {choice.side_px} instead of {choice.full_side_px} px on the short "
        f"side, {choice.gflops_chosen:.3g} instead of {choice.gflops_full:.3g} GFLOPs per image.",
        wide,
        narrow,
        Table(
            "Tried input sizes",
            ("Scale", "Short side, px", "Change of loss", "GFLOPs per image", "mAP@50, raw student"),
            tuple(
                (f"{point.scale:.3f}", str(point.side_px), f"{point.loss_change:.4f}", f"{point.gflops:.3g}",
                 words.points(point.map_50) if point.map_50 >= 0 else "–")
                for point in reversed(curve)
            ),
        ),
    )  # fmt: skip


def training_chart(training: Mapping[str, object]) -> Chart | None:
    """The losses of training by epoch."""
    losses = training.get("losses")
    if not isinstance(losses, Sequence) or not losses:
        return None
    names = [str(name) for name in losses[0]]
    values = np.array([[float(epoch[name]) for name in names] for epoch in losses])
    total = values.sum(axis=1)
    epochs = np.arange(1, len(total) + 1)

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        marks = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)))
        for column, name in enumerate(names if len(names) > 1 else []):
            axes.plot(epochs, values[:, column], color=colour("muted"), linewidth=1.4,
                      linestyle=marks[column % len(marks)], label=_spaced(name))  # fmt: skip
        one_dot = "o" if len(total) == 1 else None
        axes.plot(epochs, total, color=colour("trained"), linewidth=2.6, label="total", marker=one_dot)
        axes.set_ylim(0, float(total.max()) * 1.05 or 1.0)
        axes.set_xlabel("epoch")
        axes.set_ylabel("mean loss")
        axes.xaxis.set_major_locator(MaxNLocator(6 if narrow else 10, integer=True))
        legend(axes, columns=2 if narrow else 6)

    extra = 18 * ((len(names) + 1) // 2)
    wide, narrow = draw("training", plot, height_px=240, narrow_height_px=230 + extra)
    shown = _thinned(len(total), MAX_TABLE_ROWS)
    return Chart(
        "training",
        "Training losses",
        "Mean loss of each epoch on the kept frames, in all and by part. It says whether training went well, not how "
        "good the student is; the held-out figures do that.",
        f"The total loss goes from {total[0]:.3g} in the first to {total[-1]:.3g} in the last of {len(total)} epochs.",
        wide,
        narrow,
        Table(
            "Mean loss by epoch",
            ("Epoch", *(_spaced(name) for name in names), "total"),
            tuple((str(epochs[row]), *(f"{value:.4g}" for value in values[row]), f"{total[row]:.4g}") for row in shown),
        ),
    )


def _spaced(name: str) -> str:
    return name.removeprefix("loss_").replace("_", " ")


def _thinned(rows: int, most: int) -> Iterable[int]:
    """Row numbers, at most `most`, the first and the last among them."""
    return sorted(set(np.linspace(0, rows - 1, min(rows, most)).round().astype(int).tolist()))


# --- time axes ------------------------------------------------------------------------------------------------------


def _time_edges(time_s: FloatArray, bins: int) -> FloatArray:
    """Edges of at most `bins` equal stretches, of a length that reads well, around all times."""
    first, last = float(time_s.min()), float(time_s.max())
    length = max(last - first, 1.0)
    nice = np.array(
        [1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400]
    )
    fitting = nice[length / nice <= bins]
    width = float(fitting[0]) if len(fitting) else length / bins
    low = np.floor(first / width) * width
    num = max(1, int(np.floor((last - low) / width)) + 1)
    return np.asarray(low + width * np.arange(num + 1), np.float64)


def _time_axis(axes: Axes, start_utc: str, narrow: bool) -> None:
    low, high = axes.get_xlim()
    nice = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
    step = next((one for one in nice if (high - low) / one <= (5 if narrow else 9)), nice[-1])
    start = words.parse_start(start_utc)
    shift = (start.hour * 3600 + start.minute * 60 + start.second) if start is not None else 0
    first = np.ceil((low + shift) / step) * step - shift
    ticks = np.arange(first, high + 1e-9, step)
    texts = [words.clock(float(tick), start_utc) for tick in ticks]
    if step >= 60:
        texts = [text[:-3] if start is not None else text for text in texts]
    axes.set_xticks(ticks, texts)
    axes.set_xlim(low, high)
    axes.set_xlabel("time of day, UTC" if start is not None else "time in the footage, h:mm:ss")


def _stretches(value: object) -> list[tuple[float, float]]:
    """(start_s, end_s) pairs out of the footage report, leaving out what is none."""
    if not isinstance(value, Sequence):
        return []
    return [(float(one[0]), float(one[1])) for one in value if isinstance(one, Sequence) and len(one) == 2]
