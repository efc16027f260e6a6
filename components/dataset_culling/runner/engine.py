"""Walk the graph: run each task once, skip what is finished, never trust what is not.

OUT/
|-- tasks/TASK/OUTPUT/...      a finished task's artifacts
|-- tasks/TASK/done.json       its identity and its outputs' digests
|-- tasks/.TASK.partial/       what a running task has written so far; removed at the next start
|-- scratch/TASK/IDENTITY/     half-finished work (CULLING_SCRATCH), goes on after a kill; removed when done
|-- logs/TASK.log              all that its process printed
|-- registry/                  the cameras' models, unless --registry says otherwise
`-- summary.json report.html model/     what people came for, copied out at the end
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dataset_culling import __version__
from dataset_culling.artifacts.header import digest, verify, write_json
from dataset_culling.artifacts.timing import Timing, read_timing
from dataset_culling.config import StageConfig
from dataset_culling.errors import ArtifactError, ConfigError, OutputError
from dataset_culling.graph import STAGES, WIRING, PipelineConfig, TaskSpec, external_inputs
from dataset_culling.runner.fingerprint import fingerprint
from dataset_culling.runner.forkserver import StageServer
from dataset_culling.runner.process import run_child
from dataset_culling.storage.scratch import SCRATCH

DONE = "done.json"


class Display(Protocol):
    """Whoever watches a run."""

    def begin(self, position: int, total: int, task: TaskSpec) -> None:
        """A task starts, or is about to be skipped."""

    def progress(self, done: int, total: int) -> None:
        """How far the current task is."""

    def end(self, task: TaskSpec, timing: Timing | None, *, skipped: bool) -> None:
        """The current task is done."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """Where a finished run's artifacts lie, and what each task took."""

    artifacts: Mapping[str, Path]  # "task.output" -> directory
    timings: Mapping[str, Timing]  # task -> timing
    skipped: tuple[str, ...]


def run_pipeline(
    config: PipelineConfig,
    out: Path,
    *,
    display: Display,
    device: str = "auto",
    wiring: Sequence[TaskSpec] = WIRING,
    server: StageServer | None = None,
    given: Mapping[str, Path] | None = None,
) -> RunResult:
    """Run the whole graph into the directory `out`, continuing whatever is finished there.

    Args:
        config: The run.
        out: Directory of the run; made if missing.
        display: Told of every task.
        device: "auto", "cpu", "cuda" or "cuda:N".
        wiring: The tasks, each after those it reads from.
        server: What starts the tasks' processes; None: each is a new interpreter.
        given: "task.output" -> an artifact made elsewhere, for tasks that `wiring` reads from but does not run.

    Raises:
        ConfigError: If another run is using `out`.
        OutputError: If `out` cannot be written.
        StageFailed: If a task fails; what was finished stays, and the next call continues there.
    """
    artifacts: dict[str, Path] = dict(given or {})
    timings: dict[str, Timing] = {}
    skipped: list[str] = []
    with locked(out):
        for position, task in enumerate(wiring, start=1):
            display.begin(position, len(wiring), task)
            inputs = {name: artifacts[source] for name, source in task.inputs.items()}
            stage_config = config.stage_config(task.stage)
            identity = task_identity(task, stage_config, inputs)
            folder = out / "tasks" / task.name
            finished = is_finished(folder, task, identity)
            if not finished:
                _run_task(task, stage_config, inputs, out, identity, device, display, server)
            for output in STAGES[task.stage].writes:
                artifacts[f"{task.name}.{output}"] = folder / output
            timing = read_timing(folder / next(iter(STAGES[task.stage].writes)))
            if timing is not None:
                timings[task.name] = timing
            if finished:
                skipped.append(task.name)
            display.end(task, timing, skipped=finished)
    return RunResult(artifacts, timings, tuple(skipped))


def task_identity(task: TaskSpec, config: StageConfig, inputs: Mapping[str, Path]) -> str:
    """SHA-256 over all that decides a task's outputs: stage, version, configuration, inputs' digests, outside files."""
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
    """Whether `folder` holds the task's outputs for this identity, every byte as its header says."""
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
    task: TaskSpec,
    config: StageConfig,
    inputs: Mapping[str, Path],
    out: Path,
    identity: str,
    device: str,
    display: Display,
    server: StageServer | None,
) -> None:
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
    flags = [
        part
        for name, path in [*inputs.items(), *outputs.items()]
        for part in (f"--{name.replace('_', '-')}", str(path))
    ]
    scratch = scratch_of(out, task, identity)
    run_child(
        ["stage", task.stage, "--config", f"@{settings}", "--device", device, "--task", task.name, *flags],
        log=out / "logs" / f"{task.name}.log",
        task=task.display_name,
        progress=display.progress,
        server=server,
        needs_torch=spec.uses_detector,
        environment={SCRATCH: str(scratch)},
    )
    with writing_to(out):
        write_json(
            partial / DONE,
            {"identity": identity, "outputs": {name: digest(path) for name, path in outputs.items()}},
        )
        os.replace(partial, folder)
        shutil.rmtree(scratch.parent, ignore_errors=True)


def scratch_of(out: Path, task: TaskSpec, identity: str) -> Path:
    """The task's folder for half-finished work, made; that of other settings or inputs is removed, as nothing fits."""
    mine = (out / "scratch" / task.name / identity[:32]).absolute()
    with writing_to(out):
        mine.mkdir(parents=True, exist_ok=True)
        for other in mine.parent.iterdir():
            if other != mine:
                shutil.rmtree(other, ignore_errors=True)
    return mine


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the run's directory for this process alone.

    Raises:
        ConfigError: If another process holds it.
        OutputError: If it cannot be made or written.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{out}: another run is using this folder. Wait for it, or choose another --out."
            ) from None
        yield


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turn a failure to write into one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{error.filename or out}: expected to write the run there, found {error.strerror or error}. "
            f"Free space, mend the permissions, or choose another --out."
        ) from error
