"""A range test's plot: a file of its own, not part of a page."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dataset_culling.types import FloatArray


def rates_svg(
    rates: FloatArray, losses: FloatArray, smooth: FloatArray, *, steepest: float, diverges: float, suggested: float
) -> str:
    """The loss by the learning rate as an SVG document; equal figures give equal text.

    Args:
        rates: Ascending, shape (S,).
        losses: Of each step, shape (S,); those that are not finite are left out.
        smooth: Means over neighbouring steps, shape (S,).
        steepest: Marked with a line, as are the next two; 0: not marked.
        diverges: See `steepest`.
        suggested: See `steepest`.
    """
    style = {"svg.hashsalt": "lr-range", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        axes.plot(rates, losses, color="#c6c9c2", lw=1, label="each step")
        axes.plot(rates, smooth, color="#14549c", lw=2, label="mean of neighbours")
        for rate, name, colour in (
            (steepest, "steepest fall", "#69a892"),
            (diverges, "diverges", "#a93a22"),
            (suggested, "suggested", "#1b1e22"),
        ):
            if rate:
                axes.axvline(rate, color=colour, ls="--", lw=1.2, label=f"{name}: {rate:.2g}")
        finite = smooth[np.isfinite(smooth)]
        # A loss that breaks would press all that is to be seen flat onto the axis.
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, 2 * float(finite[0])))
        axes.legend(frameon=False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()
