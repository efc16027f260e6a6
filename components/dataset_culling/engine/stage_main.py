"""Run one stage in this process: in a child of `culling run`, in a pod, or by hand as `culling stage NAME`."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dataset_culling.artifacts.header import read_header
from dataset_culling.artifacts.timing import Timing, write_timing
from dataset_culling.config import StageConfig, did_you_mean, parse_config, read_json_object, read_yaml
from dataset_culling.engine.interruption import die_with_parent, stop_on_sigterm
from dataset_culling.errors import ArtifactError, ConfigError, CullingError
from dataset_culling.pipeline.graph import STAGES, StageSpec
from dataset_culling.pipeline.settings import with_changes
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stopwatch import Stopwatch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PROGRESS_FD = "CULLING_PROGRESS_FD"
"""Environment variable: file descriptor that progress is written to, one JSON line {"done": 3, "total": 60} each."""

EXTRAS = {
    "torch": "torch", "torchvision": "torch", "safetensors": "torch", "onnx": "torch", "onnxruntime": "torch",
    "openvino": "torch", "minio": "store", "kfp": "kubeflow", "kfp_kubernetes": "kubeflow", "laptrack": "tracks",
}  # fmt: skip
"""Modules that only some commands need -> the extra that installs them."""

QUIET, NORMAL, VERBOSE = -1, 0, 1
NOISY = ("PIL", "matplotlib", "urllib3", "kfp", "kubernetes", "torch", "onnxruntime", "openvino")
"""Loggers of libraries whose warnings a user cannot act on."""


def set_up_logging(level: int, *, show_warnings: bool = False) -> None:
    """Send our log to standard error (-v all, -q errors, else warnings too) and, with -v, Python's warnings.

    Args:
        level: QUIET, NORMAL or VERBOSE.
        show_warnings: Leave Python's warnings as they are at any level: a stage's log keeps everything.
    """
    ours = logging.getLogger("dataset_culling")
    ours.setLevel({QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.DEBUG}[level])
    if not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        ours.addHandler(handler)
        ours.propagate = False
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING if level == VERBOSE else logging.ERROR)
    if not sys.warnoptions and not show_warnings:  # PYTHONWARNINGS and -W win
        warnings.simplefilter("default" if level == VERBOSE else "ignore")


def exit_code_of(work: Callable[[], Any]) -> int:
    """Do the work; print an error as one line; return the exit code. Bugs and -v keep the traceback."""
    try:
        result = work()
        return result if isinstance(result, int) else 0
    except CullingError as error:
        return print_error(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return print_error(
            f"this needs {error.name}, which is not installed. Run: pip install 'dataset-culling[{extra}]'", 2
        )
    except KeyboardInterrupt:
        return print_stopped()


def print_stopped() -> int:
    """Print the one line of an interrupted command; return its exit code."""
    print("stopped; the same command continues where it was", file=sys.stderr)
    return 130


def print_error(message: str, code: int) -> int:
    """Print the one line of an error; return `code`."""
    if logging.getLogger("dataset_culling").isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    return code


def run_as_child(
    work: Callable[..., Any], arguments: Sequence[Any], log: Path, progress: Connection,
    environment: Mapping[str, str], cores: Iterable[int],
) -> NoReturn:  # fmt: skip
    """Become a child of `engine.process.run_child`: own session, own log, the run's environment; then work and exit."""
    die_with_parent()
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    stop_on_sigterm()
    with log.open("ab", buffering=0) as output:
        for fd in (1, 2):
            os.dup2(output.fileno(), fd)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a kill must not lose lines
    os.environ.clear()
    os.environ.update(environment)
    os.environ[PROGRESS_FD] = str(progress.fileno())
    os.sched_setaffinity(0, cores)  # of the thread that started us, as a plain fork would have it
    set_up_logging(NORMAL, show_warnings=True)
    sys.exit(exit_code_of(lambda: work(*arguments)))


