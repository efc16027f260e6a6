"""Walk the graph: run each task once, skip finished ones, trust nothing half-written. See also interruption.py.

OUT/
|-- tasks/TASK/OUTPUT/...      a finished task's artifacts
|-- tasks/TASK/done.json       its identity and its outputs' digests
|-- tasks/.TASK.partial/       output of a running task; removed at the next start
|-- scratch/TASK/IDENTITY/     half-finished work (CULLING_SCRATCH), goes on after a kill; removed when done
|-- logs/TASK.log              output of its process
|-- registry/                  the cameras' models, unless --registry says otherwise
`-- summary.json report.html model/     the results, copied out at the end
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_culling import __version__
from dataset_culling.artifacts.header import digest, verify, write_json
from dataset_culling.artifacts.timing import Timing, read_timing
from dataset_culling.config import StageConfig
from dataset_culling.engine.fingerprint import fingerprint
from dataset_culling.engine.interruption import locked, writing_to
from dataset_culling.engine.process import run_child, start_fork_server
from dataset_culling.engine.stage_main import run_task
from dataset_culling.errors import ArtifactError
from dataset_culling.pipeline.graph import STAGES, WIRING, PipelineConfig, TaskSpec, external_inputs
from dataset_culling.report.progress import Display
from dataset_culling.storage.scratch import SCRATCH

DONE = "done.json"


@dataclass(frozen=True, slots=True)
class RunResult:
    """Artifacts and timings of a finished run."""

    artifacts: Mapping[str, Path]  # "task.output" -> directory
    timings: Mapping[str, Timing]  # task -> timing
    skipped: tuple[str, ...]


def run_pipeline(
    config: PipelineConfig, out: Path, *, display: Display, device: str = "auto",
    wiring: Sequence[TaskSpec] = WIRING, given: Mapping[str, Path] | None = None,
) -> RunResult:  # fmt: skip
    """Run the whole graph into the directory `out`, continuing whatever is finished there.

    Args:
        config: The run.
        out: Directory of the run; made if missing.
        display: Called for every task.
        device: "auto", "cpu", "cuda" or "cuda:N".
        wiring: The tasks, each after those it reads from.
        given: "task.output" -> an artifact made elsewhere, for tasks that `wiring` reads from but does not run.

    Raises:
        ConfigError: If another run is using `out`.
        OutputError: If `out` cannot be written.
        StageFailed: If a task fails; what was finished stays, and the next call continues there.
    """
    artifacts: dict[str, Path] = dict(given or {})
    timings: dict[str, Timing] = {}
    skipped: list[str] = []
    fork = False  # once a task has waited for the fork server, all that follow start in milliseconds
    with locked(out):
        for position, task in enumerate(wiring, start=1):
            display.begin(position, len(wiring), task.display_name)
            inputs = {name: artifacts[source] for name, source in task.inputs.items()}
            stage_config = config.stage_config(task.stage)
            identity = task_identity(task, stage_config, inputs)
            folder = out / "tasks" / task.name
            finished = is_finished(folder, task, identity)
            if not finished:
                fork = fork or STAGES[task.stage].uses_detector
                _run_task(task, stage_config, inputs, out, identity, device=device, display=display, fork=fork)
            for output in STAGES[task.stage].writes:
                artifacts[f"{task.name}.{output}"] = folder / output
            timing = read_timing(folder / next(iter(STAGES[task.stage].writes)))
            if timing is not None:
                timings[task.name] = timing
            if finished:
                skipped.append(task.name)
            display.end(timing, skipped=finished)
    return RunResult(artifacts, timings, tuple(skipped))


def task_identity(task: TaskSpec, config: StageConfig, inputs: Mapping[str, Path]) -> str:
    """Hash all that decides a task's outputs: stage, version, configuration, inputs' digests, outside files."""
    parts = {
        "task": task.name,
        "stage": task.stage,
        "version": __version__,
        "config": json.loads(config.to_json()),
        "inputs": {name: digest(path) for name, path in sorted(inputs.items())},
        "externals": {uri: fingerprint(uri) for uri in external_inputs(config)},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def is_finished(folder: Path, task: TaskSpec, identity: str) -> bool:
    """Tell whether `folder` holds the task's outputs for this identity, every byte as its header says."""
    try:
        done = json.loads((folder / DONE).read_text(encoding="utf-8"))
        if done["identity"] != identity:
            return False
        for output, schema in STAGES[task.stage].writes.items():
            verify(folder / output, schema)
            if digest(folder / output) != done["outputs"][output]:
                return False
    except (OSError, ValueError, KeyError, ArtifactError):
        return False
    return True


def _run_task(
    task: TaskSpec, config: StageConfig, inputs: Mapping[str, Path], out: Path, identity: str, *,
    device: str, display: Display, fork: bool,
) -> None:  # fmt: skip
    start_fork_server()  # it imports while tasks run that need no torch
    spec = STAGES[task.stage]
    folder, partial = out / "tasks" / task.name, out / "tasks" / f".{task.name}.partial"
    with writing_to(out):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        partial.mkdir(parents=True)
        # A file, not an argument: configurations are seen whole in the run's folder and never cut by argv's limit.
        settings = out / "logs" / f"{task.name}.config.json"
        settings.parent.mkdir(parents=True, exist_ok=True)
        write_json(settings, config.model_dump(mode="json"))
    outputs = {name: partial / name for name in spec.writes}
    scratch = scratch_of(out, task, identity)
    run_child(
        run_task, task.stage, f"@{settings}", inputs, outputs, task.name, device,
        log=out / "logs" / f"{task.name}.log", task=task.display_name, progress=display.progress, fork=fork,
        environment={SCRATCH: str(scratch)},
    )  # fmt: skip
    with writing_to(out):
        write_json(
            partial / DONE, {"identity": identity, "outputs": {name: digest(path) for name, path in outputs.items()}}
        )
        os.replace(partial, folder)
        shutil.rmtree(scratch.parent, ignore_errors=True)


def scratch_of(out: Path, task: TaskSpec, identity: str) -> Path:
    """Make the task's folder for half-finished work; remove those of other settings or inputs, which no longer fit."""
    mine = (out / "scratch" / task.name / identity[:32]).absolute()
    with writing_to(out):
        mine.mkdir(parents=True, exist_ok=True)
        for other in mine.parent.iterdir():
            if other != mine:
                shutil.rmtree(other, ignore_errors=True)
    return mine
