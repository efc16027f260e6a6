"""The end of a run in a terminal: the funnel, accuracy before and after, cost, and where things lie.

Importing this loads neither matplotlib nor torch: the command line does it at every start.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from dataset_culling.report import words

BAR_CELLS = 28
FUNNEL = (
    ("extracted, to learn from", "frames_pool"),
    ("kept by confidence", "frames_kept_confidence"),
    ("labelled by the teacher", "frames_labeled"),
    ("kept by precision", "frames_kept"),
)


def print_summary(summary: Mapping[str, Any], out: Path, console: Console | None = None) -> None:
    """Print the summary to standard output; plain characters where it is no terminal or cannot show others.

    Args:
        summary: summary.json, read.
        out: The run's folder, for the places named at the end.
        console: Where to print; made when missing.
    """
    console = console or Console(highlight=False)
    paths = {"model_path": str(out / "model"), "report_path": str(out / "report.html")}
    shown = {**summary, **paths}
    if console.is_terminal:
        ascii_only = not console.encoding.lower().startswith("utf")
        console.print(terminal_summary(shown, ascii_only=ascii_only), crop=False)
        return
    plain = Console(file=io.StringIO(), highlight=False, width=80, no_color=True, soft_wrap=False)
    plain.print(terminal_summary(shown, ascii_only=True), crop=False)
    for line in plain.file.getvalue().splitlines():  # type: ignore[attr-defined]
        console.file.write(line.rstrip() + "\n")
    console.file.flush()


def terminal_summary(summary: Mapping[str, Any], *, ascii_only: bool = False) -> RenderableType:
    """A run's outcome, to be printed by rich; fits 80 columns.

    Args:
        summary: summary.json, read; keys that a run has no grounds for may be missing.
        ascii_only: Draw bars with '#', and nothing that a plain log cannot hold.
    """
    parts: list[RenderableType] = ["", _title(summary, ascii_only), ""]
    parts += [_funnel(summary, ascii_only), ""]
    if "map_50_raw" in summary:
        parts += [_accuracy(summary), ""]
    if summary.get("stage_seconds"):
        parts += [_stages(summary["stage_seconds"], ascii_only), ""]
    parts.append(_facts(summary, ascii_only))
    for label, key in (("Model", "model_path"), ("Page", "report_path")):
        if key in summary:  # never folded: paths are there to be copied
            line = Text.assemble((f"{label:12}", "bold"), str(summary[key]), no_wrap=True, overflow="ignore")
            parts.append(line)
    return Group(*parts, "")


def _title(summary: Mapping[str, Any], ascii_only: bool) -> Text:
    classes = ", ".join(summary.get("classes", ()))
    dot = " - " if ascii_only else " · "
    text = Text(str(summary.get("camera", "camera")), style="bold")
    if classes:
        text.append(dot + classes, style="not bold")
    return text


def _funnel(summary: Mapping[str, Any], ascii_only: bool) -> Table:
    table = _grid("left", "right", "left")
    largest = max([int(summary.get(key, 0)) for _, key in FUNNEL] + [1])
    table.add_row(Text("Frames", style="bold"), "", "")
    for label, key in FUNNEL:
        if key in summary:
            number = int(summary[key])
            table.add_row(f"  {label}", words.count(number), Text(_bar(number / largest, ascii_only), style="cyan"))
    if "frames_heldout" in summary:
        table.add_row("  held out, to measure with", words.count(summary["frames_heldout"]), "")
    return table


def _accuracy(summary: Mapping[str, Any]) -> Table:
    table = _grid("left", "right", "right", "right", "right")
    table.add_row(
        Text("mAP@50 on held-out frames", style="bold"),
        *(Text(name, style="dim") for name in ("before", "after", "change", "teacher")),
    )
    rows = [("  agreement with the teacher", "", "")]
    if "map_50_raw_truth" in summary:
        rows.append(("  accuracy against the truth", "_truth", "map_50_teacher_truth"))
    for label, suffix, teacher in rows:
        raw, trained = summary.get(f"map_50_raw{suffix}"), summary.get(f"map_50_trained{suffix}")
        change = "" if raw is None or trained is None else f"{100 * (trained - raw):+.1f}"
        low, high = (summary.get(f"{end}_95_gain_map_50{suffix}") for end in ("low", "high"))
        if change and low is not None and high is not None:
            change += f" ({100 * low:+.1f} to {100 * high:+.1f})"
        table.add_row(
            label,
            _points(raw),
            Text(_points(trained), style="bold"),
            Text(change, style="green" if change.startswith("+") else "red"),
            _points(summary.get(teacher)) if teacher else "",
        )
    return table


def _facts(summary: Mapping[str, Any], ascii_only: bool) -> Table:
    arrow = "->" if ascii_only else "→"
    table = _grid("left", "left")
    table.columns[0].min_width = 10
    if "gflops_full" in summary and "gflops_chosen" in summary:
        table.add_row(
            Text("Resolution", style="bold"),
            f"{summary.get('full_side_px', '?')} {arrow} {summary.get('side_px', '?')} px short side "
            f"({summary.get('scale', 1.0):.2f} of full size)",
        )
        table.add_row(
            Text("Per image", style="bold"),
            f"{summary['gflops_full']:.3g} {arrow} {summary['gflops_chosen']:.3g} GFLOPs",
        )
    if "culling_gain_map_50" in summary:
        gain, control = summary["culling_gain_map_50"], summary["map_50_control"]
        table.add_row(
            Text("Culling", style="bold"),
            f"worth {100 * gain:+.1f} points on this camera: as many frames drawn by lot give {_points(control)}",
        )
        if "culling_gain_map_50_truth" in summary:
            gain, control = summary["culling_gain_map_50_truth"], summary["map_50_control_truth"]
            table.add_row("", f"{100 * gain:+.1f} points against the truth, where they give {_points(control)}")
    if "culled_training_seconds" in summary:
        spent, full = summary["culled_training_seconds"], summary["projected_full_training_seconds"]
        ratio = summary.get("projected_full_training_ratio")
        more = f", {_plain(words.times(ratio), ascii_only)} as much" if ratio is not None else ""
        table.add_row(Text("Cost", style="bold"), f"{words.duration(spent)} for culling, labelling and training")
        table.add_row(
            "",
            f"{words.duration(full)} for labelling and training on all {words.count(summary.get('frames_pool', 0))} "
            f"frames{more}: a projection by the cost model, not measured",
        )
    if "peak_rss_mib" in summary:
        table.add_row(Text("Memory", style="bold"), f"{words.mib(summary['peak_rss_mib'])} at most in one process")
    if "promoted" in summary:
        answer = ("Promoted", "bold green") if summary["promoted"] else ("Not promoted", "bold yellow")
        reason = str(summary.get("promotion_reason", "")).removeprefix(answer[0])
        table.add_row(Text("Decision", style="bold"), Text.assemble(answer, reason))
    return table


def _stages(seconds: Mapping[str, float], ascii_only: bool) -> Table:
    table = _grid("left", "right", "left")
    total = sum(seconds.values())
    table.add_row(Text("Seconds, longest first", style="bold"), f"{total:,.1f}", "")
    largest = max([*seconds.values(), 1e-9])
    for task, value in sorted(seconds.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(f"  {task}", f"{value:,.1f}", Text(_bar(value / largest, ascii_only), style="cyan"))
    return table


def _grid(*justify: Any) -> Table:
    table = Table.grid(padding=(0, 2))
    for place, side in enumerate(justify):
        table.add_column(justify=side, min_width=27 if place == 0 and len(justify) > 2 else None)
    return table


def _bar(share: float, ascii_only: bool) -> str:
    """A bar of at most BAR_CELLS cells; anything above nothing shows."""
    cells = share * BAR_CELLS
    if ascii_only:
        return "#" * max(round(cells), 1 if share > 0 else 0)
    eighths = max(round(cells * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _points(share: float | None) -> str:
    return words.points(share) if share is not None else "n/a"


def _plain(text: str, ascii_only: bool) -> str:
    return text.replace("×", "x") if ascii_only else text
