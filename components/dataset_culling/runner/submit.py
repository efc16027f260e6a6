"""`culling submit`: one run of one camera on the cluster, followed to its end."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dataset_culling.artifacts.header import HEADER
from dataset_culling.cli.command import Command
from dataset_culling.config import merge
from dataset_culling.errors import ConfigError, CullingError
from dataset_culling.footage.nightly import day_of
from dataset_culling.runner.fleet import compiled_pipeline
from dataset_culling.storage import fetch, is_remote, list_prefix

if TYPE_CHECKING:
    from dataset_culling.kubeflow.client import Cluster, CompiledPipeline, Run

FETCHED = ("report", "metrics", "decision")
"""Outputs that are brought here."""
FAILED, CANCELED, STILL_GOING = 7, 8, 9
EXIT_CODES = {"SUCCEEDED": 0, "FAILED": FAILED, "CANCELED": CANCELED, "SKIPPED": CANCELED}

EPILOG = """\b
Exit codes: 0 the run succeeded; 2 an option or the file is wrong; 6 Kubeflow refused or did not answer; 7 the run
failed; 8 it was canceled; 9 it still goes on (--no-wait, --timeout-s); 130 Ctrl-C: the run goes on, the same command
follows it again."""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("camera", default="")
@click.option("--cameras", type=click.Path(path_type=Path), help="cameras.yaml that has CAMERA.")
@click.option("--source", "sources", multiple=True, help="s3:// footage, where there is no cameras.yaml.")
@click.option("--preset", default="default", show_default=True, help="Named settings, where there is no cameras.yaml.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="YAML file laid over the preset.")
@click.option("--set", "changes", multiple=True, nargs=2, metavar="KEY VALUE", help="One setting.")
@click.option("--day", default="", help="YYYY-MM-DD: replaces {day} in the source, names the run. [default: yesterday]")
@click.option("--pipeline", type=click.Path(path_type=Path), help="Compiled pipeline. [default: compile it]")
@click.option("--profile", default="", help="Profile to compile for. [default: the file's, else gpu]")
@click.option("--image", default="", help="Image of the stages, by immutable tag or digest.")
@click.option("--service-account", default="", help="Kubernetes service account of the pods.")
@click.option("--pipeline-root", default="", help="Where KFP keeps this run's artifacts.")
@click.option("--artifacts", default="", help="Where they can be read from here. [default: the pipeline root]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for report and metrics. [default: runs/NAME]")
@click.option("--follow", "run_id", default="", help="Follow this run instead of starting one.")
@click.option("--fresh", is_flag=True, help="Take nothing out of KFP's cache.")
@click.option("--again", is_flag=True, help="Start it even while the same run goes on.")
@click.option("--no-wait", is_flag=True, help="Do not follow; exits with 9.")
@click.option("--timeout-s", default=0.0, type=click.FloatRange(0), help="Stop following after this long; 0: never.")
@click.option("--poll-s", default=5.0, show_default=True, type=click.FloatRange(0.05), help="Seconds between looks.")
@click.option("--host", default="", help="URL of Kubeflow Pipelines. [default: KF_PIPELINES_ENDPOINT]")
@click.option("--namespace", default="", help="Namespace of the run. [default: the file's]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, nothing else.")
def submit(
    camera: str,
    cameras: Path | None,
    sources: tuple[str, ...],
    preset: str,
    config_file: Path | None,
    changes: tuple[tuple[str, str], ...],
    day: str,
    pipeline: Path | None,
    profile: str,
    image: str,
    service_account: str,
    pipeline_root: str,
    artifacts: str,
    out: Path | None,
    run_id: str,
    fresh: bool,
    again: bool,
    no_wait: bool,
    timeout_s: float,
    poll_s: float,
    host: str,
    namespace: str,
    as_json: bool,
) -> int:
    """Run the pipeline for CAMERA on Kubeflow, follow it, bring report and metrics here.

    The compiled pipeline is uploaded once; equal bytes are one version. The same command, given again while the run
    goes on, follows it instead of starting another.

    \b
    culling submit entrance --cameras cameras.yaml --host http://localhost:8888
    culling submit entrance --source s3://footage/entrance/2026-11-20/ --preset tiny --profile kind
    """
    from dataset_culling.fleet.config import read_fleet
    from dataset_culling.kubeflow.client import Cluster, kfp_settings

    say: Callable[[str], None] = (lambda line: None) if as_json else click.echo
    file = read_fleet(cameras) if cameras is not None else None
    zone = "UTC"
    if file is not None:
        entry = file.select((camera,))[camera]
        zone = entry.camera.time_zone
        arguments = dict(entry.arguments)
        said = file.file.pipeline
        pipeline = pipeline or (file.path.parent / said.file if said.file else None)
        profile, image = profile or said.profile, image or said.image
        service_account = service_account or file.file.service_account
        pipeline_root = pipeline_root or file.file.pipeline_root
        namespace = namespace or file.file.namespace
        if sources or config_file or changes:
            raise ConfigError(
                f"{file.path}: expected the camera's settings there, found --source, --config or --set too. Choose one."
            )
    else:
        arguments = {} if run_id else _arguments(camera, sources, preset, config_file, changes)
    day = day_of(day, zone).isoformat()
    cluster = Cluster(kfp_settings(host, namespace))
    with compiled_pipeline(pipeline, profile or "gpu", image) as compiled:
        if run_id:
            run = cluster.run(run_id)
            say(f"following {run.name}")
        else:
            arguments |= {"day": day, "time_zone": zone, "fresh": f"{time.time_ns():x}" if fresh else ""}
            prefix = f"{file.file.fleet}-" if file is not None else ""
            run = start(
                cluster,
                compiled,
                name=f"{camera}-{day}",
                experiment=f"{prefix}{camera}",
                arguments=arguments,
                service_account=service_account,
                pipeline_root=pipeline_root,
                again=again,
                say=say,
            )
        link = cluster.run_link(run.id)
        say(link)
        if not no_wait:
            run = follow(cluster, run.id, compiled.tasks, poll_s=poll_s, timeout_s=timeout_s, say=say)
    found: dict[str, str] = {}
    if not run.is_live:
        say(f"{run.name}: {run.state.lower()}{f': {run.error}' if run.error else ''}")
        root = artifacts or run.pipeline_root or pipeline_root
        found = bring(root, compiled.name, run.id, out or Path("runs") / run.name, say)
    if as_json:
        rows = [{"task": task.name, "state": task.state, "error": task.error} for task in run.tasks
                if task.name in compiled.tasks]  # fmt: skip
        said_json = {"run": run.id, "name": run.name, "state": run.state, "link": link, "tasks": rows, "files": found}
        click.echo(json.dumps({**said_json, "error": run.error}))
    return STILL_GOING if run.is_live else EXIT_CODES.get(run.state, FAILED)


def _arguments(
    camera: str,
    sources: tuple[str, ...],
    preset: str,
    config_file: Path | None,
    changes: tuple[tuple[str, str], ...],
) -> dict[str, Any]:
    """The pipeline's parameters, as `culling run` would have understood the same options."""
    from dataset_culling.kubeflow.parameters import pipeline_arguments
    from dataset_culling.pipeline.graph import STAGES
    from dataset_culling.pipeline.settings import job_config

    over: dict[str, Any] = {"camera": camera} if camera else {}
    if sources:
        over = merge(over, {"extract_frames": {"sources": list(sources)}})
    config = job_config(preset, config_file, over, changes)
    if not camera:
        raise ConfigError("submit: expected the camera's name, found none. Put it first: culling submit entrance ...")
    found = config.extract_frames.sources
    if not found or not all(is_remote(uri) for uri in found):
        raise ConfigError(
            f"submit: expected footage in the cluster's store, found {', '.join(found) or 'none'}. "
            f"Pass --source s3://bucket/prefix/."
        )
    return pipeline_arguments(config, STAGES)


