"""Reading of finished runs from their folders, for pages about several runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dataset_culling.artifacts.header import read_header
from dataset_culling.errors import ArtifactError, ConfigError, InputError
from dataset_culling.report.compare_runs import ComparedRun
from dataset_culling.report.words import flatten

SUMMARY, PAGE, CONFIG = "summary.json", "report.html", "config.json"
METRICS = Path("tasks", "evaluate-student", "metrics")
COPIED = ("camera", "classes", "student", "teacher", "registry", "truth", "control_arm", "labelling", "training")
"""Settings that are copied into the stages' sections from elsewhere; the copies are left out."""


def read_runs(paths: Sequence[Path], *, out: Path | None = None) -> tuple[ComparedRun, ...]:
    """Read the runs, in the order given.

    Args:
        paths: Folders of finished runs, or their summary.json.
        out: The page that will link to the runs' pages.

    Raises:
        ConfigError: If fewer than two are named, or one twice.
        InputError: If a run has no valid summary.
    """
    folders = [path.parent if path.name == SUMMARY else path for path in paths]
    resolved = [folder.resolve() for folder in folders]
    if twice := [folder for place, folder in enumerate(folders) if resolved[place] in resolved[:place]]:
        raise ConfigError(f"compare: {twice[0]} is named twice. Name each run once.")
    if len(folders) < 2:
        raise ConfigError(f"compare: only {folders[0]} is named. Name two runs or more.")
    return tuple(
        ComparedRun(
            name=name,
            summary=read_summary(folder / SUMMARY),
            settings=_read_settings(folder / CONFIG),
            judged_on=_judged_on(folder),
            page=link(folder / PAGE, out),
        )
        for name, folder in zip(short_names(resolved), folders, strict=True)
    )


def read_summary(file: Path) -> dict[str, Any]:
    """Read a run's summary; any key may be missing.

    Raises:
        InputError: If the file is missing or holds no JSON object.
    """
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{file}: no such file. Name the folder of a finished run, or finish this one: culling run --out "
            f"{file.parent}."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: not the summary of a run as JSON: {error}. Check the path.") from None
    if not isinstance(summary, dict):
        raise InputError(f"{file}: expected a JSON object, found a {type(summary).__name__}. Check the path.")
    # The nested values are dropped if their types are wrong; all others are checked where they are used.
    if not isinstance(summary.get("classes", []), list):
        del summary["classes"]
    if "classes" in summary:
        summary["classes"] = [str(name) for name in summary["classes"]]
    if not isinstance(summary.get("stage_seconds", {}), dict):
        del summary["stage_seconds"]
    return summary


def _read_settings(file: Path) -> dict[str, str]:
    """Read a run's settings by dotted key from config.json; empty if the file is missing or invalid."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    own = {
        key: {name: one for name, one in value.items() if name not in COPIED}
        if isinstance(value, dict) and key not in COPIED
        else value
        for key, value in values.items()
    }
    return dict(flatten(own))


def _judged_on(run: Path) -> str:
    """Return the digests of a run's held-out frames and labels; '' if its metrics are missing."""
    try:
        inputs = read_header(run / METRICS).inputs
    except ArtifactError:
        return ""
    return f"{inputs['frames']} {inputs['labels']}" if {"frames", "labels"} <= set(inputs) else ""


def link(page: Path, out: Path | None) -> str:
    """Return a relative link to `page` from the page `out`, so that both can move together; '' without either."""
    if out is None or not page.is_file():
        return ""
    return quote(Path(os.path.relpath(page.resolve(), out.resolve().parent)).as_posix())


def short_names(folders: Sequence[Path]) -> list[str]:
    """Return the last parts of each path, as few as make all names different."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]).replace("//", "/") for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
