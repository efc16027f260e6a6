"""The work of `culling fleet`: plan, apply, status, pause and resume, each from a cameras.yaml to a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dataset_culling.errors import ConfigError
from dataset_culling.fleet.apply import Outcome, apply_plan
from dataset_culling.fleet.config import Fleet, read_fleet, set_paused
from dataset_culling.fleet.plan import Change, Plan, make_plan, mark_of, wanted_runs
from dataset_culling.kubeflow.client import Cluster
from dataset_culling.kubeflow.compiled import CompiledPipeline, compiled_pipeline
from dataset_culling.kubeflow.runs import RecurringRun, Run, Version
from dataset_culling.kubeflow.settings import kfp_settings

MANY = 5
"""So many cameras, or a fifth of the fleet, may be removed without `remove_many`."""


@dataclass(frozen=True, slots=True)
class Target:
    """A cameras.yaml and the server that it is for; `host` and `namespace` are empty for the defaults."""

    file: Path
    host: str = ""
    namespace: str = ""
    pipeline: Path | None = None
    """Compiled pipeline; None: as the file says."""


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera's schedule and its newest run."""

    change: Change
    last_run: Run | None

    @property
    def schedule(self) -> str:
        """Its state in the cluster: on, paused or none."""
        keep = self.change.keep
        return "none" if keep is None else "on" if keep.enabled else "paused"

    @property
    def next_start_utc(self) -> datetime | None:
        """Its next start, if its schedule is on."""
        wanted = self.change.wanted
        return wanted.first_start_utc if wanted is not None and self.schedule == "on" else None


def plan_fleet(target: Target) -> Plan:
    """Compare the cluster with the file; change nothing."""
    with _opened(target) as (fleet, cluster, compiled):
        return _plan(fleet, cluster, compiled, cluster.find_version(compiled), datetime.now(UTC))


def apply_fleet(
    target: Target, *, workers: int = 0, remove_many: bool = False, report: Callable[[Outcome], None]
) -> tuple[Plan, list[Outcome]]:
    """Make the cluster as the file says.

    Args:
        target: File and server.
        workers: Cameras at once; 0: as the environment says.
        remove_many: Allow the removal of more than MANY cameras and a fifth of the fleet.
        report: Called with each outcome as it comes.

    Raises:
        ConfigError: If the file is invalid, or suspiciously many cameras are missing.
        ClusterError: If the server refuses or does not answer; a camera's own failure is in its outcome.
    """
    with _opened(target) as (fleet, cluster, compiled):
        version, now = cluster.find_version(compiled), datetime.now(UTC)
        plan = _plan(fleet, cluster, compiled, version, now)
        leaving = [change.camera for change in plan.changes if change.wanted is None]
        if not remove_many and len(leaving) > max(MANY, len(plan.changes) // 5):  # perhaps the file was cut off
            raise ConfigError(
                f"{target.file}: the file looks cut off, {len(leaving)} of {len(plan.changes)} missing "
                f"({leaving[0]}, ...). Fix it, or pass --remove-many."
            )
        if any(change.wanted is not None and change.kind != "unchanged" for change in plan.changes):
            version = cluster.upload(compiled)
        workers = workers or cluster.settings.workers
        return plan, apply_plan(cluster, plan, version, now_utc=now, workers=workers, report=report)


def fleet_status(target: Target) -> tuple[Plan, list[CameraStatus]]:
    """Compare the cluster with the file, and look each camera's newest run up."""
    with _opened(target) as (fleet, cluster, compiled):
        plan = _plan(fleet, cluster, compiled, cluster.find_version(compiled), datetime.now(UTC))

        def newest(change: Change) -> Run | None:
            kept = (change.keep,) if change.keep is not None else ()
            runs = [run for each in (*kept, *change.old) if (run := cluster.last_run(each.id)) is not None]
            return max(runs, key=lambda run: run.created_utc, default=None)

        with ThreadPoolExecutor(cluster.settings.workers) as pool:
            rows = zip(plan.changes, pool.map(newest, plan.changes), strict=True)
            return plan, [CameraStatus(change, run) for change, run in rows]


def switch_cameras(target: Target, names: tuple[str, ...], *, paused: bool) -> dict[str, tuple[bool, str]]:
    """Pause or resume cameras, in the file and at once in the cluster.

    Returns:
        Camera -> whether the file changed, and what happened in the cluster.
    """
    fleet = read_fleet(target.file)
    fleet.select(names)
    cluster = Cluster(kfp_settings(target.host, target.namespace or fleet.file.namespace))
    written = set_paused(target.file, names, paused)
    done: dict[str, tuple[bool, str]] = {}
    for name in names:
        same_name = cluster.recurring_runs(f"{fleet.file.fleet}-{name}")
        marks = ((run, mark_of(run)) for run in same_name)
        ours = [run for run, mark in marks if mark and (mark.fleet, mark.camera) == (fleet.file.fleet, name)]
        done[name] = (name in written, _switch(cluster, ours, paused))
    return done


def _switch(cluster: Cluster, ours: list[RecurringRun], paused: bool) -> str:
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
def _opened(target: Target) -> Iterator[tuple[Fleet, Cluster, CompiledPipeline]]:
    """Give the checked file, the cluster and the pipeline; errors of the file come before the server is asked."""
    fleet = read_fleet(target.file)
    source = fleet.file.pipeline
    path = target.pipeline or (target.file.parent / source.file if source.file else None)
    with compiled_pipeline(path, source.profile, source.image) as compiled:
        yield fleet, Cluster(kfp_settings(target.host, target.namespace or fleet.file.namespace)), compiled


def _plan(fleet: Fleet, cluster: Cluster, compiled: CompiledPipeline, version: Version, now: datetime) -> Plan:
    wanted = wanted_runs(fleet, version=compiled.version, defaults=compiled.defaults, now_utc=now)
    live = {run.recurring_run_id for run in cluster.live_runs() if run.recurring_run_id}
    version_id = version.id or "not uploaded"
    return make_plan(wanted, cluster.recurring_runs(), live, fleet=fleet.file.fleet, version_id=version_id)