def run_task(
    stage: str, config: str, inputs: Mapping[str, Path], outputs: Mapping[str, Path], task: str, device: str
) -> None:
    """Run a stage by name and print its counts and notes: the work of a task's child process."""
    spec = stage_spec(stage)
    print_report(run_stage(spec, stage_config(spec, config), inputs, outputs, task=task, device=device))


def print_report(report: StageReport) -> None:
    """Print counts and notes, a line each."""
    for name, count in report.counts.items():
        print(f"{name}: {count:,}")
    for note in report.notes:
        print(note)


def stage_spec(name: str) -> StageSpec:
    """Find the row of STAGES of that name.

    Raises:
        ConfigError: If the name is unknown.
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
        ConfigError: If the text is not a JSON object, or a key or value is wrong.
    """
    where = f"{spec.name} --config"
    if text.startswith("@"):
        values = read_yaml(Path(text[1:]))
    else:
        values = read_json_object(text or "{}", where=where)
    return parse_config(spec.config, with_changes(values, changes), where=where)


def choose_device(wanted: str) -> str:
    """Resolve 'auto' to 'cuda' or 'cpu', as this machine has it; only 'cpu' avoids importing torch.

    Raises:
        ConfigError: If a CUDA device is demanded but missing.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda" if wanted == "auto" else wanted
    if wanted != "auto":
        raise ConfigError(f"--device {wanted}: this machine has no CUDA device. Pass --device cpu.")
    return "cpu"


def run_stage(
    spec: StageSpec, config: StageConfig, inputs: Mapping[str, Path], outputs: Mapping[str, Path], *,
    task: str = "", device: str = "auto", progress: Callable[[int, int], None] | None = None,
) -> StageReport:  # fmt: skip
    """Check the inputs, run the stage, verify that every declared output is there.

    Args:
        spec: The stage.
        config: Its configuration.
        inputs: Input name -> artifact directory.
        outputs: Output name -> directory to be written.
        task: Its name in the graph, for timing.json; empty: the stage's.
        device: "auto", "cpu", "cuda" or "cuda:N".
        progress: Called with (done, total); None: write to PROGRESS_FD.

    Raises:
        ArtifactError: If an input is missing or of another kind, or an output was not written.
        CullingError: As the stage raises it.
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
        stage=spec.name, task=task or spec.name, seconds=watch.seconds(), peak_rss_mib=peak_kib / 1024, device=chosen,
        counts=dict(report.counts), figures=dict(report.figures), notes=tuple(report.notes),
    )  # fmt: skip
    for name, schema in spec.writes.items():
        read_header(outputs[name], schema)
        write_timing(outputs[name], timing)
    return report


def progress_writer() -> Callable[[int, int], None]:
    """Return a function that writes progress as JSON lines to PROGRESS_FD, if that is set."""
    if not os.environ.get(PROGRESS_FD):
        return lambda done, total: None
    fd = int(os.environ[PROGRESS_FD])

    def write(done: int, total: int) -> None:
        try:
            os.write(fd, json.dumps({"done": done, "total": total}).encode() + b"\n")
        except BrokenPipeError:  # the parent stopped reading; the work goes on
            pass

    return write


HEADLINE = (
    "map_50_trained", "map_50_champion", "gain_over_champion_map_50", "map_50_raw", "gain_map_50", "low_95_gain_map_50",
    "high_95_gain_map_50", "map_50_95_trained", "map_50_95_champion", "map_50_95_raw", "map_50_control",
    "map_50_exported", "map_50_trained_truth", "map_50_champion_truth", "map_50_raw_truth", "map_50_teacher_truth",
    "gain_map_50_truth", "heldout_frames", "champion_version", "replay_map_50_trained", "replay_map_50_champion",
    "check_map_50_trained", "check_map_50_champion", "check_map_50_teacher",
)  # fmt: skip
"""Figures of metrics/1 that Kubeflow shows and compares: candidate (trained), champion, and what lies between."""


def write_kfp_metadata(executor_input: str, spec: StageSpec, outputs: Mapping[str, Path]) -> None:
    """Report the outputs to KFP: each with its counts, metrics/1 also with its figures.

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
