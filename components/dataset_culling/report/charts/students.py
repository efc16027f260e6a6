"""Plot of the candidates for a camera's student: a separate SVG file, not part of a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FRONT, REST, CHOSEN, BUDGET = "#1b1e22", "#14549c", "#8d949b", "#a93a22", "#b3661a"
AGREEMENT = "mAP@50 against the teacher (agreement)"
ACCURACY = "mAP@50 against true boxes (accuracy)"


@dataclass(frozen=True, slots=True)
class Dot:
    """One candidate; agreement and accuracy are 0..1."""

    name: str
    latency_ms: float
    agreement: float
    accuracy: float | None  # None without true boxes
    on_front: bool
    is_teacher: bool  # its agreement with itself is 1


def students_svg(
    dots: Sequence[Dot], *, chosen: str, engine: str, budget_ms: float = 0.0, judged_by_truth: bool = False
) -> str:
    """Plot mAP@50 over milliseconds per image as an SVG document; equal figures give equal text.

    Args:
        dots: Candidates, at least one.
        chosen: Name of the chosen candidate; "" without a choice.
        engine: Inference engine of the timings, for the title.
        budget_ms: Latency budget, drawn as a line; 0: none.
        judged_by_truth: The front and the choice are by accuracy instead of agreement.
    """
    panels = [False, True] if any(dot.accuracy is not None for dot in dots) else [False]
    style = {"svg.hashsalt": "students", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(7 if len(panels) == 1 else 12, 4.6), layout="constrained")
        for truth, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
            _panel(axes, dots, truth, chosen, draws_front=truth == judged_by_truth)
            if budget_ms:
                axes.axvline(budget_ms, color=BUDGET, ls=":", lw=1.4, label=f"budget: {budget_ms:g} ms")
            axes.set(xlabel="median ms for an image, one at a time", ylabel=ACCURACY if truth else AGREEMENT)
            axes.grid(color="#dddfda", lw=0.8)
            axes.set_axisbelow(True)
            axes.set_xlim(left=0)
            axes.margins(x=0.16, y=0.16)
            axes.legend(frameon=False, loc="best", fontsize=9)
        figure.suptitle(engine, fontsize=9, color="#596068")
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _panel(axes: Axes, dots: Sequence[Dot], truth: bool, chosen: str, *, draws_front: bool) -> None:
    shown = [
        (dot, value)
        for dot in sorted(dots, key=lambda dot: (dot.latency_ms, dot.name))
        if (value := dot.accuracy if truth else dot.agreement) is not None
    ]
    if draws_front:
        front = [(dot.latency_ms, 100 * value) for dot, value in shown if dot.on_front]
        # A step, because there is no student between two: the faster one holds until the slower one is reached.
        axes.step([x for x, _ in front], [y for _, y in front], where="post", color=FRONT, lw=1.5, label="Pareto front")
    groups = (
        ("candidate", REST, False, [one for one in shown if not one[0].on_front and not one[0].is_teacher]),
        ("on the front", FRONT, False, [one for one in shown if one[0].on_front]),
        ("the run's teacher" if truth else "the run's teacher: agrees with itself", REST, True,
         [one for one in shown if one[0].is_teacher and not one[0].on_front]),
    )  # fmt: skip
    for label, colour, hollow, members in groups:
        if members:
            axes.scatter(
                [dot.latency_ms for dot, _ in members],
                [100 * value for _, value in members],
                s=42,
                facecolors="none" if hollow else colour,
                edgecolors=colour,
                label=label,
                zorder=3,
            )
    for dot, value in shown:
        if dot.name == chosen:
            axes.scatter([dot.latency_ms], [100 * value], s=190, facecolors="none", edgecolors=CHOSEN, lw=2,
                         label=f"chosen: {dot.name}", zorder=4)  # fmt: skip
        axes.annotate(dot.name, (dot.latency_ms, 100 * value), xytext=(7, 7), textcoords="offset points",
                      fontsize=9, color=INK)  # fmt: skip