def start(
    cluster: Cluster,
    compiled: CompiledPipeline,
    *,
    name: str,
    experiment: str,
    arguments: Mapping[str, Any],
    service_account: str,
    pipeline_root: str,
    again: bool,
    say: Callable[[str], None],
) -> Run:
    """Start a run, or join the one that goes on with the same name, pipeline and parameters.

    Raises:
        ConfigError: If the pipeline lacks a parameter.
        ClusterError: If the cluster refuses or does not answer.
    """
    from dataset_culling.fleet.plan import differing

    parameters = differing(arguments, compiled.defaults, where=str(compiled.path))
    text = json.dumps([compiled.digest, parameters, service_account, pipeline_root], sort_keys=True)
    mark = f"[culling-submit {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    before = cluster.find_version(compiled)
    version = before if before.id else cluster.upload(compiled)
    say(f"pipeline {version.name}: {'there already' if before.id else 'uploaded'}")
    experiment_id = cluster.experiment_id(experiment)
    if not again:
        for run in cluster.runs(("display_name", "EQUALS", name), experiment_id=experiment_id):
            if run.is_live and mark in run.description:
                say(f"{name} goes on already; following it (--again starts another)")
                return run
    # Its own, so that after a lost answer the run is found and not started twice.
    token = f"{time.time_ns():x}"
    return cluster.start_run(
        name,
        f"Started by culling submit. {mark} {token}]",
        version,
        parameters,
        experiment_id=experiment_id,
        service_account=service_account,
        pipeline_root=pipeline_root,
    )


