"""History of every camera, read from folders of runs and from registries, for `culling fleet report`."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataset_culling.errors import ConfigError, InputError
from dataset_culling.registry.models import open_registry
from dataset_culling.report.fleet_cameras import Camera, Night, Promotion, Unfinished
from dataset_culling.report.run_folders import CONFIG, PAGE, SUMMARY, link, read_summary
from dataset_culling.report.words import parse_start
from dataset_culling.storage import is_remote

SKIPPED = ("tasks", "logs", "scratch", "footage", "model")
"""Folders of a run that hold no other runs."""
FOOTAGE = Path("tasks", "extract-frames", "pool", "footage.json")
_DATE = re.compile(r"(20\d\d)-?(\d\d)-?(\d\d)")


@dataclass(frozen=True, slots=True)
class Found:
    """Runs and registries below the named sources."""

    runs: tuple[Path, ...]  # folders with a summary.json, or with tasks and logs of an unfinished run
    registries: tuple[str, ...]


def find(sources: Sequence[str]) -> Found:
    """Find runs and registries in folders, at any depth; a remote source is a registry.

    Raises:
        InputError: If a folder does not exist.
    """
    runs: list[Path] = []
    registries: list[str] = []
    for source in sources:
        if is_remote(source):
            registries.append(source)
            continue
        root = Path(source)
        if not root.is_dir():
            raise InputError(f"{root}: no such folder. Name a folder with runs, or a registry.")
        for folder in _walk(root):
            if _is_registry(folder):
                registries.append(str(folder))
            if _is_run(folder):
                runs.append(folder)
    return Found(tuple(dict.fromkeys(runs)), tuple(dict.fromkeys(registries)))


def read_cameras(sources: Sequence[str], *, out: Path | None) -> list[Camera]:
    """Read the history of every camera found in the sources, by name.

    Args:
        sources: Folders, or remote registries.
        out: The page that will link to the runs' pages; None for a remote one, without links.

    Returns:
        Cameras; their nights are runs, or the registry's versions if a camera has no runs here.

    Raises:
        InputError: If a folder is missing, holds neither runs nor a registry, or has an invalid summary.
        StoreError: If a registry does not answer or is corrupt.
    """
    found = find(sources)
    nights: dict[str, list[Night]] = {}
    unfinished: dict[str, list[Unfinished]] = {}
    for run in found.runs:
        summary = read_summary(run / SUMMARY) if (run / SUMMARY).is_file() else {}
        camera = str(summary.get("camera") or _camera_of(run))
        when = when_of(run, summary)
        name = run.name or str(run)
        if summary:
            nights.setdefault(camera, []).append(Night(name, when, summary, link(run / PAGE, out)))
        if (reason := stopped_at(run, finished=bool(summary))) is not None:
            written = datetime.fromtimestamp((run / "tasks").stat().st_mtime, UTC)
            unfinished.setdefault(camera, []).append(Unfinished(name, max(when, written), is_locked(run), reason))
    promotions: dict[str, list[Promotion]] = {}
    versions: dict[str, list[Night]] = {}
    for uri in found.registries:
        registry = open_registry(uri)
        for camera in registry.cameras():
            moves = registry.history(camera)
            promotions.setdefault(camera, []).extend(
                Promotion(parse_moment(move.moved_utc), move.kind, move.version, move.reason) for move in moves
            )
            if camera in nights:
                continue
            promoted = {move.version for move in moves if move.kind == "promote"}
            versions.setdefault(camera, []).extend(
                Night(
                    f"version {one.version}",
                    parse_moment(one.published_utc),
                    {**one.metrics, "promoted": one.version in promoted, "promoted_version": one.version},
                )
                for one in registry.versions(camera)
            )
    names = sorted({*nights, *unfinished, *promotions, *versions})
    if not names:
        raise InputError(
            f"{', '.join(sources)}: no runs (folders with a {SUMMARY}) and no registry here. Check the path."
        )
    return [
        Camera(
            name,
            tuple(sorted(nights.get(name, versions.get(name, [])), key=lambda night: (night.when, night.name))),
            tuple(unfinished.get(name, ())),
            tuple(sorted(promotions.get(name, ()), key=lambda move: move.when)),
        )
        for name in names
    ]


def parse_moment(text: str) -> datetime:
    """Parse an ISO 8601 time, in UTC unless it has a zone; '' is the present.

    Raises:
        ConfigError: If it is invalid.
    """
    if not text:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"'{text}': not a time. Write it like 2026-11-20T06:00:00Z.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _walk(root: Path) -> Iterator[Path]:
    for folder, inner, _ in os.walk(root):
        here = Path(folder)
        yield here
        skipped = SKIPPED if _is_run(here) else ("cameras",) if _is_registry(here) else ()
        inner[:] = sorted(name for name in inner if name not in skipped and not name.startswith("."))


def _is_registry(folder: Path) -> bool:
    cameras = folder / "cameras"
    return cameras.is_dir() and any(
        (camera / "versions").is_dir() or (camera / "champion.json").is_file() for camera in cameras.iterdir()
    )


def _is_run(folder: Path) -> bool:
    return (folder / SUMMARY).is_file() or ((folder / "tasks").is_dir() and (folder / "logs").is_dir())


def when_of(run: Path, summary: Mapping[str, Any]) -> datetime:
    """Find the time of a run: from its footage, else from its folder's name, else when its summary was written."""
    known = summary.get("footage_start_utc") or _json(run / FOOTAGE).get("start_utc")
    if isinstance(known, str) and (start := parse_start(known)) is not None:
        return start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    for part in (run.name, run.parent.name):
        if named := _DATE.search(part):
            with suppress(ValueError):
                return datetime(int(named[1]), int(named[2]), int(named[3]), tzinfo=UTC)
    file = run / SUMMARY
    return datetime.fromtimestamp((file if file.is_file() else run).stat().st_mtime, UTC)


def _camera_of(run: Path) -> str:
    """Return the camera of a run without a summary: from its settings, else its folder's name."""
    logs = run / "logs"
    for file in (run / CONFIG, logs / "evaluate-student.config.json", logs / "promote-student.config.json"):
        if name := _json(file).get("camera"):
            return str(name)
    return run.name


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file is missing or invalid."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def stopped_at(run: Path, *, finished: bool) -> str | None:
    """Describe where an unfinished run is or stopped, with the last error of its log; None if it finished."""
    half = sorted((run / "tasks").glob(".*.partial"), key=lambda path: path.stat().st_mtime)
    if not half:
        return None if finished else "it stopped between two stages"
    task = half[-1].name[1:].removesuffix(".partial")
    with suppress(OSError):
        lines = (run / "logs" / f"{task}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        if errors := [line for line in lines if line.startswith("error: ")]:
            return f"{task}: {errors[-1].removeprefix('error: ')}"
    return f"it stopped in {task}"


def is_locked(run: Path) -> bool:
    """Check if a process holds the run's folder."""
    try:
        with (run / ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
