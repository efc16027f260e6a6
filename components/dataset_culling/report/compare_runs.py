"""Figures of several finished runs side by side, and what limits their comparison.

Importing this loads neither matplotlib nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataset_culling.report import words
from dataset_culling.report.words import MISSING, number

_LOCATIONS = ("registry", "truth")


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """One run of a comparison; unknown parts are empty."""

    name: str  # short and unique
    summary: Mapping[str, Any]  # summary.json
    settings: Mapping[str, str] = field(default_factory=dict)  # dotted key -> value
    judged_on: str = ""  # digests of the held-out frames and their labels
    page: str = ""  # link to its own page, relative to the comparison's


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of related figures: (label, one cell per run)."""

    title: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


Cell = Callable[[Mapping[str, Any]], str]
"""Formats a figure of a summary; '' if the summary does not have it."""


def headline(runs: Sequence[ComparedRun]) -> tuple[Group, ...]:
    """Return the figures of all runs by group, without rows that are empty for every run."""
    groups = []
    for title, rows in _HEADLINE:
        filled = [(label, tuple(cell(run.summary) or MISSING for run in runs)) for label, cell in rows]
        if kept := tuple(row for row in filled if set(row[1]) != {MISSING}):
            groups.append(Group(title, kept))
    return tuple(groups)


