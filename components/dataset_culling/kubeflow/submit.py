"""One run on the cluster: start it once, follow it to its end, copy its results here."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import HEADER
from dataset_culling.errors import CullingError
from dataset_culling.kubeflow.client import Cluster
from dataset_culling.kubeflow.compiled import CompiledPipeline, differing
from dataset_culling.kubeflow.runs import UNKNOWN, Run
from dataset_culling.storage import fetch, is_remote, list_prefix

FETCHED = ("report", "metrics", "decision")
"""Outputs that are copied here."""

Report = Callable[[str], None]
"""Takes a line for the operator."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run to be started."""

    name: str
    experiment: str
    arguments: Mapping[str, Any] = field(repr=False)
    service_account: str = ""
    pipeline_root: str = ""


def start_run(cluster: Cluster, compiled: CompiledPipeline, request: RunRequest, *, again: bool, report: Report) -> Run:
    """Start a run, or join the live one of the same name, pipeline and parameters unless `again`.

    Raises:
        ConfigError: If the pipeline lacks a parameter.
        ClusterError: If the cluster refuses or does not answer.
    """
    parameters = differing(request.arguments, compiled.defaults, where=str(compiled.path))
    identity = [compiled.digest, parameters, request.service_account, request.pipeline_root]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    mark = f"[culling-submit {digest}"
    version = cluster.find_version(compiled)
    report(f"pipeline {version.name}: {'there already' if version.id else 'uploaded'}")
    version = version if version.id else cluster.upload(compiled)
    experiment_id = cluster.experiment_id(request.experiment)
    if not again:
        for run in cluster.runs(("display_name", "EQUALS", request.name), experiment_id=experiment_id):
            if run.is_live and mark in run.description:
                report(f"{request.name} goes on already; following it (--again starts another)")
                return run
    return cluster.start_run(
        request.name,
        # With a word of its own, so that after a lost answer the run is found and not started twice.
        f"Started by culling submit. {mark} {time.time_ns():x}]",
        version,
        parameters,
        experiment_id=experiment_id,
        service_account=request.service_account,
        pipeline_root=request.pipeline_root,
    )


def follow_run(
    cluster: Cluster,
    run_id: str,
    tasks: Mapping[str, str],
    *,
    poll_s: float,
    timeout_s: float = 0.0,
    report: Report,
) -> Run:
    """Poll a run until it ends, and report each task's changes.

    Args:
        cluster: Kubeflow Pipelines.
        run_id: The run.
        tasks: Task's name -> its name in the UI; others (drivers) are left out.
        poll_s: Seconds between polls.
        timeout_s: Stop polling after this long; 0: never.
        report: Called with each line.

    Returns:
        The run as last seen.
    """
    began_s = time.monotonic()
    states: dict[str, str] = {}
    never = datetime.max.replace(tzinfo=UTC)
    while True:
        run = cluster.run(run_id)
        for task in sorted(run.tasks, key=lambda each: (each.started_utc or never, each.name)):
            if task.name not in tasks or task.state in (states.get(task.name), UNKNOWN):
                continue
            states[task.name] = task.state
            done = sum(state in ("SUCCEEDED", "SKIPPED") for state in states.values())
            took = ""
            if task.started_utc is not None and task.ended_utc is not None:
                took = f" in {max((task.ended_utc - task.started_utc).total_seconds(), 0):.0f} s"
            problem = f": {task.error}" if task.error else ""
            report(f"[{done:>2}/{len(tasks)}] {tasks[task.name]}: {task.state.lower()}{took}{problem}")
        if not run.is_live or (timeout_s and time.monotonic() - began_s >= timeout_s):
            return run
        time.sleep(poll_s)


def fetch_results(root: str, pipeline: str, run_id: str, out: Path, report: Report) -> dict[str, str]:
    """Copy report, metrics and decision of a run here, or report why that is impossible.

    The launcher keeps a run's outputs under ROOT/PIPELINE/RUN/TASK/.../OUTPUT. An output that KFP took from its cache
    lies under the run that made it and is not looked for.

    Args:
        root: The pipeline root as it can be read from here: s3://, minio:// or a folder.
        pipeline: The pipeline's name.
        run_id: The run.
        out: Folder for the outputs.
        report: Called with each line.

    Returns:
        Output's name -> where it is now.
    """
    if not root:
        report("report and metrics: not fetched, the artifact store is unknown; pass --artifacts s3://bucket/prefix")
        return {}
    base = f"{root.rstrip('/')}/{pipeline}/{run_id}/"
    found: dict[str, str] = {}
    try:
        for stat in list_prefix(base):
            folder, _, name = stat.uri.rpartition("/")
            output = folder.rpartition("/")[2]
            if name == HEADER and output in FETCHED:
                fetch(f"{folder}/" if is_remote(folder) else folder, out / output)
                found[output] = str(out / output) if is_remote(folder) else folder
    except CullingError as error:  # the exit code is about the run's state
        report(f"report and metrics: not fetched: {error}")
        return found
    for output, where in found.items():
        report(f"{output}: {where}")
    if not found:
        report(f"report and metrics: none under {base}")
    return found
