"""`culling run --engine docker`: the compiled pipeline in containers of this machine, by KFP's own local orchestrator.

KFP loads the YAML, orders the tasks, resolves the placeholders and hands each task to its DockerRunner. One function of
that is replaced: the one that starts a container and waits for it. KFP 2.17's lets the engine remove the container as
it ends, and takes one that has vanished for one that succeeded, so that a failure counts as success and its log is
gone. Ours keeps the container until its exit code and log are here, and believes only outputs that verify.

What a container sees, each at the path that it has here:

    OUT/.kfp            read and written: the outputs of the task that runs
    OUT/tasks           read: what is finished; laid out as the local engine does, so that either engine continues it
    OUT/scratch/TASK    read and written: half-finished work
    footage, weights    read
    registry            read and written, if it is a folder
    /tmp, /cache        memory, and this machine's cache of weights

The rest of its file system is read-only, it has no capabilities, and no network unless something of the run is remote.
"""

from __future__ import annotations

import contextlib
import glob
import inspect
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

from dataset_culling import __version__
from dataset_culling.artifacts.header import digest, verify, write_json
from dataset_culling.artifacts.timing import Timing, read_timing
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DESCRIBED, DETECTORS, torch_home, weights_at_hand
from dataset_culling.errors import ConfigError, EngineError, OutputError
from dataset_culling.graph import STAGES, WIRING, PipelineConfig, TaskSpec, external_inputs
from dataset_culling.runner.engine import (
    DONE,
    Display,
    RunResult,
    is_finished,
    locked,
    scratch_of,
    task_identity,
    writing_to,
)
from dataset_culling.runner.entry import stage_config, write_kfp_metadata
from dataset_culling.runner.footage import footage
from dataset_culling.runner.process import stage_failed
from dataset_culling.storage import is_remote
from dataset_culling.storage.scratch import SCRATCH

IMAGES = (f"dataset-culling:{__version__}", f"dataset-culling:{__version__}-cpu")
"""Where no image is named, the first of these that the engine has."""
IMAGE_VERSION = "org.opencontainers.image.version"
RUN_LABEL = "org.dataset-culling.run"
SHARED_MEMORY = "2g"
"""Limit of /dev/shm, through which training's processes hand on images; the engines' own 64 MB are too little."""
FOLLOWING_S = 30.0
"""How long the end of a container may take to reach who reads its log; then the whole log is asked for."""
SCHEDULED = "{{$.pipeline_job_schedule_time_utc}}"
KFP_FUNCTION = ("client", "image", "command", "volumes", "container_run_args")


def run_in_containers(
    config: PipelineConfig,
    out: Path,
    *,
    display: Display,
    device: str = "auto",
    image: str = "",
) -> RunResult:
    """Run the whole graph into the directory `out` as `run_pipeline` does, every task in a container of its own.

    Args:
        config: The run.
        out: Directory of the run; made if missing.
        display: Told of every task.
        device: "auto", "cpu", "cuda" or "cuda:N"; auto is cuda where the engine has NVIDIA's runtime.
        image: Image of the stages; empty: the first of IMAGES that is there. Never pulled.

    Raises:
        ConfigError: If another run is using `out`, or there is no such image, or it is of another version.
        EngineError: If no container engine answers, or it refuses.
        OutputError: If `out` cannot be written.
        StageFailed: If a task fails; what was finished stays, and the next call continues there.
    """
    from kfp import components, local
    from kfp.local import config as kfp_config
    from kfp.local import docker_task_handler

    from dataset_culling.kubeflow.parameters import pipeline_arguments
    from dataset_culling.kubeflow.pipeline import compile_pipeline

    out = out.absolute()
    if ":" in str(out):
        raise ConfigError(
            f"{out}: expected a path without a colon, as the engine cannot mount it. Choose another --out."
        )
    config = with_absolute_paths(config)
    _check_kfp(docker_task_handler.run_docker_container)
    with _engine() as client, locked(out):
        image = find_image(client, image)
        info = client.info()
        if device == "auto":
            device = "cuda" if "nvidia" in info.get("Runtimes", {}) else "cpu"
        root = out / ".kfp"
        with writing_to(out):
            shutil.rmtree(root, ignore_errors=True)
            for folder in (root, out / "logs", out / "tasks", out / "scratch"):
                folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(client, out)
        tasks = _Tasks(config, out, display, _container_options(config, out, info, device))
        compile_pipeline(out / "pipeline.yaml", "gpu" if device.startswith("cuda") else "cpu", image)
        with writing_to(out):
            _say_when(out / "pipeline.yaml")
        runner = local.DockerRunner(environment=_environment(config, device, image))
        theirs = docker_task_handler.run_docker_container
        try:
            docker_task_handler.run_docker_container = tasks.run
            with _quietly(out / "logs" / "kfp.log"):
                local.init(runner, pipeline_root=str(root))
                load = components.load_component_from_file(str(out / "pipeline.yaml"))
                load(**pipeline_arguments(config))
        finally:
            docker_task_handler.run_docker_container = theirs
            kfp_config.LocalExecutionConfig.instance = None  # or every component of this process would run here
            shutil.rmtree(root, ignore_errors=True)
    if missing := [task.display_name for task in WIRING if task.name not in tasks.done]:
        raise EngineError(
            f"{out}: expected KFP to run every task, found none of {', '.join(missing)}. See logs/kfp.log there."
        )
    return RunResult(tasks.artifacts, tasks.timings, tuple(tasks.skipped))


