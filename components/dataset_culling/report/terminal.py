"""Output in a terminal: the summary of a finished run, and several runs side by side.

Importing this loads neither matplotlib nor torch, because the command line imports it at every start.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.table import Table
from rich.text import Text

from dataset_culling.report import words
from dataset_culling.report.compare_runs import ComparedRun, Group, caveats, change, differing_settings, headline

BAR_CELLS = 28
FUNNEL = (
    ("extracted, to learn from", "frames_pool"),
    ("kept by confidence", "frames_kept_confidence"),
    ("labelled by the teacher", "frames_labeled"),
    ("kept by precision", "frames_kept"),
)


def print_summary(summary: Mapping[str, Any], out: Path, console: Console | None = None) -> None:
    """Print the outcome of a run; in plain ASCII unless the console is a terminal with UTF-8.

    Args:
        summary: Values of summary.json; any may be missing.
        out: The run's folder, for the paths at the end.
        console: Console to print to; standard output if missing.
    """
    console = console or Console(highlight=False)
    ascii_only = _is_ascii_only(console)
    if console.is_terminal:
        console.print(_summary(summary, out, ascii_only), crop=False)
        return
    plain = Console(file=io.StringIO(), highlight=False, width=80, no_color=True, soft_wrap=False)
    plain.print(_summary(summary, out, ascii_only), crop=False)
    for line in plain.file.getvalue().splitlines():  # type: ignore[attr-defined]
        console.file.write(line.rstrip() + "\n")
    console.file.flush()


def _is_ascii_only(console: Console) -> bool:
    return not console.is_terminal or not console.encoding.lower().startswith("utf")


def _summary(summary: Mapping[str, Any], out: Path, ascii_only: bool) -> RenderableType:
    """Lay out the summary in 80 columns."""
    title = Text(str(summary.get("camera", "camera")), style="bold")
    if classes := ", ".join(summary.get("classes", ())):
        title.append((" - " if ascii_only else " · ") + classes, style="not bold")
    parts: list[RenderableType] = ["", title, "", _funnel(summary, ascii_only), ""]
    if "map_50_raw" in summary:
        parts += [_accuracy(summary, ascii_only), ""]
    if summary.get("stage_seconds"):
        parts += [_stages(summary["stage_seconds"], ascii_only), ""]
    parts.append(_facts(summary, ascii_only))
    for label, path in (("Model", out / "model"), ("Page", out / "report.html")):
        # Paths are not wrapped, so that they can be copied.
        parts.append(Text.assemble((f"{label:12}", "bold"), str(path), no_wrap=True, overflow="ignore"))
    return Lines(*parts, "")


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


def _accuracy(summary: Mapping[str, Any], ascii_only: bool) -> Table:
    table = _grid("left", "right", "right", "right", "right")
    table.add_row(
        Text("mAP@50 on held-out frames", style="bold"),
        *(Text(name, style="dim") for name in ("before", "after", "change", "teacher")),
    )
    rows = [("  agreement with the teacher", "", "")]
    if "map_50_raw_truth" in summary:
        rows.append(("  accuracy against the truth", "_truth", "map_50_teacher_truth"))
    for label, suffix, teacher in rows:
        gain = _plain(change(summary, suffix), ascii_only)
        table.add_row(
            label,
            _points(summary.get(f"map_50_raw{suffix}")),
            Text(_points(summary.get(f"map_50_trained{suffix}")), style="bold"),
            Text(gain, style="green" if gain.startswith("+") else "red"),
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
            f"worth {100 * gain:+.1f} points on this camera: as many random frames give {_points(control)}",
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
    """Draw a bar of at most BAR_CELLS cells, and at least its smallest part for a share above 0."""
    cells = share * BAR_CELLS
    if ascii_only:
        return "#" * max(round(cells), 1 if share > 0 else 0)
    eighths = max(round(cells * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _points(share: float | None) -> str:
    return words.points(share) if share is not None else "n/a"


def _plain(text: str, ascii_only: bool) -> str:
    if not ascii_only:
        return text
    return text.replace("\N{MULTIPLICATION SIGN}", "x").replace("\N{MINUS SIGN}", "-").replace(words.MISSING, "-")


# --- comparison -----------------------------------------------------------------------------------------------------


def print_comparison(runs: Sequence[ComparedRun], console: Console | None = None) -> None:
    """Print the figures of several runs, the reasons of their promotion decisions, and the settings that differ.

    In a terminal that is too narrow for all runs they are split over several tables. Without a terminal there is one
    table in ASCII, as wide as needed.

    Args:
        runs: At least one.
        console: Console to print to; standard output if missing.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, highlight=False, width=10_000, no_color=True)
    ascii_only = _is_ascii_only(console)
    groups = headline(runs)
    if settings := differing_settings(runs):
        groups += (Group("Settings that differ", settings),)
    for start, end in _fitting(runs, groups, console.width):
        table = _comparison_table(runs, groups, start, end, ascii_only)
        for segments in console.render_lines(table, console.options.update(width=10_000), pad=False):
            line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
            line.rstrip()
            console.print(line, crop=False, soft_wrap=True)
    for run in runs:
        if reason := str(run.summary.get("promotion_reason", "")):
            console.print(Text.assemble((f"{run.name}: ", "bold"), _plain(reason, ascii_only)))
    for note in caveats(runs):
        console.print(Text(_plain(note, ascii_only), style="yellow"))


def _comparison_table(
    runs: Sequence[ComparedRun], groups: Sequence[Group], start: int, end: int, ascii_only: bool
) -> Table:
    table = Table.grid(padding=(0, 0, 0, 2))
    table.add_column(no_wrap=True)
    for _ in runs[start:end]:
        table.add_column(justify="right", no_wrap=True)
    table.add_row("", *(Text(_plain(run.name, ascii_only), style="bold") for run in runs[start:end]))
    for group in groups:
        table.add_row(Text(group.title, style="bold"))
        for label, values in group.rows:
            table.add_row(f"  {label}", *(Text(_plain(_cut(value), ascii_only)) for value in values[start:end]))
        table.add_row("")
    return table


def _fitting(runs: Sequence[ComparedRun], groups: Sequence[Group], width: int) -> list[tuple[int, int]]:
    """Return the (first, end) rows of the runs of each table, with as many runs in each as fit."""
    left = max((len(label) + 2 for group in groups for label, _ in group.rows), default=0)
    needs = [
        2 + max([len(run.name), *(len(_cut(values[place])) for group in groups for _, values in group.rows)])
        for place, run in enumerate(runs)
    ]
    spans, start, used = [], 0, left
    for place, need in enumerate(needs):
        if place > start and used + need > width:
            spans.append((start, place))
            start, used = place, left
        used += need
    return [*spans, (start, len(runs))]


def _cut(value: str, most: int = 36) -> str:
    """Cut a long value in the middle, because paths differ at the end."""
    half = (most - 3) // 2
    return value if len(value) <= most else f"{value[:half]}...{value[half + 3 - most :]}"