def differing_settings(runs: Sequence[ComparedRun]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (dotted key, its value in each run) for every setting that differs.

    Settings that only some runs have (of another version of the program) and locations (registry, truth) do not count.
    """
    return tuple(
        (key, tuple(run.settings.get(key, MISSING) for run in runs))
        for key, values in _shared_settings(runs).items()
        if len(values) > 1
    )


def num_same_settings(runs: Sequence[ComparedRun]) -> int:
    """Count the settings with one value in all runs."""
    return sum(len(values) == 1 for values in _shared_settings(runs).values())


def _shared_settings(runs: Sequence[ComparedRun]) -> dict[str, set[str]]:
    """Return dotted key -> values of the settings that all runs with known settings have; empty for fewer than two."""
    known = [run.settings for run in runs if run.settings]
    if len(known) < 2:
        return {}
    keys = set.intersection(*(set(settings) for settings in known)) - set(_LOCATIONS)
    return {key: {settings[key] for settings in known} for key in sorted(keys)}


def same_heldout(runs: Sequence[ComparedRun]) -> bool | None:
    """Check that all runs were judged on the same held-out frames and labels; None if that is unknown of any run."""
    if not all(run.judged_on for run in runs):
        return None
    return len({run.judged_on for run in runs}) == 1


def same_classes(runs: Sequence[ComparedRun]) -> bool:
    """Check that all runs with known classes have the same ones, in any order."""
    return len({frozenset(run.summary["classes"]) for run in runs if run.summary.get("classes")}) <= 1


def caveats(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    """List what limits the comparison of the figures."""
    notes = []
    if not same_classes(runs):
        named: dict[str, list[str]] = {}
        for run in runs:
            if run.summary.get("classes"):
                named.setdefault(", ".join(sorted(run.summary["classes"])), []).append(run.name)
        which = "; ".join(f"{' and '.join(names)}: {classes}" for classes, names in named.items())
        notes.append(f"The runs have different classes ({which}), so their mAP are means over different things.")
    same = same_heldout(runs)
    if same is False:
        notes.append(
            "The runs were judged on different held-out frames or labels, so part of every difference in accuracy is a "
            "difference of footage."
        )
    elif same is None:
        notes.append("The held-out frames of some runs are unknown; they may differ.")
    if without := [run.name for run in runs if not run.settings]:
        notes.append(f"No configuration was found for {', '.join(without)}.")
    return tuple(notes)


def as_values(runs: Sequence[ComparedRun]) -> dict[str, Any]:
    """Return the comparison as JSON values, for --json."""
    return {
        "runs": [{"name": run.name, "page": run.page, "summary": dict(run.summary)} for run in runs],
        "same_classes": same_classes(runs),
        "same_heldout_frames": same_heldout(runs),
        "differing_settings": {key: list(values) for key, values in differing_settings(runs)},
        "notes": list(caveats(runs)),
    }


# --- cells ----------------------------------------------------------------------------------------------------------


def change(summary: Mapping[str, Any], suffix: str = "") -> str:
    """Format the gain in mAP@50 by training, '+18.4 (+14.4 to +23.4)'; '' if raw or trained student was not judged."""
    raw, trained = number(summary, f"map_50_raw{suffix}"), number(summary, f"map_50_trained{suffix}")
    gain = trained - raw if raw is not None and trained is not None else None
    return words.with_interval(words.signed_points, gain, summary, f"gain_map_50{suffix}")


def promoted(summary: Mapping[str, Any]) -> str:
    """Format the decision: 'yes, version 7', 'no', or '' if unknown."""
    if "promoted" not in summary:
        return ""
    if not summary["promoted"]:
        return "no"
    return f"yes, version {summary['promoted_version']}" if summary.get("promoted_version") else "yes"


def _shown(key: str, show: Callable[[float], str]) -> Cell:
    return lambda summary: show(value) if (value := number(summary, key)) is not None else ""


def _of(chosen: str, full: str, form: str) -> Cell:
    def cell(summary: Mapping[str, Any]) -> str:
        part, whole = number(summary, chosen), number(summary, full)
        return f"{part:{form}} of {whole:{form}}" if part is not None and whole is not None else ""

    return cell


def _accuracy(suffix: str) -> tuple[tuple[str, Cell], ...]:
    def points(model: str) -> Cell:
        return lambda summary: words.points_and_interval(summary, f"map_50_{model}{suffix}")

    return (
        ("raw student", points("raw")),
        ("trained student", points("trained")),
        ("change", lambda summary: change(summary, suffix)),
        ("champion until then", points("champion")),
        ("control arm", points("control")),
        ("teacher", points("teacher")),
    )


_HEADLINE: tuple[tuple[str, tuple[tuple[str, Cell], ...]], ...] = (
    ("Agreement with the teacher, mAP@50", _accuracy("")),
    ("Accuracy against the truth, mAP@50", _accuracy("_truth")),
    ("Frames", (
        ("to learn from", _shown("frames_pool", words.count)),
        ("kept by confidence", _shown("frames_kept_confidence", words.count)),
        ("labelled", _shown("frames_labeled", words.count)),
        ("kept by precision, trained on", _shown("frames_kept", words.count)),
        ("held out, measured on", _shown("frames_heldout", words.count)),
    )),
    ("Cost", (
        ("culling, labelling, training", _shown("culled_training_seconds", words.duration)),
        ("training on everything, projected", _shown("projected_full_training_seconds", words.duration)),
        ("projected over spent", _shown("projected_full_training_ratio", words.times)),
        ("all stages", _shown("pipeline_seconds", words.duration)),
        ("of them on a GPU", _shown("gpu_seconds", lambda seconds: words.duration(seconds) if seconds else "")),
        ("memory, largest process", _shown("peak_rss_mib", words.mib)),
    )),
    ("Input size", (
        ("short side, px", _of("side_px", "full_side_px", ".0f")),
        ("GFLOPs per image", _of("gflops_chosen", "gflops_full", ".3g")),
    )),
    ("Camera and models", (
        ("camera", lambda summary: str(summary.get("camera", ""))),
        ("student", lambda summary: str(summary.get("student", ""))),
        ("teacher", lambda summary: str(summary.get("teacher", ""))),
        ("classes", lambda summary: ", ".join(summary.get("classes", ()))),
        ("footage from, UTC", lambda summary: str(summary.get("footage_start_utc", ""))[:16].replace("T", " ")),
    )),
    ("Decision", (("promoted", promoted),)),
)  # fmt: skip
"""(group, its rows) of the table of figures."""