def _say_when(pipeline: Path) -> None:
    """Write the start into the compiled file, where a cluster's driver would: KFP's local orchestrator knows no such
    placeholder."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    pipeline.write_text(pipeline.read_text(encoding="utf-8").replace(SCHEDULED, now), encoding="utf-8")


def check_engine(image: str) -> None:
    """Refuse early, before footage is simulated.

    Raises:
        ConfigError: If there is no such image, or it is of another version.
        EngineError: If no container engine answers.
    """
    with _engine() as client:
        find_image(client, image)


@dataclass
class _Tasks:
    """Stands in for KFP's `run_docker_container`, one call a task."""

    config: PipelineConfig
    out: Path
    display: Display
    options: Mapping[str, Any]
    artifacts: dict[str, Path] = field(default_factory=dict)
    timings: dict[str, Timing] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def run(self, client: Any, image: str, command: list[str], volumes: Mapping[str, Any], **environment: Any) -> int:
        """Run a task, or take it over from an earlier run of the same identity; raises where KFP would return a code,
        as KFP would try again, and lose the reason."""
        if list(command[:2]) == ["culling", "footage"]:  # it lists files, no more, and writes two small ones for KFP
            footage.main(list(command[2:]), prog_name="culling footage", standalone_mode=False)
            return 0
        call = read_call(command)
        task = next(task for task in WIRING if task.name == call.task)
        spec = STAGES[task.stage]
        settings = stage_config(spec, call.config, call.changes)
        inputs = {name: path for name, path in call.paths.items() if name not in spec.writes}
        outputs = {name: call.paths[name] for name in spec.writes}
        folder = self.out / "tasks" / task.name
        self.display.begin(len(self.done) + 1, len(WIRING), task)
        identity = task_identity(task, settings, inputs)
        finished = is_finished(folder, task, identity)
        if not finished:
            scratch = scratch_of(self.out, task, identity)
            log = self.out / "logs" / f"{task.name}.log"
            with writing_to(self.out):
                shutil.rmtree(folder, ignore_errors=True)
                next(iter(outputs.values())).parent.mkdir(parents=True, exist_ok=True)
                write_json(log.with_name(f"{task.name}.config.json"), settings.model_dump(mode="json"))
            variables = {**environment.get("environment", {}), SCRATCH: str(scratch)}
            code = self._wait(client, image, command, volumes, variables, scratch, log)
            if code != 0:
                raise stage_failed(task.display_name, -(code - 128) if code > 128 else code, log)
            for name, schema in spec.writes.items():
                verify(outputs[name], schema)  # an exit code of 0 is not believed without them
            with writing_to(self.out):
                self._keep(task, identity, outputs)
                shutil.rmtree(scratch.parent, ignore_errors=True)
        with writing_to(self.out):
            for name, path in outputs.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(folder / name)
        if finished:
            write_kfp_metadata(call.executor_input, spec, outputs)
            self.skipped.append(task.name)
        for name in spec.writes:
            self.artifacts[f"{task.name}.{name}"] = folder / name
        timing = read_timing(folder / next(iter(spec.writes)))
        if timing is not None:
            self.timings[task.name] = timing
        self.done.append(task.name)
        self.display.end(task, timing, skipped=finished)
        return 0

    def _wait(
        self,
        client: Any,
        image: str,
        command: Sequence[str],
        volumes: Mapping[str, Any],
        environment: Mapping[str, str],
        scratch: Path,
        log: Path,
    ) -> int:
        """Start a container, copy what it prints to `log`, wait for its exit code, and only then remove it."""
        options = {**self.options, "mounts": [*self.options["mounts"], _mount(scratch, read_only=False)]}
        container = client.containers.create(
            image, list(command), volumes=dict(volumes), environment=dict(environment), **options
        )
        try:
            container.start()
            following = Following(container, log, self.out)
            code = int(container.wait()["StatusCode"])
            following.end()
            return code
        finally:  # on Ctrl-C too
            container.remove(force=True)

    def _keep(self, task: TaskSpec, identity: str, outputs: Mapping[str, Path]) -> None:
        """Lay a finished task's outputs out as the local engine does: whole under tasks/ or not at all."""
        partial = self.out / "tasks" / f".{task.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, path in outputs.items():
            path.rename(partial / name)
        found = {name: digest(partial / name) for name in outputs}
        write_json(partial / DONE, {"identity": identity, "outputs": found})
        partial.rename(self.out / "tasks" / task.name)


