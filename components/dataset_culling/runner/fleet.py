"""`culling fleet`: the nights of many cameras, from one file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_culling.cli.command import Group
from dataset_culling.errors import ConfigError

if TYPE_CHECKING:
    from dataset_culling.fleet.apply import Outcome
    from dataset_culling.fleet.config import Fleet
    from dataset_culling.fleet.plan import Change, Plan
    from dataset_culling.kubeflow.client import Cluster, CompiledPipeline, RecurringRun, Version

CHANGES = 10
"""Exit code: what is in the cluster is not what the file wants."""
WAITING = 11
"""Exit code: all that could be done is done, but old schedules wait for their live runs; apply again."""
MANY = 5
"""So many cameras, or a fifth of the fleet, may be removed without being asked for."""

SIGNS = {
    "create": "+", "replace": "~", "drifted": "!", "pause": "-", "resume": "+", "remove": "x", "waiting": ".",
    "unchanged": "=",
}  # fmt: skip

EPILOG = """\b
Exit codes: 0 the cluster is as the file wants it; 2 the file or an option is wrong; 6 Kubeflow refused or did not
answer; 10 plan, status: there is something to do; 11 apply: an old schedule waits for its live run, apply again."""


def _common(command: Any) -> Any:
    """Options that every command of the group has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="For machines."),
        click.option("--namespace", default="", help="Namespace of the runs. [default: the file's]"),
        click.option("--host", default="", help="URL of Kubeflow Pipelines. [default: KF_PIPELINES_ENDPOINT]"),
        click.argument("file", metavar="CAMERAS.YAML", type=click.Path(path_type=Path)),
    ):
        command = option(command)
    return command


def _pipeline_option(command: Any) -> Any:
    return click.option(
        "--pipeline", type=click.Path(path_type=Path), help="Compiled pipeline. [default: as the file says]"
    )(command)


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
def plan(file: Path, host: str, namespace: str, as_json: bool, pipeline: Path | None) -> int:
    """Show what apply would do, camera by camera; change nothing. Exits with 10 if there is something.

    \b
    culling fleet plan cameras.yaml
    """
    with _opened(file, host, namespace, pipeline) as (wanted, cluster, compiled):
        made = _plan(wanted, cluster, compiled, cluster.find_version(compiled), datetime.now(UTC))
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
def apply(
    file: Path,
    host: str,
    namespace: str,
    as_json: bool,
    pipeline: Path | None,
    workers: int | None,
    remove_many: bool,
) -> int:
    """Make the cluster as the file says. Safe to run again, whenever and wherever the last one ended.

    No live run is ever ended. Run it once a day, so that schedules follow the clocks' changes.

    \b
    culling fleet apply cameras.yaml
    """
    from dataset_culling.fleet.apply import apply_plan, failures

    with _opened(file, host, namespace, pipeline) as (wanted, cluster, compiled):
        version = cluster.find_version(compiled)
        now = datetime.now(UTC)
        made = _plan(wanted, cluster, compiled, version, now)
        _refuse_many(file, made, remove_many)
        if any(change.wanted is not None and change.kind != "unchanged" for change in made.changes):
            version = cluster.upload(compiled)
        outcomes = apply_plan(
            cluster,
            made,
            version,
            now_utc=now,
            workers=workers or cluster.settings.workers,
            tell=(lambda outcome: None) if as_json else _print_outcome,
        )
    if as_json:
        rows = [{"camera": each.change.camera, "kind": each.change.kind, "state": each.state, "said": each.said}
                for each in outcomes]  # fmt: skip
        click.echo(json.dumps({"outcomes": rows, "unchanged": made.counts()["unchanged"]}))
    else:
        _print_foreign(made)
        done = sum(each.state == "done" for each in outcomes)
        click.echo(f"{done} of {len(outcomes)} changes done, {made.counts()['unchanged']} cameras unchanged")
    if (error := failures(outcomes)) is not None:
        raise error
    return WAITING if any(each.state == "waiting" for each in outcomes) else 0


@fleet.command()
@_pipeline_option
@_common
def status(file: Path, host: str, namespace: str, as_json: bool, pipeline: Path | None) -> int:
    """Each camera's schedule, next start and last run. Exits with 10 if the cluster is not as the file says.

    \b
    culling fleet status cameras.yaml
    """
    from concurrent.futures import ThreadPoolExecutor

    now = datetime.now(UTC)
    with _opened(file, host, namespace, pipeline) as (wanted, cluster, compiled):
        made = _plan(wanted, cluster, compiled, cluster.find_version(compiled), now)

        def last(change: Change) -> Any:
            runs = [cluster.last_run(each.id) for each in (*([change.keep] if change.keep else ()), *change.old)]
            return max((run for run in runs if run is not None), key=lambda run: run.created_utc, default=None)

        with ThreadPoolExecutor(cluster.settings.workers) as pool:
            newest = list(pool.map(last, made.changes))
    rows: list[dict[str, Any]] = []
    for change, run in zip(made.changes, newest, strict=True):
        on = change.keep is not None and change.keep.enabled
        start = change.wanted.first_start_utc if change.wanted is not None and on else None
        rows.append(
            {
                "camera": change.camera,
                "schedule": "on" if on else "paused" if change.keep is not None else "none",
                "local": change.wanted.local if change.wanted is not None else "",
                "next_start_utc": _time(start),
                "change": change.kind,
                "reasons": list(change.reasons),
                "last_run": run.id if run is not None else "",
                "last_state": run.state if run is not None else "",
                "last_run_utc": _time(run.created_utc if run is not None else None),
            }
        )
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
def pause(file: Path, host: str, namespace: str, as_json: bool, cameras: tuple[str, ...]) -> None:
    """Switch the nights of CAMERAS off, in the file and at once in the cluster. A live run goes on.

    \b
    culling fleet pause cameras.yaml entrance yard
    """
    _switch(file, host, namespace, cameras, as_json, paused=True)


