"""Chart of the training losses by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dataset_culling.report.charts.svg import Chart, Table, colour, draw, legend

MAX_TABLE_ROWS = 60


def training_chart(training: Mapping[str, object]) -> Chart | None:
    """Draw the mean losses by epoch, in total and by part.

    Args:
        training: Training record of the model card; `losses` holds {name: mean loss} for each epoch.

    Returns:
        None if the record has no losses.
    """
    losses = training.get("losses")
    if not isinstance(losses, Sequence) or not losses:
        return None
    keys = list(losses[0])
    names = [str(key).removeprefix("loss_").replace("_", " ") for key in keys]
    values = np.array([[float(epoch[key]) for key in keys] for epoch in losses])
    total = values.sum(axis=1)
    epochs = np.arange(1, len(total) + 1)

    def plot(figure: Figure, narrow: bool) -> None:
        axes = figure.subplots()
        marks = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)))
        for column, name in enumerate(names if len(names) > 1 else []):
            axes.plot(epochs, values[:, column], color=colour("muted"), linewidth=1.4,
                      linestyle=marks[column % len(marks)], label=name)  # fmt: skip
        marker = "o" if len(total) == 1 else None
        axes.plot(epochs, total, color=colour("trained"), linewidth=2.6, label="total", marker=marker)
        axes.set_ylim(0, float(total.max()) * 1.05 or 1.0)
        axes.set_xlabel("epoch")
        axes.set_ylabel("mean loss")
        axes.xaxis.set_major_locator(MaxNLocator(6 if narrow else 10, integer=True))
        legend(axes, columns=2 if narrow else 6)

    shown = np.unique(np.linspace(0, len(total) - 1, min(len(total), MAX_TABLE_ROWS)).round().astype(int))
    return Chart(
        "training",
        "Training losses",
        "Mean loss of each epoch on the kept frames, in total and by part. It shows if training converged, not how "
        "good the student is; the held-out figures do that.",
        f"The total loss goes from {total[0]:.3g} in the first to {total[-1]:.3g} in the last of {len(total)} epochs.",
        *draw("training", plot, height_px=240, narrow_height_px=230 + 18 * ((len(names) + 1) // 2)),
        Table(
            "Mean loss by epoch",
            ("Epoch", *names, "total"),
            tuple((str(epochs[row]), *(f"{value:.4g}" for value in values[row]), f"{total[row]:.4g}") for row in shown),
        ),
    )