def follow(
    cluster: Cluster,
    run_id: str,
    tasks: Mapping[str, str],
    *,
    poll_s: float,
    timeout_s: float = 0.0,
    say: Callable[[str], None],
) -> Run:
    """Look at a run until it ends, telling what each task does.

    Args:
        cluster: Kubeflow Pipelines.
        run_id: The run.
        tasks: Task's name -> the user's word; others (drivers) are not told of.
        poll_s: Seconds between looks.
        timeout_s: Give up looking after this long; 0: never.
        say: Told a line.

    Returns:
        The run as it was last seen.
    """
    began = time.monotonic()
    told: dict[str, str] = {}
    while True:
        run = cluster.run(run_id)
        never = datetime.max.replace(tzinfo=UTC)
        for task in sorted(run.tasks, key=lambda each: (each.started_utc or never, each.name)):
            if task.name in tasks and told.get(task.name) != task.state and task.state != "RUNTIME_STATE_UNSPECIFIED":
                told[task.name] = task.state
                done = sum(state in ("SUCCEEDED", "SKIPPED") for state in told.values())
                took = ""
                if task.started_utc is not None and task.ended_utc is not None:
                    took = f" in {max((task.ended_utc - task.started_utc).total_seconds(), 0):.0f} s"
                problem = f": {task.error}" if task.error else ""
                say(f"[{done:>2}/{len(tasks)}] {tasks[task.name]}: {task.state.lower()}{took}{problem}")
        if not run.is_live or (timeout_s and time.monotonic() - began >= timeout_s):
            return run
        time.sleep(poll_s)


def bring(root: str, pipeline: str, run_id: str, out: Path, say: Callable[[str], None]) -> dict[str, str]:
    """Copy report, metrics and decision of a run here, where the artifact store can be read; else say why not.

    The launcher keeps a run's outputs under ROOT/PIPELINE/RUN/TASK/.../OUTPUT. An output that KFP took from its cache
    lies under the run that made it and is not looked for.

    Args:
        root: The pipeline root as it can be read from here: s3://, minio:// or a folder.
        pipeline: The pipeline's name.
        run_id: The run.
        out: Folder that the outputs go to.
        say: Told a line.

    Returns:
        Output's name -> where it is now.
    """
    if not root:
        say("report and metrics: not fetched, as nothing says where artifacts are; pass --artifacts s3://bucket/prefix")
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
    except CullingError as error:  # the run's state is what the exit code is about
        say(f"report and metrics: not fetched: {error}")
        return found
    for output, where in found.items():
        say(f"{output}: {where}")
    if not found:
        say(f"report and metrics: none under {base}")
    return found
