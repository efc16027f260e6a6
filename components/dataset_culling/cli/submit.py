"""`culling submit`: one run of one camera on the cluster, followed to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, Command, config_option
from dataset_culling.errors import ConfigError
from dataset_culling.footage.nightly import day_of
from dataset_culling.storage import is_remote

FAILED, CANCELED, STILL_GOING = 7, 8, 9
EXIT_CODES = {"SUCCEEDED": 0, "FAILED": FAILED, "CANCELED": CANCELED, "SKIPPED": CANCELED}

EPILOG = """\b
Exit codes: 0 the run succeeded; 2 an option or the file is wrong; 6 Kubeflow refused or did not answer; 7 the run
failed; 8 it was canceled; 9 it still goes on (--no-wait, --timeout-s); 130 Ctrl-C: the run goes on, the same command
follows it again."""


@click.command(cls=Command, epilog=EPILOG)
@click.argument("camera", default="")
@click.option("--cameras", type=PATH, help="cameras.yaml that has CAMERA.")
@click.option("--source", "sources", multiple=True, help="s3:// footage, where there is no cameras.yaml.")
@click.option("--preset", default="default", show_default=True, help="Named settings, where there is no cameras.yaml.")
@config_option
@click.option("--set", "changes", multiple=True, nargs=2, metavar="KEY VALUE", help="One setting.")
@click.option("--day", default="", help="YYYY-MM-DD: replaces {day} in the source, names the run. [default: yesterday]")
@click.option("--pipeline", type=PATH, help="Compiled pipeline. [default: compile it]")
@click.option("--profile", default="", help="Profile to compile for. [default: the file's, else gpu]")
@click.option("--image", default="", help="Image of the stages, by immutable tag or digest.")
@click.option("--service-account", default="", help="Kubernetes service account of the pods.")
@click.option("--pipeline-root", default="", help="KFP's place for this run's artifacts.")
@click.option("--artifacts", default="", help="Their address as seen from here. [default: the pipeline root]")
@click.option("--out", type=PATH, help="Folder for report and metrics. [default: runs/NAME]")
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
    camera: str, cameras: Path | None, sources: tuple[str, ...], preset: str, config_file: Path | None,
    changes: tuple[tuple[str, str], ...], day: str, pipeline: Path | None, profile: str, image: str,
    service_account: str, pipeline_root: str, artifacts: str, out: Path | None, run_id: str, fresh: bool, again: bool,
    no_wait: bool, timeout_s: float, poll_s: float, host: str, namespace: str, as_json: bool,
) -> int:  # fmt: skip
    """Run the pipeline for CAMERA on Kubeflow, follow it, bring report and metrics here.

    The compiled pipeline is uploaded once; equal bytes are one version. The same command, given again while the run
    goes on, follows it instead of starting another.

    \b
    culling submit entrance --cameras cameras.yaml --host http://localhost:8888
    culling submit entrance --source s3://footage/entrance/2026-11-20/ --preset tiny --profile kind
    """
    from dataset_culling.fleet.config import read_fleet
    from dataset_culling.kubeflow.client import Cluster
    from dataset_culling.kubeflow.compiled import compiled_pipeline
    from dataset_culling.kubeflow.settings import kfp_settings
    from dataset_culling.kubeflow.submit import RunRequest, fetch_results, follow_run, start_run

    report: Callable[[str], None] = (lambda line: None) if as_json else click.echo
    zone, experiment = "UTC", camera
    if cameras is not None:
        if sources or config_file or changes:
            raise ConfigError(
                f"{cameras}: the camera's settings are in this file, so leave --source, --config and --set out."
            )
        fleet = read_fleet(cameras)
        entry = fleet.select((camera,))[camera]
        arguments, zone, experiment = dict(entry.arguments), entry.camera.time_zone, f"{fleet.file.fleet}-{camera}"
        source = fleet.file.pipeline
        pipeline = pipeline or (cameras.parent / source.file if source.file else None)
        profile, image = profile or source.profile, image or source.image
        service_account = service_account or fleet.file.service_account
        pipeline_root = pipeline_root or fleet.file.pipeline_root
        namespace = namespace or fleet.file.namespace
    else:
        arguments = {} if run_id else _arguments(camera, sources, preset, config_file, changes)
    day = day_of(day, zone).isoformat()
    arguments |= {"day": day, "time_zone": zone, "fresh": f"{time.time_ns():x}" if fresh else ""}
    cluster = Cluster(kfp_settings(host, namespace))
    with compiled_pipeline(pipeline, profile or "gpu", image) as compiled:
        if run_id:
            run = cluster.run(run_id)
            report(f"following {run.name}")
        else:
            request = RunRequest(f"{camera}-{day}", experiment, arguments, service_account, pipeline_root)
            run = start_run(cluster, compiled, request, again=again, report=report)
        link = cluster.run_link(run.id)
        report(link)
        if not no_wait:
            run = follow_run(cluster, run.id, compiled.tasks, poll_s=poll_s, timeout_s=timeout_s, report=report)
    found: dict[str, str] = {}
    if not run.is_live:
        report(f"{run.name}: {run.state.lower()}{f': {run.error}' if run.error else ''}")
        root = artifacts or run.pipeline_root or pipeline_root
        found = fetch_results(root, compiled.name, run.id, out or Path("runs") / run.name, report)
    if as_json:
        tasks = [{"task": task.name, "state": task.state, "error": task.error} for task in run.tasks
                 if task.name in compiled.tasks]  # fmt: skip
        values = {"run": run.id, "name": run.name, "state": run.state, "link": link, "tasks": tasks, "files": found}
        click.echo(json.dumps({**values, "error": run.error}))
    return STILL_GOING if run.is_live else EXIT_CODES.get(run.state, FAILED)


def _arguments(
    camera: str, sources: tuple[str, ...], preset: str, config_file: Path | None, changes: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    """Build the pipeline's arguments as `culling run` understands the same options."""
    from dataset_culling.kubeflow.parameters import pipeline_arguments
    from dataset_culling.pipeline.settings import job_config

    options = {"camera": camera, "extract_frames.sources": list(sources)}
    config = job_config(preset, config_file, {key: value for key, value in options.items() if value}, changes)
    if not camera:
        raise ConfigError("submit: expected the camera's name. Put it first: culling submit entrance ...")
    found = config.extract_frames.sources
    if not found or not all(is_remote(uri) for uri in found):
        raise ConfigError(
            f"submit: expected footage in the cluster's store, found {', '.join(found) or 'none'}. "
            f"Pass --source s3://bucket/prefix/."
        )
    return pipeline_arguments(config)
