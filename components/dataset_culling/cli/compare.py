"""`culling compare`: several finished runs side by side, in the terminal, as JSON and as one page."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from dataset_culling.artifacts.header import read_header
from dataset_culling.cli.command import Command
from dataset_culling.errors import ArtifactError, ConfigError, InputError
from dataset_culling.report.comparison import ComparedRun, as_values, print_comparison
from dataset_culling.report.words import flatten
from dataset_culling.storage import is_remote
from dataset_culling.storage.transfer import write_page

SUMMARY, PAGE, CONFIG = "summary.json", "report.html", "config.json"
METRICS = Path("tasks", "evaluate-student", "metrics")
SHARED = ("camera", "classes", "student", "teacher", "registry", "truth", "control_arm", "labelling", "training")
"""Settings that stand elsewhere and are laid into the stages' sections, where what is written does not count."""


@click.command("compare", cls=Command)
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path))
@click.option("--out", help="Page to write, e.g. compare.html, or s3://bucket/key.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def compare_command(runs: tuple[Path, ...], out: str | None, as_json: bool) -> None:
    """Show several finished runs side by side: nights, strategies, cameras.

    RUN is the folder of a run, or its summary.json. With --out the same is written as one page, with charts and links
    to the runs' own pages.

    \b
    culling compare runs/demo runs/night
    culling compare runs/*/ --out compare.html
    culling compare runs/monday runs/tuesday --json
    """
    compared = read_runs(runs, out=Path(out) if out and not is_remote(out) else None)
    if out is not None:
        from dataset_culling.report.compare_page import build_comparison_page

        try:
            page = build_comparison_page(compared)
        except ValueError as error:
            raise ConfigError(f"compare: {error}. Name fewer runs.") from None
        write_page(out, page)
    if as_json:
        click.echo(json.dumps(as_values(compared), indent=1, sort_keys=True))
        return
    print_comparison(compared)
    if out is not None:
        click.echo(f"Page  {out}")


def read_runs(paths: Sequence[Path], *, out: Path | None = None) -> tuple[ComparedRun, ...]:
    """The runs in the order in which they were named.

    Args:
        paths: Folders of finished runs, or their summary.json.
        out: The page that will link to theirs.

    Raises:
        ConfigError: If fewer than two are named, or one twice.
        InputError: If one has no summary.
    """
    folders = [path.parent if path.name == SUMMARY else path for path in paths]
    whole = [folder.resolve() for folder in folders]
    if twice := [folder for place, folder in enumerate(folders) if whole[place] in whole[:place]]:
        raise ConfigError(f"compare: expected different runs, found {twice[0]} twice. Name each once.")
    if len(folders) < 2:
        raise ConfigError(f"compare: expected two runs or more, found only {folders[0]}. Name another.")
    return tuple(
        ComparedRun(
            name=name,
            summary=read_summary(folder / SUMMARY),
            settings=read_settings(folder / CONFIG),
            judged_on=judged_on(folder),
            page=link(folder / PAGE, out),
        )
        for name, folder in zip(short_names(whole), folders, strict=True)
    )


def read_summary(file: Path) -> dict[str, Any]:
    """A run's summary as it is; keys that it lacks are the reader's business.

    Raises:
        InputError: If it is missing, no JSON, or no object.
    """
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{file}: expected the summary of a finished run, found no such file. Name the folder of a run, or let "
            f"it end: culling run --out {file.parent}."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected the summary of a run as JSON, found {error}.") from None
    if not isinstance(summary, dict):
        raise InputError(f"{file}: expected the summary of a run, found a {type(summary).__name__}.")
    return _well_formed(summary)


def _well_formed(summary: dict[str, Any]) -> dict[str, Any]:
    """The summary without those of its few nested values that are not what they should be."""
    if not isinstance(summary.get("classes", []), list):
        del summary["classes"]
    if "classes" in summary:
        summary["classes"] = [str(name) for name in summary["classes"]]
    if not isinstance(summary.get("stage_seconds", {}), dict):
        del summary["stage_seconds"]
    return summary


def read_settings(file: Path) -> dict[str, str]:
    """Read a run's settings by dotted key from its config.json; empty if it cannot be read."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(values, dict):
        return {}
    own = {
        key: {name: one for name, one in value.items() if name not in SHARED}
        if isinstance(value, dict) and key not in SHARED
        else value
        for key, value in values.items()
    }
    return dict(flatten(own))


def judged_on(run: Path) -> str:
    """The digests of the held-out frames and labels that a run was judged on; empty where its metrics are not here."""
    try:
        inputs = read_header(run / METRICS).inputs
    except ArtifactError:
        return ""
    return f"{inputs['frames']} {inputs['labels']}" if {"frames", "labels"} <= set(inputs) else ""


def link(page: Path, out: Path | None) -> str:
    """Make a relative link from the page `out` to `page`, so that both can move together; empty without either."""
    if out is None or not page.is_file():
        return ""
    return quote(Path(os.path.relpath(page.resolve(), out.resolve().parent)).as_posix())


def short_names(folders: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as many as it takes to tell them apart."""
    for parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        names = ["/".join(folder.parts[-parts:]).replace("//", "/") for folder in folders]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]
