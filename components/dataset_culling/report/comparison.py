"""Several runs side by side, in words and figures: what the page, the terminal and --json of a comparison show.

R = runs compared. Importing this loads neither matplotlib nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from dataset_culling.report import words

MISSING = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run as a comparison sees it; whatever is not known of it is left empty."""

    name: str  # short, unlike the others'
    summary: Mapping[str, Any]  # summary.json
    settings: Mapping[str, str] = field(default_factory=dict)  # dotted key -> value
    judged_on: str = ""  # what tells held-out frames and their labels from others
    page: str = ""  # link to its own page, relative to the comparison's


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of figures that belong together: (label, one cell for each run)."""

    title: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


Cell = Callable[[Mapping[str, Any]], str]
"""Summary -> what stands in its cell; empty where the run has no grounds for it."""


def headline(runs: Sequence[ComparedRun]) -> tuple[Group, ...]:
    """The figures of all runs, group by group; a row that no run has a figure for is left out."""
    groups = []
    for title, rows in _HEADLINE:
        filled = [(label, tuple(cell(run.summary) or MISSING for run in runs)) for label, cell in rows]
        kept = tuple(row for row in filled if any(value != MISSING for value in row[1]))
        if kept:
            groups.append(Group(title, kept))
    return tuple(groups)


def differing_settings(runs: Sequence[ComparedRun]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(dotted key, its value in each run) for every setting that has different values.

    A setting that only some of the runs know (another version of the program wrote them) does not count, nor do places
    that every run has for itself (registry, truth).
    """
    return tuple(
        (key, tuple(run.settings.get(key, MISSING) for run in runs))
        for key, values in _shared_settings(runs).items()
        if len(values) > 1
    )


def num_same_settings(runs: Sequence[ComparedRun]) -> int:
    """How many settings all runs know and have the same value for."""
    return sum(len(values) == 1 for values in _shared_settings(runs).values())


def _shared_settings(runs: Sequence[ComparedRun]) -> dict[str, set[str]]:
    """Dotted key -> its values, for what all runs know whose settings are known; empty where fewer than two are."""
    known = [run.settings for run in runs if run.settings]
    if len(known) < 2:
        return {}
    keys = set.intersection(*(set(settings) for settings in known)) - set(_PLACES)
    return {key: {settings[key] for settings in known} for key in sorted(keys)}


def same_heldout(runs: Sequence[ComparedRun]) -> bool | None:
    """Whether all runs were judged on the same held-out frames and labels; None where not all say on which."""
    if not all(run.judged_on for run in runs):
        return None
    return len({run.judged_on for run in runs}) == 1


def same_classes(runs: Sequence[ComparedRun]) -> bool:
    """Whether the runs that name their classes name the same ones, in whatever order."""
    return len({frozenset(run.summary["classes"]) for run in runs if run.summary.get("classes")}) <= 1