@fleet.command()
@_common
@click.argument("cameras", nargs=-1, required=True)
def resume(file: Path, host: str, namespace: str, as_json: bool, cameras: tuple[str, ...]) -> None:
    """Switch the nights of CAMERAS on again, in the file and at once in the cluster. Missed nights are not made up.

    \b
    culling fleet resume cameras.yaml entrance
    """
    _switch(file, host, namespace, cameras, as_json, paused=False)


def _switch(file: Path, host: str, namespace: str, names: tuple[str, ...], as_json: bool, *, paused: bool) -> None:
    from dataset_culling.fleet.config import read_fleet, set_paused
    from dataset_culling.fleet.plan import mark_of
    from dataset_culling.kubeflow.client import Cluster, kfp_settings

    known = read_fleet(file)
    known.select(names)
    cluster = Cluster(kfp_settings(host, namespace or known.file.namespace))
    written = set_paused(file, names, paused)
    rows = []
    for name in dict.fromkeys(names):
        ours = [
            run
            for run in cluster.recurring_runs(f"{known.file.fleet}-{name}")
            if (mark := mark_of(run)) is not None and (mark.fleet, mark.camera) == (known.file.fleet, name)
        ]
        rows.append({"camera": name, "file_changed": name in written, "said": _switch_one(cluster, ours, paused)})
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(f"{row['camera']}: {row['said']}{'' if row['file_changed'] else '; the file said so already'}")


def _switch_one(cluster: Cluster, ours: list[RecurringRun], paused: bool) -> str:
    if paused:
        for run in ours:
            if run.enabled:
                cluster.disable(run.id)
        return "paused" if ours else "paused; it has no schedule in the cluster yet"
    if len(ours) != 1:
        return "to be resumed by culling fleet apply" + (": a replacement is not finished" if ours else "")
    if not ours[0].enabled:
        cluster.enable(ours[0].id)
    return "resumed"


@contextmanager
def _opened(
    file: Path, host: str, namespace: str, pipeline: Path | None
) -> Iterator[tuple[Fleet, Cluster, CompiledPipeline]]:
    """The checked file, the cluster and the pipeline; the file's errors come before the cluster is asked."""
    from dataset_culling.fleet.config import read_fleet
    from dataset_culling.kubeflow.client import Cluster, kfp_settings

    known = read_fleet(file)
    said = known.file.pipeline
    path = pipeline or (file.parent / said.file if said.file else None)
    with compiled_pipeline(path, said.profile, said.image) as compiled:
        yield known, Cluster(kfp_settings(host, namespace or known.file.namespace)), compiled


@contextmanager
def compiled_pipeline(path: Path | None, profile: str, image: str) -> Iterator[CompiledPipeline]:
    """The compiled pipeline in a file, or compiled on the spot and gone afterwards."""
    from dataset_culling.kubeflow.client import read_compiled

    if path is not None:
        yield read_compiled(path)
        return
    from dataset_culling.kubeflow.compile import compile_pipeline

    with tempfile.TemporaryDirectory(prefix="culling-") as folder:
        made = Path(folder) / "pipeline.yaml"
        compile_pipeline(made, profile, image)
        yield read_compiled(made)


def _plan(known: Fleet, cluster: Cluster, compiled: CompiledPipeline, version: Version, now: datetime) -> Plan:
    from dataset_culling.fleet.plan import make_plan, wanted_runs

    wanted = wanted_runs(known, version=compiled.version, defaults=compiled.defaults, now_utc=now)
    live = {run.recurring_run_id for run in cluster.live_runs() if run.recurring_run_id}
    return make_plan(
        wanted,
        cluster.recurring_runs(),
        live,
        fleet=known.file.fleet,
        version_id=version.id or "not uploaded",
    )


def _refuse_many(file: Path, made: Plan, remove_many: bool) -> None:
    """A file that was cut off must not cost a fleet its nights."""
    going = [change.camera for change in made.changes if change.wanted is None]
    if not remove_many and len(going) > max(MANY, len(made.changes) // 5):
        raise ConfigError(
            f"{file}: expected most cameras of the cluster in it, found {len(going)} of {len(made.changes)} missing "
            f"({going[0]}, ...). Mend the file, or pass --remove-many."
        )


def _print_plan(made: Plan) -> None:
    for change in made.changes:
        if change.kind == "unchanged":
            continue
        first = ""
        if change.wanted is not None and change.kind in ("create", "replace", "drifted"):
            first = f"  {change.wanted.local}, next {_time(change.wanted.first_start_utc)}"
        paused = "  paused" if change.wanted is not None and change.wanted.paused else ""
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
    said = f": {outcome.said}" if outcome.said else ""
    click.echo(f"{mark} {outcome.change.kind:9} {outcome.change.camera}  {outcome.state}{said}")


def _plan_json(made: Plan) -> Mapping[str, Any]:
    changes = []
    for change in made.changes:
        want = change.wanted
        changes.append(
            {
                "camera": change.camera,
                "kind": change.kind,
                "reasons": list(change.reasons),
                "cron": want.cron if want is not None else "",
                "next_start_utc": _time(want.first_start_utc) if want is not None else "",
                "paused": want.paused if want is not None else False,
                "old": [run.id for run in change.old],
                "live": sorted(change.live),
            }
        )
    return {"changes": changes, "counts": made.counts(), "foreign": [run.id for run in made.foreign]}


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment is not None else ""
