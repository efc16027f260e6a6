"""One stage in this process: what `culling stage NAME` does, on a laptop and in a pod."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dataset_culling.artifacts.header import read_header
from dataset_culling.artifacts.timing import Timing, write_timing
from dataset_culling.config import StageConfig, did_you_mean, merge, parse_config
from dataset_culling.errors import ArtifactError, ConfigError
from dataset_culling.pipeline.graph import STAGES, StageSpec
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stopwatch import Stopwatch

PROGRESS_FD = "CULLING_PROGRESS_FD"
"""Environment variable: file descriptor that progress is written to, one JSON line {"done": 3, "total": 60} each."""

PARENT_PID = "CULLING_PARENT_PID"
"""Environment variable: the process without which this one is to die, so that a killed run leaves no stage behind."""


def stage_spec(name: str) -> StageSpec:
    """The row of STAGES of that name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in STAGES:
        raise ConfigError(f"stage: no stage is called '{name}'.{did_you_mean(name, list(STAGES))}")
    return STAGES[name]


def stage_config(spec: StageSpec, text: str, changes: Sequence[tuple[str, str]] = ()) -> StageConfig:
    """Read a stage's configuration from `--config` and `--set`.

    Args:
        spec: The stage.
        text: JSON, or @FILE that holds JSON or YAML; empty for the defaults.
        changes: (dotted key, value as YAML) pairs laid over it, in order.

    Raises:
        ConfigError: If it is no JSON, or a key or value is wrong.
    """
    where = f"{spec.name} --config"
    values: dict[str, Any] = {}
    if text:
        try:
            loaded = yaml.safe_load(Path(text[1:]).read_text(encoding="utf-8")) if text[0] == "@" else json.loads(text)
        except OSError as error:
            raise ConfigError(f"{where}: expected a file at {text[1:]}, found {error.strerror}.") from None
        except (json.JSONDecodeError, yaml.YAMLError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"""{where}: expected JSON like '{{"key": value}}', found {first}.""") from None
        if not isinstance(loaded, dict):
            raise ConfigError(f"{where}: expected a JSON object, found a {type(loaded).__name__}.")
        values = loaded
    for key, value in changes:
        nested: Any = yaml.safe_load(value) if value else ""
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = merge(values, nested)
    return parse_config(spec.config, values, where=where)


def choose_device(wanted: str) -> str:
    """'cuda' or 'cpu' for 'auto', as this machine has it; torch is asked only then.

    Raises:
        ConfigError: If a CUDA device is demanded and there is none.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda" if wanted == "auto" else wanted
    if wanted != "auto":
        raise ConfigError(f"--device {wanted}: expected a CUDA device, found none. Pass --device cpu.")
    return "cpu"


def run_stage(
    spec: StageSpec,
    config: StageConfig,
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    *,
    task: str = "",
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> StageReport:
    """Check the inputs, run the stage, verify that every declared output is there.

    Args:
        spec: The stage.
        config: Its configuration.
        inputs: Input name -> artifact directory.
        outputs: Output name -> directory to be written.
        task: Its name in the graph, for timing.json; empty: the stage's.
        device: "auto", "cpu", "cuda" or "cuda:N".
        progress: Told (done, total); None: whoever PROGRESS_FD names.

    Raises:
        ArtifactError: If an input is missing or of another kind, or an output was not written.
        CullingError: Whatever the stage refuses.
    """
    for name, schema in {**spec.reads, **spec.optional_reads}.items():
        if name in inputs:
            read_header(inputs[name], schema)
        elif name in spec.reads:
            raise ArtifactError(f"{spec.name}: expected {schema} at --{name.replace('_', '-')}, found no such option.")
    if missing := [name for name in spec.writes if name not in outputs]:
        raise ArtifactError(f"{spec.name}: expected --{missing[0].replace('_', '-')} DIR, found no such option.")
    chosen = choose_device(device) if spec.uses_detector else "cpu"
    watch = Stopwatch()
    context = StageContext(stage=spec.name, device=chosen, progress=progress or progress_writer())
    report = spec.load()(config, inputs, outputs, context)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    timing = Timing(
        stage=spec.name,
        task=task or spec.name,
        seconds=watch.seconds(),
        peak_rss_mib=peak_kib / 1024,
        device=chosen,
        counts=dict(report.counts),
        figures=dict(report.figures),
        notes=tuple(report.notes),
    )
    for name, schema in spec.writes.items():
        read_header(outputs[name], schema)
        write_timing(outputs[name], timing)
    return report


def progress_writer() -> Callable[[int, int], None]:
    """Progress as JSON lines to the descriptor that PROGRESS_FD names, or nowhere."""
    if not os.environ.get(PROGRESS_FD):
        return lambda done, total: None
    fd = int(os.environ[PROGRESS_FD])

    def write(done: int, total: int) -> None:
        try:
            os.write(fd, json.dumps({"done": done, "total": total}).encode() + b"\n")
        except BrokenPipeError:  # nobody listens any more; the work itself goes on
            pass

    return write


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies (Linux), so that no stage outlives a killed run."""
    parent = int(os.environ.get(PARENT_PID, "0"))
    if not parent:
        return
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), signal.SIGKILL)


HEADLINE = (
    "map_50_trained", "map_50_champion", "gain_over_champion_map_50", "map_50_raw", "gain_map_50", "low_95_gain_map_50",
    "high_95_gain_map_50", "map_50_95_trained", "map_50_95_champion", "map_50_95_raw", "map_50_control",
    "map_50_exported", "map_50_trained_truth", "map_50_champion_truth", "map_50_raw_truth", "map_50_teacher_truth",
    "gain_map_50_truth", "heldout_frames", "champion_version", "replay_map_50_trained", "replay_map_50_champion",
    "check_map_50_trained", "check_map_50_champion", "check_map_50_teacher",
)  # fmt: skip
"""Figures of metrics/1 that Kubeflow shows and compares: candidate (trained), champion, and what lies between."""


def write_kfp_metadata(executor_input: str, spec: StageSpec, outputs: Mapping[str, Path]) -> None:
    """Tell KFP about the outputs: every one listed, with its counts; metrics/1 also with its figures.

    Args:
        executor_input: KFP's `{{$}}`, or empty where there is no KFP.
        spec: The stage.
        outputs: Output name -> artifact directory.
    """
    if not executor_input:
        return
    from dataset_culling.artifacts.metrics import SCHEMA, read_metrics
    from dataset_culling.kubeflow.executor_output import write_executor_output

    metadata: dict[str, dict[str, float | str]] = {}
    for name, path in outputs.items():
        header = read_header(path)
        metadata[name] = {"schema": header.schema, **{key: float(value) for key, value in header.counts.items()}}
        if header.schema == SCHEMA:
            figures = read_metrics(path)
            metadata[name] = {key: figures[key] for key in HEADLINE if key in figures}
    write_executor_output(executor_input, outputs, metadata)
