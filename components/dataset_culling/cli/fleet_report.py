"""`culling fleet report`: every camera's nights and promotions out of folders of runs and registries, as one page."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import Command
from dataset_culling.cli.compare import CONFIG, PAGE, SUMMARY, link, read_summary
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.registry.models import Registry, open_registry
from dataset_culling.report.words import parse_start
from dataset_culling.storage import is_remote
from dataset_culling.storage.transfer import write_page

SKIPPED = ("tasks", "logs", "scratch", "footage", "model")
"""Folders of a run that hold no other runs."""
FOOTAGE = Path("tasks", "extract-frames", "pool", "footage.json")
_DATE = re.compile(r"(20\d\d)-?(\d\d)-?(\d\d)")


@dataclass(frozen=True, slots=True)
class Found:
    """Runs and registries below the named places."""

    runs: tuple[Path, ...]  # folders with a summary.json, or with tasks and none
    registries: tuple[str, ...]


@click.command("report", cls=Command)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", required=True, help="Page to write, e.g. fleet.html, or s3://bucket/key.")
@click.option(
    "--stale-days",
    default=2.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Days without a run that are too many.",
)
@click.option("--now", "now_utc", default="", help="Time of the report in UTC, ISO 8601. [default: this moment]")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def fleet_report_command(sources: tuple[str, ...], out: str, stale_days: float, now_utc: str, as_json: bool) -> None:
    """All cameras on one page: accuracy over the nights, promotions, cost; failing and stale ones first.

    SOURCE is a folder with runs, at any depth, or the root of a registry (a folder or s3://bucket/prefix). Registries
    inside folders of runs are found, too.

    \b
    culling fleet report runs --out fleet.html
    culling fleet report runs s3://fleet/registry --out fleet.html --stale-days 3
    """
    from dataset_culling.report.fleet_page import Camera, build_fleet_page, in_order, overview_row

    now = _moment(now_utc)
    cameras: list[Camera] = read_cameras(find(sources), out=None if is_remote(out) else Path(out))
    if not cameras:
        raise InputError(
            f"{', '.join(sources)}: no runs (folders with a {SUMMARY}) and no registry here. Check the path."
        )
    try:
        page = build_fleet_page(cameras, now=now, stale_days=stale_days)
    except ValueError as error:
        raise ConfigError(f"fleet report: {error}. Name fewer folders.") from None
    write_page(out, page)
    ordered = in_order(cameras, now=now, stale_days=stale_days)
    if as_json:
        values = [
            {"camera": camera.name, "state": state.kind, "reason": state.reason, "nights": len(camera.nights),
             "summary": dict(camera.last.summary) if camera.last is not None else None}
            for camera, state in ordered
        ]  # fmt: skip
        click.echo(json.dumps(values, indent=1, sort_keys=True))
        return
    width = max(len(camera.name) for camera in cameras)
    for camera, state in ordered:
        row = overview_row(camera, state)
        before, after, night = (value.replace("–", "-") for value in (*row.cells[:2], row.night))
        click.echo(f"{state.kind:8}  {camera.name:{width}}  {night:10}  {before:>5} -> {after:>5}  {state.reason}")
    click.echo(f"Page  {out}")


def find(sources: Sequence[str]) -> Found:
    """Runs and registries in the places named.

    Raises:
        InputError: If one is not there.
    """
    runs: list[Path] = []
    registries: list[str] = []
    for source in sources:
        if is_remote(source):
            registries.append(source)
            continue
        root = Path(source)
        if not root.is_dir():
            raise InputError(
                f"{root}: expected a folder with runs, or a registry, found no such folder. Check the path."
            )
        for folder in _walk(root):
            if is_registry(folder):
                registries.append(str(folder))
            if is_run(folder):
                runs.append(folder)
    return Found(tuple(dict.fromkeys(runs)), tuple(dict.fromkeys(registries)))


def _walk(root: Path) -> Iterator[Path]:
    for folder, inner, _ in os.walk(root):
        here = Path(folder)
        yield here
        skipped = SKIPPED if is_run(here) else ("cameras",) if is_registry(here) else ()
        inner[:] = sorted(name for name in inner if name not in skipped and not name.startswith("."))


def is_registry(folder: Path) -> bool:
    """Tell whether a folder is a registry's root: cameras/NAME with a champion or versions."""
    cameras = folder / "cameras"
    return cameras.is_dir() and any(
        (camera / "versions").is_dir() or (camera / "champion.json").is_file() for camera in cameras.iterdir()
    )


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run's: it has a summary, or the tasks and logs of an unfinished one."""
    return (folder / SUMMARY).is_file() or ((folder / "tasks").is_dir() and (folder / "logs").is_dir())


def read_cameras(found: Found, *, out: Path | None) -> list[Any]:
    """Every camera of the runs and registries, by name.

    Returns:
        `report.fleet.Camera` records; nights are runs, or a registry's versions where a camera has no runs here.

    Raises:
        InputError: If a summary is no JSON.
        StoreError: If a registry does not answer or is corrupt.
    """
    from dataset_culling.report.fleet_page import Camera, Night, Promotion, Unfinished

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
            promotions.setdefault(camera, []).extend(
                Promotion(_moment(move.moved_utc), move.kind, move.version, move.reason)
                for move in registry.history(camera)
            )
            if camera not in nights:
                versions.setdefault(camera, []).extend(_version_nights(registry, camera, Night))
    names = sorted({*nights, *unfinished, *promotions, *versions})
    return [
        Camera(
            name,
            tuple(sorted(nights.get(name, versions.get(name, [])), key=lambda night: (night.when, night.name))),
            tuple(unfinished.get(name, ())),
            tuple(sorted(promotions.get(name, ()), key=lambda move: move.when)),
        )
        for name in names
    ]


def _version_nights(registry: Registry, camera: str, night: Any) -> list[Any]:
    promoted = {move.version for move in registry.history(camera) if move.kind == "promote"}
    return [
        night(
            f"version {version.version}",
            _moment(version.published_utc),
            {**version.metrics, "promoted": version.version in promoted, "promoted_version": version.version},
        )
        for version in registry.versions(camera)
    ]


def when_of(run: Path, summary: dict[str, Any]) -> datetime:
    """Find the time of a run's footage: from its summary, else its folder's name, else when it was written."""
    said = summary.get("footage_start_utc") or _footage_start(run)
    start = parse_start(said) if isinstance(said, str) else None
    if start is not None:
        return start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    for part in (run.name, run.parent.name):
        if named := _DATE.search(part):
            with suppress(ValueError):
                return datetime(int(named[1]), int(named[2]), int(named[3]), tzinfo=UTC)
    file = run / SUMMARY
    return datetime.fromtimestamp((file if file.is_file() else run).stat().st_mtime, UTC)


def _footage_start(run: Path) -> str:
    """For runs whose summary does not say it."""
    try:
        report = json.loads((run / FOOTAGE).read_text(encoding="utf-8"))
        return str(report.get("start_utc", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _camera_of(run: Path) -> str:
    """The camera of a run without a summary: what its settings for the evaluation or promotion say, else its folder."""
    for file in (
        run / CONFIG,
        run / "logs" / "evaluate-student.config.json",
        run / "logs" / "promote-student.config.json",
    ):
        with suppress(OSError, ValueError, AttributeError):
            if name := json.loads(file.read_text(encoding="utf-8")).get("camera"):
                return str(name)
    return run.name


def stopped_at(run: Path, *, finished: bool) -> str | None:
    """Describe where an unfinished run is or stopped, with the last error of its log; None if it finished."""
    half = sorted((run / "tasks").glob(".*.partial"), key=lambda path: path.stat().st_mtime)
    if not half:
        return None if finished else "it stopped between two stages"
    task = half[-1].name[1:].removesuffix(".partial")
    with suppress(OSError):
        lines = (run / "logs" / f"{task}.log").read_text(encoding="utf-8", errors="replace").splitlines()
        if said := [line for line in lines if line.startswith("error: ")]:
            return f"{task}: {said[-1].removeprefix('error: ')}"
    return f"it stopped in {task}"


def is_locked(run: Path) -> bool:
    """Tell whether a process holds the run's folder."""
    try:
        with (run / ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _moment(text: str) -> datetime:
    if not text:
        return datetime.now(UTC)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"'{text}': not a time. Write it like 2026-11-20T06:00:00Z.") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
