"""Histograms of the two culls: the loss of each frame, and the cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataset_culling.report import words
from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend, stacked_bars
from dataset_culling.report.run_data import Run
from dataset_culling.types import BoolArray, FloatArray


def loss_chart(run: Run) -> Chart | None:
    """Draw the losses of the pool's frames and the cut of the confidence cull; None if losses are unknown."""
    if run.pool_loss is None or len(run.selection) == 0:
        return None
    kept = np.isin(run.pool.frame_ids, run.kept.frame_ids)
    labelled = np.isin(run.pool.frame_ids, run.selection.frame_ids) & ~kept
    passed = ~kept & ~labelled
    cut = float(run.selection.loss.min())
    return _cut_histogram(
        "losses",
        "Difficulty of every frame",
        run.pool_loss,
        (("passed over", "passed", passed), ("labelled, left out", "labelled", labelled),
         ("kept for training", "kept", kept)),
        cut,
        f"loss by the strategy “{run.selected_by}”",
        f"The loss of all {len(run.pool):,} frames of the pool, from the raw student's boxes alone. The cut is the "
        "least loss that was kept; right of it, a bar's colour says if the precision cull kept the frames too. "
        + _too_close(run.pool_loss[passed], cut),
        f"{words.plural(len(run.selection), 'frame')} of {len(run.pool):,}, with losses from {cut:.3g} up, went to the "
        f"teacher; {len(run.kept):,} of them were kept for training.",
    )  # fmt: skip


def precision_chart(run: Run) -> Chart | None:
    """Draw the losses of the labelled frames and the cut of the precision cull; None if losses are unknown."""
    if run.label_loss is None or len(run.kept) == 0:
        return None
    kept = np.isin(run.labels.frame_ids, run.kept.frame_ids)
    cut = float(run.kept.loss.min())
    return _cut_histogram(
        "precision",
        "Student's error on labelled frames",
        run.label_loss,
        (("left out", "labelled", ~kept), ("kept for training", "kept", kept)),
        cut,
        f"loss by the strategy “{run.kept_by}”",
        "The loss of every frame that the teacher labelled, from the raw student's boxes against the teacher's: the "
        "worse the student, the larger. " + _too_close(run.label_loss[~kept], cut),
        f"{words.plural(len(run.kept), 'frame')} of {len(run.labels):,} labelled, with losses from {cut:.3g} up, were "
        "kept for training.",
    )


def _too_close(left_out: FloatArray, cut: float) -> str:
    """Explain frames left out although their loss is above the cut; '' if there are none."""
    if not (num := int((left_out > cut).sum())):
        return ""
    return (
        f"{words.plural(num, 'harder frame')} {'was' if num == 1 else 'were'} left out for being too close in time "
        "to one kept."
    )


def _cut_histogram(
    key: str,
    title: str,
    loss: FloatArray,
    parts: Sequence[tuple[str, str, BoolArray]],  # (label, colour role, mask of its frames)
    cut: float,
    label: str,
    text: str,
    alt: str,
) -> Chart:
    # The largest losses can lie far out and would squeeze the rest into a few bars; they go into the last bar.
    top = float(np.quantile(loss, 0.995)) if len(loss) > 200 else float(loss.max())
    low = float(loss.min())
    edges = np.linspace(low, max(top, cut, low + 1e-9), 41)
    shown = np.clip(loss, edges[0], edges[-1])
    bars = [(name, role, np.histogram(shown[mask], edges)[0]) for name, role, mask in parts]

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        stacked_bars(axes, edges, bars)
        axes.axvline(cut, color=colour("warn"), linewidth=1.6, linestyle=(0, (4, 3)))
        right = cut < edges[0] + 0.7 * (edges[-1] - edges[0])
        axes.annotate(f"cut at {cut:.3g}", (cut, 1), xycoords=("data", "axes fraction"), color=colour("warn"),
                      xytext=(6 if right else -6, -4), textcoords="offset points", va="top",
                      ha="left" if right else "right", fontsize=11)  # fmt: skip
        axes.set_xlabel(label)
        axes.set_ylabel("frames")
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.margins(y=0.14)  # space for the annotation above the bars
        legend(axes, columns=2 if narrow else 3)

    rows = tuple(
        (
            f"{edges[start]:.3g} to {edges[start + 2]:.3g}",
            *(words.count(bar[start : start + 2].sum()) for *_, bar in bars),
        )
        for start in range(0, len(edges) - 1, 2)
    )
    return Chart(
        key,
        title,
        text,
        alt,
        *draw(key, plot, height_px=260, narrow_height_px=280),
        Table(f"{title}, frames by loss", ("Loss", *(name.capitalize() for name, *_ in bars)), rows),
    )
