"""Chart of optResolution: accuracy and cost by input size."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dataset_culling.artifacts.resolution import Resolution
from dataset_culling.report import words
from dataset_culling.report.charts.svg import Chart, Table, colour, draw


def resolution_chart(choice: Resolution) -> Chart | None:
    """Draw agreement where measured, change of the confidence loss, and cost by input size; None without a curve.

    Source:
        Figure 4 of Yoshioka et al., Dataset Culling, ICIP 2019.
    """
    if not choice.curve:
        return None
    curve = sorted(choice.curve, key=lambda point: point.scale)
    measured = [point for point in curve if point.map_50 >= 0]
    panels = [
        ("change of the confidence loss", [(point.scale, point.loss_change) for point in curve]),
        ("GFLOPs per image", [(point.scale, point.gflops) for point in curve]),
    ]
    if measured:
        panels.insert(0, ("mAP@50 of the raw student", [(point.scale, 100 * point.map_50) for point in measured]))

    def plot(figure: Figure, narrow: bool) -> None:
        columns = 1 if narrow else len(panels)
        axes = figure.subplots(len(panels) // columns, columns, sharex=True, squeeze=False).ravel()
        for one, (title, xy) in zip(axes, panels, strict=True):
            x, y = zip(*xy, strict=True)
            one.plot(x, y, "-o", color=colour("muted"), markersize=4, linewidth=1.6)
            chosen = min(range(len(x)), key=lambda row: abs(x[row] - choice.scale))
            one.plot([x[chosen]], [y[chosen]], "*", color=colour("kept"), markersize=17, zorder=5)
            one.set_title(title)
            one.set_ylim(0, max(*y, 1e-9) * 1.15)
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

    text = (
        "optResolution makes the image smaller step by step and stops before the student's confidence loss on the "
        "kept frames changes by more than the threshold. The star is the chosen size."
    )
    if choice.judge != "loss":
        text = (
            "optResolution runs the student on labelled frames at several sizes and takes the smallest whose agreement "
            "with the teacher is within a tolerance of the best one's. The star is the chosen size."
        )
    return Chart(
        "resolution",
        "Resolution against cost",
        text,
        f"Chosen: {choice.scale:.2f} of full size, {choice.side_px} instead of {choice.full_side_px} px on the short "
        f"side, {choice.gflops_chosen:.3g} instead of {choice.gflops_full:.3g} GFLOPs per image.",
        *draw("resolution", plot, height_px=230, narrow_height_px=175 * len(panels)),
        Table(
            "Tried input sizes",
            ("Scale", "Short side, px", "Change of loss", "GFLOPs per image", "mAP@50, raw student"),
            tuple(
                (f"{point.scale:.3f}", str(point.side_px), f"{point.loss_change:.4f}", f"{point.gflops:.3g}",
                 words.points(point.map_50) if point.map_50 >= 0 else words.MISSING)
                for point in reversed(curve)
            ),
        ),
    )  # fmt: skip
