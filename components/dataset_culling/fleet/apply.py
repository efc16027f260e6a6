"""Carry a plan out: each camera on its own, several at once, each step safe to repeat."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dataset_culling.errors import ClusterError, CullingError
from dataset_culling.fleet.plan import Change, Plan, begin_of, mark_of
from dataset_culling.kubeflow.client import Cluster
from dataset_culling.kubeflow.runs import Version


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one change."""

    change: Change
    state: Literal["done", "waiting", "failed"]
    message: str = ""


def apply_plan(
    cluster: Cluster,
    plan: Plan,
    version: Version,
    *,
    now_utc: datetime,
    workers: int,
    report: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Carry out all of it. One camera's failure does not stop the others.

    Args:
        cluster: Kubeflow Pipelines.
        plan: From `make_plan`.
        version: The pipeline version that is to run.
        now_utc: The present.
        workers: Cameras at once.
        report: Called with each outcome as it comes.

    Returns:
        The outcomes in the plan's order; unchanged cameras have none.
    """
    todo = [change for change in plan.changes if change.kind != "unchanged"]
    outcomes: dict[str, Outcome] = {}
    stopped = threading.Event()

    def work(change: Change) -> Outcome:
        if stopped.is_set():
            return Outcome(change, "failed", "stopped before it was its turn")
        try:
            return _apply(cluster, change, version, now_utc)
        except CullingError as error:
            return Outcome(change, "failed", str(error))

    with ThreadPoolExecutor(max_workers=workers, thread_name_prefix="fleet") as pool:
        try:
            for done in as_completed([pool.submit(work, change) for change in todo]):
                outcome = done.result()
                outcomes[outcome.change.camera] = outcome
                report(outcome)
        except BaseException:
            stopped.set()
            raise
    return [outcomes[change.camera] for change in todo]


def _apply(cluster: Cluster, change: Change, version: Version, now_utc: datetime) -> Outcome:
    """Change one camera, in the order that never leaves two schedules enabled."""
    want, keep, old = change.wanted, change.keep, change.old
    if want is not None and keep is None:
        known = {run.id for run in old}
        keep = cluster.create_recurring_run(
            want.name,
            want.description,
            version,
            want.parameters,
            cron=want.cron,
            begin_utc=begin_of(want, busy=bool(change.live), now_utc=now_utc),
            enabled=not want.paused and not old,
            experiment_id=cluster.experiment_id(want.name),
            service_account=want.service_account,
            pipeline_root=want.pipeline_root,
            is_it=lambda run: (mark := mark_of(run)) is not None and mark.digest == want.digest and run.id not in known,
        )
    for run in old:
        if run.enabled:
            cluster.disable(run.id)
    if want is not None and keep is not None and keep.enabled == want.paused:
        if want.paused:
            cluster.disable(keep.id)
        else:
            cluster.enable(keep.id)
    waiting = []
    for run in old:
        # Disabled by now. A run that began a moment ago and is not reported yet survives, too: see `delete`.
        if cluster.has_live_run(run.id):
            waiting.append(run.id)
        else:
            cluster.delete_recurring_run(run.id)
    if waiting:
        return Outcome(change, "waiting", f"a run of the old schedule {waiting[0]} still goes on; apply again later")
    return Outcome(change, "done")


def failures(outcomes: list[Outcome]) -> ClusterError | None:
    """Return one error for all that failed, with the first one's message; None if all is done."""
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if not failed:
        return None
    more = f" (and {len(failed) - 1} more cameras)" if len(failed) > 1 else ""
    return ClusterError(f"camera '{failed[0].change.camera}'{more}: {failed[0].message}")
