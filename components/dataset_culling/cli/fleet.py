"""`culling fleet`: the nightly runs of many cameras, from one file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from dataset_culling.cli.command import PATH, Group, json_option

if TYPE_CHECKING:
    from dataset_culling.fleet.apply import Outcome
    from dataset_culling.fleet.operations import Target
    from dataset_culling.fleet.plan import Plan

CHANGES = 10
"""Exit code: the cluster differs from the file."""
WAITING = 11
"""Exit code: old schedules wait for their live runs; apply again."""
SIGNS = {
    "create": "+", "replace": "~", "drifted": "!", "pause": "-", "resume": "+", "remove": "x", "waiting": ".",
    "unchanged": "=",
}  # fmt: skip

EPILOG = """\b
Exit codes: 0 the cluster is as the file wants it; 2 the file or an option is wrong; 6 Kubeflow refused or did not
answer; 10 plan, status: there is something to do; 11 apply: an old schedule waits for its live run, apply again."""


def _common(command: Any) -> Any:
    """Add the options that every command of the group has."""
    for option in (
        json_option,
        click.option("--namespace", default="", help="Namespace of the runs. [default: the file's]"),
        click.option("--host", default="", help="URL of Kubeflow Pipelines. [default: KF_PIPELINES_ENDPOINT]"),
        click.argument("file", metavar="CAMERAS.YAML", type=PATH),
    ):
        command = option(command)
    return command


def _pipeline_option(command: Any) -> Any:
    return click.option("--pipeline", type=PATH, help="Compiled pipeline. [default: as the file says]")(command)


@click.group(cls=Group, epilog=EPILOG)
def fleet() -> None:
    """Keep the nightly runs of many cameras as a cameras.yaml says.

    \b
    culling fleet plan cameras.yaml
    culling fleet apply cameras.yaml
    culling fleet status cameras.yaml
    culling fleet pause cameras.yaml entrance yard
    """


@fleet.command()
@_pipeline_option
@_common
def plan(as_json: bool, **target: Any) -> int:
    """Show what apply would do, camera by camera; change nothing. Exits with 10 if there is something.

    \b
    culling fleet plan cameras.yaml
    """
    from dataset_culling.fleet.operations import plan_fleet

    made = plan_fleet(_target(**target))
    if as_json:
        click.echo(json.dumps(_plan_json(made)))
    else:
        _print_plan(made)
    return 0 if made.is_settled else CHANGES


@fleet.command()
@_pipeline_option
@click.option("--workers", type=click.IntRange(1, 32), help="Cameras at once. [default: CULLING_KFP_WORKERS, 8]")
@click.option("--remove-many", is_flag=True, help="Remove even more than 5 cameras and a fifth of the fleet.")
@_common
def apply(as_json: bool, workers: int | None, remove_many: bool, **target: Any) -> int:
    """Make the cluster as the file says. Safe to run again, whenever and wherever the last one ended.

    No live run is ever ended. Run it once a day, so that schedules follow the clocks' changes.

    \b
    culling fleet apply cameras.yaml
    """
    from dataset_culling.fleet.apply import failures
    from dataset_culling.fleet.operations import apply_fleet

    made, outcomes = apply_fleet(
        _target(**target),
        workers=workers or 0,
        remove_many=remove_many,
        report=(lambda outcome: None) if as_json else _print_outcome,
    )
    unchanged = made.counts()["unchanged"]
    if as_json:
        rows = [{"camera": each.change.camera, "kind": each.change.kind, "state": each.state, "said": each.message}
                for each in outcomes]  # fmt: skip
        click.echo(json.dumps({"outcomes": rows, "unchanged": unchanged}))
    else:
        _print_foreign(made)
        done = sum(each.state == "done" for each in outcomes)
        click.echo(f"{done} of {len(outcomes)} changes done, {unchanged} cameras unchanged")
    if (error := failures(outcomes)) is not None:
        raise error
    return WAITING if any(each.state == "waiting" for each in outcomes) else 0


@fleet.command()
@_pipeline_option
@_common
def status(as_json: bool, **target: Any) -> int:
    """Each camera's schedule, next start and last run. Exits with 10 if the cluster is not as the file says.

    \b
    culling fleet status cameras.yaml
    """
    from dataset_culling.fleet.operations import fleet_status

    made, cameras = fleet_status(_target(**target))
    rows: list[dict[str, Any]] = []
    for each in cameras:
        change, last = each.change, each.last_run
        local = change.wanted.local if change.wanted is not None else ""
        ran = (last.id, last.state, _time(last.created_utc)) if last is not None else ("", "", "")
        rows.append(
            {"camera": change.camera, "schedule": each.schedule, "local": local,
             "next_start_utc": _time(each.next_start_utc), "change": change.kind, "reasons": list(change.reasons),
             "last_run": ran[0], "last_state": ran[1], "last_run_utc": ran[2]}
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows))
    else:
        width = max([len(row["camera"]) for row in rows], default=6)
        click.echo(f"{'camera':{width}}  {'schedule':8}  {'next start (UTC)':20}  {'last run':9}  begun (UTC)")
        for row in rows:
            note = "" if row["change"] == "unchanged" else f"  {row['change']}: {'; '.join(row['reasons'])}"
            click.echo(
                f"{row['camera']:{width}}  {row['schedule']:8}  {row['next_start_utc'] or '-':20}  "
                f"{row['last_state'].lower() or '-':9}  {row['last_run_utc'] or '-'}{note}"
            )
        _print_foreign(made)
    return 0 if made.is_settled else CHANGES


@fleet.command()
@_common
@click.argument("cameras", nargs=-1, required=True)
def pause(cameras: tuple[str, ...], as_json: bool, **target: Any) -> None:
    """Switch the nights of CAMERAS off, in the file and at once in the cluster. A live run goes on.

    \b
    culling fleet pause cameras.yaml entrance yard
    """
    _switch(cameras, as_json, target, paused=True)


@fleet.command()
@_common
@click.argument("cameras", nargs=-1, required=True)
def resume(cameras: tuple[str, ...], as_json: bool, **target: Any) -> None:
    """Switch the nights of CAMERAS on again, in the file and at once in the cluster. Missed nights are not made up.

    \b
    culling fleet resume cameras.yaml entrance
    """
    _switch(cameras, as_json, target, paused=False)


def _target(**options: Any) -> Target:
    from dataset_culling.fleet.operations import Target

    return Target(**options)


def _switch(names: tuple[str, ...], as_json: bool, target: dict[str, Any], *, paused: bool) -> None:
    from dataset_culling.fleet.operations import switch_cameras

    done = switch_cameras(_target(**target), names, paused=paused)
    if as_json:
        rows = [{"camera": name, "file_changed": changed, "said": said} for name, (changed, said) in done.items()]
        click.echo(json.dumps(rows))
        return
    for name, (changed, said) in done.items():
        click.echo(f"{name}: {said}{'' if changed else '; the file said so already'}")


def _print_plan(made: Plan) -> None:
    for change in made.changes:
        if change.kind == "unchanged":
            continue
        first, wanted = "", change.wanted
        if wanted is not None and change.kind in ("create", "replace", "drifted"):
            first = f"  {wanted.local}, next {_time(wanted.first_start_utc)}"
        paused = "  paused" if wanted is not None and wanted.paused else ""
        busy = "  (a run goes on; it is left alone)" if change.live and change.kind != "waiting" else ""
        reasons = f"  {'; '.join(change.reasons)}" if change.reasons else ""
        click.echo(f"{SIGNS[change.kind]} {change.kind:9} {change.camera}{first}{paused}{reasons}{busy}")
    _print_foreign(made)
    click.echo(", ".join(f"{number} {kind}" for kind, number in made.counts().items() if number) or "no cameras")


def _print_foreign(made: Plan) -> None:
    for run in made.foreign:
        click.echo(f"? {run.name}: recurring run {run.id} has a camera's name but is not ours; left alone", err=True)


def _print_outcome(outcome: Outcome) -> None:
    mark = {"done": SIGNS[outcome.change.kind], "waiting": ".", "failed": "x"}[outcome.state]
    message = f": {outcome.message}" if outcome.message else ""
    click.echo(f"{mark} {outcome.change.kind:9} {outcome.change.camera}  {outcome.state}{message}")


def _plan_json(made: Plan) -> dict[str, Any]:
    changes = []
    for change in made.changes:
        wanted = change.wanted
        cron, start, paused = (wanted.cron, wanted.first_start_utc, wanted.paused) if wanted else ("", None, False)
        changes.append(
            {"camera": change.camera, "kind": change.kind, "reasons": list(change.reasons), "cron": cron,
             "next_start_utc": _time(start), "paused": paused, "old": [run.id for run in change.old],
             "live": sorted(change.live)}
        )  # fmt: skip
    return {"changes": changes, "counts": made.counts(), "foreign": [run.id for run in made.foreign]}


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""