def caveats(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """What a reader must know before comparing the figures; empty where nothing stands against it."""
    notes = []
    if not same_classes(runs):
        named: dict[str, list[str]] = {}
        for run in runs:
            if run.summary.get("classes"):
                named.setdefault(", ".join(sorted(run.summary["classes"])), []).append(run.name)
        said = "; ".join(f"{' and '.join(names)}: {classes}" for classes, names in named.items())
        notes.append(f"The runs are of different classes ({said}), so their mAP are means over different things.")
    same = same_heldout(runs)
    if same is False:
        notes.append(
            "The runs were judged on different held-out frames or labels, so part of every difference in accuracy is a "
            "difference of footage."
        )
    elif same is None:
        notes.append("Not all runs say on which held-out frames they were judged; they may differ.")
    if without := [run.name for run in runs if not run.settings]:
        notes.append(f"No configuration was found for {', '.join(without)}.")
    return tuple(notes)


def as_values(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """The comparison for machines."""
    return {
        "runs": [{"name": run.name, "page": run.page, "summary": dict(run.summary)} for run in runs],
        "same_classes": same_classes(runs),
        "same_heldout_frames": same_heldout(runs),
        "differing_settings": {key: list(values) for key, values in differing_settings(runs)},
        "notes": list(caveats(runs)),
    }


def print_comparison(runs: Sequence[ComparedRun], console: Console | None = None) -> None:
    """Print the table of figures, why each was promoted or not, and what differs in the settings.

    Where the terminal is too narrow for all runs, they follow one another in several tables. Where it is no terminal
    the table is as wide as it needs to be, and in plain characters.

    Args:
        runs: At least one.
        console: Where to print; standard output when missing.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, highlight=False, width=10_000, no_color=True)
    ascii_only = not console.is_terminal or not console.encoding.lower().startswith("utf")
    groups = headline(runs)
    settings = differing_settings(runs)
    if settings:
        groups += (Group("Settings that differ", settings),)
    for start, end in _fitting(runs, groups, console.width):
        table = _table([run.name for run in runs[start:end]], groups, start, end, ascii_only)
        for line in _lines(table, console):
            console.print(line, crop=False, soft_wrap=True)
    for run in runs:
        if reason := str(run.summary.get("promotion_reason", "")):
            console.print(Text.assemble((f"{run.name}: ", "bold"), _plain(reason, ascii_only)))
    for note in caveats(runs):
        console.print(Text(_plain(note, ascii_only), style="yellow"))


def _table(names: Sequence[str], groups: Sequence[Group], start: int, end: int, ascii_only: bool) -> RichTable:
    table = RichTable.grid(padding=(0, 0, 0, 2))
    table.add_column(no_wrap=True)
    for _ in names:
        table.add_column(justify="right", no_wrap=True)
    table.add_row("", *(Text(_plain(name, ascii_only), style="bold") for name in names))
    for group in groups:
        table.add_row(Text(group.title, style="bold"))
        for label, values in group.rows:
            table.add_row(f"  {label}", *(Text(_plain(_cut(value), ascii_only)) for value in values[start:end]))
        table.add_row("")
    return table


def _lines(table: RichTable, console: Console) -> list[Text]:
    """The table's lines without what rich fills them up with."""
    lines = []
    for segments in console.render_lines(table, console.options.update(width=10_000), pad=False):
        line = Text()
        for segment in segments:
            line.append(segment.text, segment.style)
        line.rstrip()
        lines.append(line)
    return lines


def _fitting(runs: Sequence[ComparedRun], groups: Sequence[Group], width: int) -> list[tuple[int, int]]:
    """(first, after the last) run of each table, as many runs in each as fit."""
    gap = 2
    left = max(len(label) + 2 for group in groups for label, _ in group.rows) if groups else 0
    needs = [
        max([len(run.name), *(len(_cut(values[place])) for group in groups for _, values in group.rows)]) + gap
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
    """A value that fits a column; of a long one both ends stay, as paths differ in the last part."""
    half = (most - 3) // 2
    return value if len(value) <= most else f"{value[:half]}...{value[half + 3 - most :]}"


def _plain(text: str, ascii_only: bool) -> str:
    if not ascii_only:
        return text
    return text.replace("\N{MULTIPLICATION SIGN}", "x").replace("\N{MINUS SIGN}", "-").replace(MISSING, "-")


# --- cells ----------------------------------------------------------------------------------------------------------


def number(summary: Mapping[str, Any], key: str) -> float | None:
    """The figure of that name; None where there is none, or something else stands there."""
    value = summary.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def points_and_interval(summary: Mapping[str, Any], key: str) -> str:
    """'81.8 (77.4 to 86.5)', '81.8' where no interval is known, empty where there is no such figure."""
    return _with_interval(words.points, number(summary, key), summary, key)


def change(summary: Mapping[str, Any], suffix: str = "") -> str:
    """What training gained or lost, '+18.4 (+14.4 to +23.4)'; empty where raw or trained student was not judged."""
    raw, trained = number(summary, f"map_50_raw{suffix}"), number(summary, f"map_50_trained{suffix}")
    gained = trained - raw if raw is not None and trained is not None else None
    return _with_interval(words.signed_points, gained, summary, f"gain_map_50{suffix}")


def _with_interval(show: Callable[[float], str], value: float | None, summary: Mapping[str, Any], key: str) -> str:
    if value is None:
        return ""
    low, high = number(summary, f"low_95_{key}"), number(summary, f"high_95_{key}")
    return show(value) if low is None or high is None else f"{show(value)} ({show(low)} to {show(high)})"


def _shown(key: str, show: Callable[[float], str]) -> Cell:
    def cell(summary: Mapping[str, Any]) -> str:
        value = number(summary, key)
        return show(value) if value is not None else ""

    return cell


def _text(key: str) -> Cell:
    return lambda summary: str(summary.get(key, ""))


def _points(key: str) -> Cell:
    return lambda summary: points_and_interval(summary, key)


def _of(chosen: str, full: str, form: str) -> Cell:
    def cell(summary: Mapping[str, Any]) -> str:
        part, whole = number(summary, chosen), number(summary, full)
        return f"{part:{form}} of {whole:{form}}" if part is not None and whole is not None else ""

    return cell


def _gpu(summary: Mapping[str, Any]) -> str:
    seconds = number(summary, "gpu_seconds")
    return words.duration(seconds) if seconds else ""


def promoted(summary: Mapping[str, Any]) -> str:
    """'yes, version 7', 'no', or empty where that was not decided."""
    if "promoted" not in summary:
        return ""
    if not summary["promoted"]:
        return "no"
    return f"yes, version {summary['promoted_version']}" if summary.get("promoted_version") else "yes"


_HEADLINE: tuple[tuple[str, tuple[tuple[str, Cell], ...]], ...] = (
    (
        "Agreement with the teacher, mAP@50",
        (
            ("raw student", _points("map_50_raw")),
            ("trained student", _points("map_50_trained")),
            ("change", change),
            ("champion until then", _points("map_50_champion")),
            ("control arm", _points("map_50_control")),
        ),
    ),
    (
        "Accuracy against the truth, mAP@50",
        (
            ("raw student", _points("map_50_raw_truth")),
            ("trained student", _points("map_50_trained_truth")),
            ("change", lambda summary: change(summary, "_truth")),
            ("champion until then", _points("map_50_champion_truth")),
            ("control arm", _points("map_50_control_truth")),
            ("teacher", _points("map_50_teacher_truth")),
        ),
    ),
    (
        "Frames",
        (
            ("to learn from", _shown("frames_pool", words.count)),
            ("kept by confidence", _shown("frames_kept_confidence", words.count)),
            ("labelled", _shown("frames_labeled", words.count)),
            ("kept by precision, trained on", _shown("frames_kept", words.count)),
            ("held out, measured on", _shown("frames_heldout", words.count)),
        ),
    ),
    (
        "Cost",
        (
            ("culling, labelling, training", _shown("culled_training_seconds", words.duration)),
            ("training on everything, projected", _shown("projected_full_training_seconds", words.duration)),
            ("projected over spent", _shown("projected_full_training_ratio", words.times)),
            ("all stages", _shown("pipeline_seconds", words.duration)),
            ("of them on a GPU", _gpu),
            ("memory, largest process", _shown("peak_rss_mib", words.mib)),
        ),
    ),
    (
        "Input size",
        (
            ("short side, px", _of("side_px", "full_side_px", ".0f")),
            ("GFLOPs per image", _of("gflops_chosen", "gflops_full", ".3g")),
        ),
    ),
    (
        "What was run",
        (
            ("camera", _text("camera")),
            ("student", _text("student")),
            ("teacher", _text("teacher")),
            ("classes", lambda summary: ", ".join(summary.get("classes", ()))),
            ("footage from, UTC", lambda summary: str(summary.get("footage_start_utc", ""))[:16].replace("T", " ")),
        ),
    ),
    ("Decision", (("promoted", promoted),)),
)
_PLACES = ("registry", "truth")
