"""Accuracy charts of the page: by class, object size and hour, and along the held-out footage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from dataset_culling.report import words
from dataset_culling.report.charts.dumbbells import AGREEMENT, NAMES, TRUTH, dumbbell_panels
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend
from dataset_culling.report.charts.timeline import time_axis, time_edges
from dataset_culling.report.gallery import HeldOut
from dataset_culling.report.run_data import Frames

_HOUR = re.compile(r"((?:elapsed_)?hour)_(\d+)_map_50_raw")


def metric_name(label: str) -> str:
    """Turn a class name into the form that evaluation uses in names of metrics."""
    return "".join(letter if letter.isalnum() else "_" for letter in label.lower())


def accuracy_rows(metrics: Mapping[str, float], class_names: Sequence[str]) -> list[tuple[str, str]]:
    """List (label, stem) of the measured metrics in reading order; hours only if there are several."""
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


def accuracy_chart(metrics: Mapping[str, float], class_names: Sequence[str]) -> Chart | None:
    """Draw the students by class, object size and hour: agreement with the teacher, and accuracy if truth is known."""
    rows = accuracy_rows(metrics, class_names)
    if not rows:
        return None
    has_truth = "map_50_raw_truth" in metrics
    panels = [AGREEMENT, TRUTH] if has_truth else [AGREEMENT]
    models = [model for model in NAMES if model != "teacher" and f"map_50_{model}" in metrics]

    def plot(figure: Figure, narrow: bool) -> None:
        dumbbell_panels(figure, metrics, rows, panels, models, narrow=narrow)

    alt = (
        f"mAP at IoU 0.5 against the teacher goes from {words.points(metrics.get('map_50_raw', 0.0))} to "
        f"{words.points(metrics.get('map_50_trained', 0.0))}."
    )
    if "map_50_champion" in metrics:
        alt += f" The deployed champion has {words.points(metrics['map_50_champion'])}."
    text = (
        "Average precision at IoU 0.5 on the held-out frames, in points of a hundred; 50:95 is COCO's mean over "
        "stricter overlaps. Agreement counts the teacher as right. "
    )
    columns = [(NAMES[model].capitalize(), model) for model in models]
    if has_truth:
        alt += (
            f" Against the truth it goes from {words.points(metrics['map_50_raw_truth'])} to "
            f"{words.points(metrics.get('map_50_trained_truth', 0.0))}; the teacher has "
            f"{words.points(metrics.get('map_50_teacher_truth', 0.0))}."
        )
        text += "The true boxes of this footage are known, so accuracy is shown beside it, also the teacher's. "
        columns = [
            *((f"{title}, agreement", model) for title, model in columns),
            *((f"{title}, truth", f"{model}_truth") for title, model in columns),
            ("Teacher, truth", "teacher_truth"),
        ]
    text += "Objects are small below 32² px, large from 96² px (COCO)."
    if "low_95_map_50_trained" in metrics:
        text += " Whiskers, and numbers in brackets, are 95 % intervals over footage like this (block bootstrap)."
    height = 66 + 26 * len(rows)
    return Chart(
        "accuracy",
        "By class, object size and hour" if "hour" in rows[-1][1] else "By class and by object size",
        text,
        alt,
        *draw("accuracy", plot, height_px=height, narrow_height_px=(height + 10) * len(panels)),
        Table(
            "Average precision on held-out frames, in points",
            ("", *(title for title, _ in columns)),
            tuple(
                (label, *(words.points_and_interval(metrics, f"{stem}_{key}") or words.MISSING for _, key in columns))
                for label, stem in rows
            ),
        ),
    )


def found_over_time(frames: Frames, heldout: HeldOut) -> Chart | None:
    """Draw the share of the teacher's boxes that raw and trained student find, along the held-out footage."""
    in_frame = heldout.raw.found + heldout.raw.missed
    if len(frames) < 2 or not in_frame.sum():
        return None
    edges = time_edges(frames.time_s, 12)
    place = np.clip(np.searchsorted(edges, frames.time_s, side="right") - 1, 0, len(edges) - 2)
    total, raw, trained = (
        np.bincount(place, weights=part, minlength=len(edges) - 1)
        for part in (in_frame, heldout.raw.found, heldout.trained.found)
    )
    some = total > 0
    middle = (edges[:-1] + edges[1:]) / 2

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        for model, found, mark in (("raw", raw, "o"), ("trained", trained, "s")):
            axes.plot(middle[some], 100 * found[some] / total[some], f"-{mark}", color=colour(model), markersize=5,
                      label=f"{model} student")  # fmt: skip
        axes.set_ylim(0, 102)
        axes.set_ylabel("found, %")
        time_axis(axes, frames.start_utc, narrow=narrow)
        legend(axes, columns=2)

    share_raw, share_trained = raw.sum() / total.sum(), trained.sum() / total.sum()
    return Chart(
        "found",
        "Over the held-out time",
        "Share of the teacher's boxes that the student finds at IoU 0.5, along the held-out footage. Neighbouring "
        "frames resemble each other, so one dip is one event, not a trend.",
        f"Over all held-out footage the raw student finds {100 * share_raw:.0f} % of the teacher's boxes, the trained "
        f"student {100 * share_trained:.0f} %.",
        *draw("found", plot, height_px=220),
        Table(
            "Teacher's boxes found, by time",
            ("From", "Teacher's boxes", "Found by raw", "Found by trained"),
            tuple(
                (words.clock(edges[row], frames.start_utc), *(words.count(part[row]) for part in (total, raw, trained)))
                for row in np.flatnonzero(some)
            ),
        ),
    )