class Following:
    """Copies what a container prints to a file while it runs.

    In a thread: an engine that was too busy to see the end of a short container may leave its reader waiting for ever
    (seen once with podman under load), so it is the exit code that is waited for.
    """

    def __init__(self, container: Any, log: Path, out: Path) -> None:
        self._container, self._log, self._out = container, log, out
        self._problem: OutputError | None = None
        self._whole = False
        self._thread = Thread(target=self._copy, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Once the container has ended: see that the file holds all that it printed.

        Raises:
            OutputError: If it could not be written; the container was stopped for that.
        """
        self._thread.join(FOLLOWING_S)
        if self._problem is not None:
            raise self._problem
        if not self._whole:
            beside = self._log.with_name(f".{self._log.name}.whole")
            with writing_to(self._out):
                beside.write_bytes(self._container.logs())
                beside.replace(self._log)

    def _copy(self) -> None:
        from docker.errors import DockerException
        from requests.exceptions import RequestException
        from urllib3.exceptions import HTTPError

        try:
            with writing_to(self._out):
                file = self._log.open("wb", buffering=0)
            with file:
                for chunk in self._container.logs(stream=True, follow=True):
                    with writing_to(self._out):
                        file.write(chunk)
            self._whole = True
        except OutputError as error:
            self._problem = error
            with contextlib.suppress(DockerException, RequestException):  # it ended meanwhile
                self._container.kill()
        except (DockerException, RequestException, HTTPError):
            pass  # the whole is read in the end


@dataclass(frozen=True, slots=True)
class Call:
    """A task's command line as KFP resolved it."""

    task: str
    config: str
    changes: tuple[tuple[str, str], ...]
    paths: Mapping[str, Path]
    executor_input: str


def read_call(command: Sequence[str]) -> Call:
    """Take `culling stage NAME --config JSON --set KEY VALUE --INPUT DIR --executor-input JSON` apart.

    Raises:
        ConfigError: If it is no such command, so the YAML is not ours.
    """
    if list(command[:2]) != ["culling", "stage"]:
        raise ConfigError(
            f"pipeline: expected commands that begin with 'culling stage', found {' '.join(command[:2])}."
        )
    words = iter(command[3:])
    config, executor_input = "", ""
    changes: list[tuple[str, str]] = []
    paths: dict[str, Path] = {}
    for flag in words:
        if flag == "--set":
            changes.append((next(words), next(words)))
        elif flag == "--config":
            config = next(words)
        elif flag == "--executor-input":
            executor_input = next(words)
        else:
            paths[flag.removeprefix("--").replace("-", "_")] = Path(next(words))
    task = Path(json.loads(executor_input)["outputs"]["outputFile"]).parent.name
    return Call(task, config, tuple(changes), paths, executor_input)


def find_image(client: Any, image: str) -> str:
    """The image's name, if the engine has it and it is of this version.

    Raises:
        ConfigError: If not.
    """
    import docker

    for name in [image] if image else IMAGES:
        try:
            labels = client.images.get(name).labels or {}
        except docker.errors.ImageNotFound:
            continue
        found = labels.get(IMAGE_VERSION, __version__)
        if found != __version__:
            raise ConfigError(
                f"--image {name}: expected the stages of version {__version__}, found {found}. Build or pull that one."
            )
        return name
    raise ConfigError(
        f"--image {image or ' or '.join(IMAGES)}: expected it among the engine's images, found none of that name. "
        f"Build it with make image, or pull it."
    )


def with_absolute_paths(config: PipelineConfig) -> PipelineConfig:
    """The same run with every path of this machine absolute, as a container's working directory is another."""

    def absolute(text: str) -> str:
        return text if not text or is_remote(text) else str(Path(text).expanduser().absolute())

    def detector(ref: DetectorRef) -> DetectorRef:
        name = absolute(ref.name) if ref.name.endswith((".yaml", ".yml")) and Path(ref.name).is_file() else ref.name
        weights = absolute(ref.weights) if Path(ref.weights).exists() else ref.weights
        return ref.replace(name=name, weights=weights)

    return config.replace(
        student=detector(config.student),
        teacher=detector(config.teacher),
        registry=absolute(config.registry),
        truth=absolute(config.truth),
        extract_frames=config.extract_frames.replace(
            sources=tuple(absolute(source) for source in config.extract_frames.sources)
        ),
        score_frames=config.score_frames.replace(logged=absolute(config.score_frames.logged)),
        train_student=config.train_student.replace(
            recipe=config.train_student.recipe.replace(
                subset_replay=absolute(
                    getattr(config.train_student.recipe.techniques.of("recorded_subsets"), "source", "")
                )
            )
        ),
    )


def read_only_paths(config: PipelineConfig) -> list[Path]:
    """Files and folders outside the run that stages read: footage, weights with what lies beside them, truth."""
    found: set[Path] = set()
    for stage in STAGES:
        for uri in external_inputs(config.stage_config(stage)):
            path = Path(uri)
            if is_remote(uri) or not path.is_absolute() or path.is_relative_to(DESCRIBED):
                continue
            if glob.has_magic(uri) and not path.exists():
                while glob.has_magic(str(path)):
                    path = path.parent
            if path.is_file():  # OpenVINO's .bin, ONNX's external data
                found.update(file for file in path.parent.glob(f"{glob.escape(path.stem)}.*") if file.is_file())
            if path.exists():
                found.add(path)
    return sorted(found)


def needs_network(config: PipelineConfig) -> bool:
    """Whether anything of the run lies in an object store, or weights may have to be downloaded."""
    return uses_store(config) or any(may_download(ref) for ref in (config.student, config.teacher))


def uses_store(config: PipelineConfig) -> bool:
    """Whether footage, weights, truth or registry lie in an object store."""
    return any(is_remote(uri) for uri in (config.registry, *external_inputs(config)))


def may_download(ref: DetectorRef) -> bool:
    """Whether a detector's weights have a published name, or are its own and not on this machine."""
    if ref.weights:
        return ref.weights != "none" and not is_remote(ref.weights) and not Path(ref.weights).exists()
    return ref.name in DETECTORS and not weights_at_hand(ref.name)


def _container_options(config: PipelineConfig, out: Path, info: Mapping[str, Any], device: str) -> dict[str, Any]:
    import docker

    security = [str(option) for option in info.get("SecurityOptions") or ()]
    rootless = any("rootless" in option for option in security)
    mounts = [_mount(path) for path in (*read_only_paths(config), out / "tasks")]
    if config.registry and not is_remote(config.registry):
        registry = Path(config.registry)
        with writing_to(registry):
            registry.mkdir(parents=True, exist_ok=True)
        mounts.append(_mount(registry, read_only=False))
    tmpfs = {"/tmp": "rw,mode=1777"}
    if needs_network(config):  # what is downloaded stays for the next task, and the next run
        cache = Path(os.environ.get("CULLING_CACHE", "~/.cache/dataset-culling")).expanduser().absolute()
        with writing_to(cache):
            cache.mkdir(parents=True, exist_ok=True)
        mounts.append(_mount(cache, "/cache", read_only=False))
    else:
        tmpfs["/cache"] = "rw,mode=1777"
    if torch_home().is_dir() and not any(may_download(ref) for ref in (config.student, config.teacher)):
        mounts.append(_mount(torch_home(), "/cache/torch"))
    options: dict[str, Any] = {
        "mounts": mounts,
        "labels": {RUN_LABEL: str(out)},
        # Files belong to whoever runs this; an engine without root shows that user to the container as its root.
        "user": "0:0" if rootless else f"{os.getuid()}:{os.getgid()}",
        "read_only": True,
        "tmpfs": tmpfs,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "shm_size": SHARED_MEMORY,
        "network_mode": "host" if needs_network(config) else "none",
    }
    if any("selinux" in option for option in security):  # rather than labelling people's footage anew
        options["security_opt"].append("label=disable")
    if device.startswith("cuda"):
        options["device_requests"] = [docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return options


def _environment(config: PipelineConfig, device: str, image: str) -> dict[str, str]:
    """Laid over what the YAML says. Keys of the object store are visible to whoever may inspect containers here."""
    cores = str(len(os.sched_getaffinity(0)))
    found = {
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", cores),
        "CULLING_DEVICE": device,
        "CULLING_IMAGE": image,
    }
    if uses_store(config):
        from dataset_culling.storage.settings import find_keys, load_settings

        settings = load_settings()
        keys = find_keys(settings)
        found |= {
            "CULLING_S3_ENDPOINT": settings.endpoint,
            "CULLING_S3_REGION": settings.region,
            "CULLING_S3_ACCESS_KEY": keys.access_key.get_secret_value(),
            "CULLING_S3_SECRET_KEY": keys.secret_key.get_secret_value(),
            "CULLING_S3_SESSION_TOKEN": keys.session_token.get_secret_value(),
        }
    return found


def _mount(path: Path, at: str = "", *, read_only: bool = True) -> Any:
    import docker

    return docker.types.Mount(at or str(path), str(path), type="bind", read_only=read_only)


@contextlib.contextmanager
def _engine() -> Iterator[Any]:
    """Docker's API where the environment says it is; whatever goes wrong with it inside becomes one line."""
    import requests

    import docker

    try:
        with contextlib.closing(docker.from_env()) as client:
            client.ping()
            yield client
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise _engine_error(error) from error


def _engine_error(error: Exception) -> EngineError:
    where = os.environ.get("DOCKER_HOST", "the default socket")
    said = " ".join(str(getattr(error, "explanation", "") or error).split())
    return EngineError(
        f"container engine at {where}: expected it to do as asked, found: {said[:300]}. See that docker info works, or "
        f"start podman system service and set DOCKER_HOST to its socket."
    )


def _remove_leftovers(client: Any, out: Path) -> None:
    """Containers of an earlier run of this folder that was killed; its lock is ours, so none of them is anybody's."""
    for container in client.containers.list(all=True, filters={"label": f"{RUN_LABEL}={out}"}):
        container.remove(force=True)


def _check_kfp(function: Any) -> None:
    if tuple(inspect.signature(function).parameters) != KFP_FUNCTION:
        import kfp

        raise ConfigError(
            f"--engine docker: expected kfp 2.17, found {kfp.__version__}, which starts containers another way. "
            f"Install kfp>=2.17,<2.18."
        )


@contextlib.contextmanager
def _quietly(log: Path) -> Iterator[None]:
    """KFP's own account of a run goes into a file: it prints every parameter, and warns of what only clusters heed."""
    import warnings

    with log.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
