"""`culling run`: settings put together, footage found or simulated, the graph walked, the result laid out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from dataset_culling.artifacts.header import write_json
from dataset_culling.artifacts.timing import Timing
from dataset_culling.config import merge, parse_config, read_yaml
from dataset_culling.detectors.table import DESCRIBED, DETECTORS
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.graph import WIRING, PipelineConfig, TaskSpec
from dataset_culling.presets import read_preset
from dataset_culling.report.terminal import print_summary
from dataset_culling.runner.containers import check_engine, run_in_containers
from dataset_culling.runner.display import make_display
from dataset_culling.runner.engine import Display, RunResult, run_pipeline, writing_to
from dataset_culling.runner.footage import DAY, day_of, with_day
from dataset_culling.runner.forkserver import StageServer
from dataset_culling.runner.process import run_child
from dataset_culling.runner.simulate import scene_text, truth_path
from dataset_culling.storage import is_remote, open_store
from dataset_culling.storage.transfer import local_folder, publish

SIMULATION = TaskSpec("simulate-camera", "simulate-camera", "Simulated camera", {})
DEMO_SCENES = {"demo": ("demo", 1800.0, 2.0), "tiny": ("demo", 120.0, 2.0)}
"""Preset -> the scene, seconds of video and frames per second of a run that was given no video."""


def job_config(
    preset: str, config_file: Path | None, over: Mapping[str, Any], changes: Sequence[tuple[str, str]]
) -> PipelineConfig:
    """Put a run's settings together: defaults, preset, file, options, single settings; later ones win.

    Raises:
        ConfigError: In one line, naming the key that is wrong and where it came from.
    """
    values = read_preset(preset)
    if config_file is not None:
        own = read_yaml(config_file)
        parse_config(PipelineConfig, merge(values, own), where=str(config_file))
        values = merge(values, own)
    values = merge(values, over)
    for key, text in changes:
        try:
            nested: Any = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"--set {key} {text}: expected a YAML value. Quote it.") from None
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = merge(values, nested)
    return parse_config(PipelineConfig, values, where="settings")


def run_job(
    *,
    preset: str,
    config_file: Path | None,
    over: Mapping[str, Any],
    changes: Sequence[tuple[str, str]],
    day: str = "",
    out: Path,
    device: str,
    fresh: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool = False,
    publish_to: str = "",
    engine: str = "local",
    image: str = "",
) -> None:
    """Run the main job and print what came of it; see `culling run --help`.

    Raises:
        CullingError: Whatever a stage or a setting refuses.
    """
    out = local_folder(out, "--out")
    if publish_to:
        open_store(publish_to.rstrip("/") + "/")  # what is wrong with its name or its keys shows now, not after hours
    config = _of_the_day(job_config(preset, config_file, over, changes), day)
    if image and engine == "local":
        raise ConfigError(f"--image {image}: expected --engine docker with it, found local. Add it, or leave it out.")
    check_detectors(config)
    if engine == "docker":
        check_engine(image)
    if not config.extract_frames.sources and preset not in DEMO_SCENES:
        raise ConfigError(f"--preset {preset}: expected a video, found none. Pass --video FILE.")
    if fresh:
        with writing_to(out):
            shutil.rmtree(out / "tasks", ignore_errors=True)
            shutil.rmtree(out / "footage", ignore_errors=True)
            shutil.rmtree(out / "scratch", ignore_errors=True)
    if not config.registry:
        config = config.replace(registry=str((out / "registry").absolute()))
    started = time.monotonic()
    with make_display(quiet=quiet or as_json, verbose=verbose) as display, StageServer() as server:
        seconds_simulating = 0.0
        if not config.extract_frames.sources:
            config, seconds_simulating = _with_simulated_footage(config, preset, out, display, server)
        if engine == "docker":
            result = run_in_containers(config, out, display=display, device=device, image=image)
        else:
            result = run_pipeline(config, out, display=display, device=device, server=server)
    summary = lay_out(result, config, out, seconds_simulating, time.monotonic() - started)
    if publish_to:
        publish(out, publish_to)
    if as_json:
        click.echo(json.dumps(summary, indent=1, sort_keys=True))
    else:
        print_summary(summary, out)


def _of_the_day(config: PipelineConfig, day: str) -> PipelineConfig:
    """The settings with the day in its sources: a run's configuration says which footage it was.

    Raises:
        ConfigError: If the day is none, or no source asks for one.
    """
    frames = config.extract_frames
    if any(DAY in source for source in frames.sources):
        sources = with_day(frames.sources, day_of(day, frames.name_time_zone))
        return config.replace(extract_frames=frames.replace(sources=sources))
    if day:
        raise ConfigError(f"--day {day}: expected a video with {DAY} in its name, found none. Leave it out.")
    return config


def check_detectors(config: PipelineConfig) -> None:
    """Refuse unknown detectors before the first frame is decoded.

    Raises:
        ConfigError: If student or teacher is no detector of ours and no description file.
        InputError: If a description or weights file is named that is not there.
    """
    from dataset_culling.config import did_you_mean

    for role, ref in (("student", config.student), ("teacher", config.teacher)):
        described = ref.name.endswith((".yaml", ".yml"))
        if not described and ref.name not in DETECTORS:
            raise ConfigError(
                f"--{role}: no detector is called '{ref.name}'.{did_you_mean(ref.name, list(DETECTORS))} "
                f"Known: {', '.join(DETECTORS)}, or a .yaml that describes an exported network."
            )
        if role == "student" and described:
            raise ConfigError(f"--student {ref.name}: an exported network cannot learn. Known: {', '.join(DETECTORS)}.")
        files = [ref.name] if described and not (DESCRIBED / ref.name).is_file() else []
        if "/" in ref.weights or "." in ref.weights:
            files.append(ref.weights)
        for file in files:
            if not is_remote(file) and not Path(file).exists():
                raise InputError(f"{file}: expected the {role}'s file, found nothing. Check the path.")


def _with_simulated_footage(
    config: PipelineConfig, preset: str, out: Path, display: Display, server: StageServer
) -> tuple[PipelineConfig, float]:
    scene, duration_s, fps = DEMO_SCENES[preset]
    identity = hashlib.sha256(scene_text(scene, duration_s, fps).encode()).hexdigest()[:12]
    video = out / "footage" / f"{scene}-{identity}.mp4"
    display.begin(0, len(WIRING), SIMULATION)
    watch = time.monotonic()
    skipped = video.is_file() and truth_path(video).is_file()
    if not skipped:
        with writing_to(out):
            shutil.rmtree(video.parent, ignore_errors=True)
            video.parent.mkdir(parents=True)
        arguments = ["simulate", str(video), "--scene", scene, "--duration", str(duration_s), "--fps", str(fps)]
        run_child(
            arguments,
            log=out / "logs" / "simulate-camera.log",
            task=SIMULATION.display_name,
            progress=display.progress,
            server=server,
        )
    seconds = time.monotonic() - watch
    display.end(SIMULATION, Timing("simulate-camera", "simulate-camera", seconds, 0.0, "cpu"), skipped=skipped)
    extract = config.extract_frames.replace(sources=(str(video.absolute()),))
    return config.replace(extract_frames=extract, truth=str(truth_path(video).absolute())), seconds


def lay_out(
    result: RunResult, config: PipelineConfig, out: Path, seconds_simulating: float, seconds: float
) -> dict[str, Any]:
    """Copy what people came for to the top of the run's folder: summary.json, report.html, model/.

    Returns:
        The summary: the report's, with every task's seconds and the peak memory of the largest process.
    """
    report, model = result.artifacts["render-report.report"], result.artifacts["train-student.model"]
    summary: dict[str, Any] = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    summary["stage_seconds"] = {task: round(timing.seconds, 3) for task, timing in result.timings.items()}
    if seconds_simulating:
        summary["stage_seconds"]["simulate-camera"] = round(seconds_simulating, 3)
    summary["peak_rss_mib"] = round(max(timing.peak_rss_mib for timing in result.timings.values()), 1)
    summary["wall_seconds"] = round(seconds, 3)
    summary["tasks_skipped"] = list(result.skipped)
    summary["model_path"] = str((out / "model").absolute())
    summary["report_path"] = str((out / "report.html").absolute())
    with writing_to(out):
        beside = out / ".model.partial"
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(model, beside)
        shutil.rmtree(out / "model", ignore_errors=True)
        os.replace(beside, out / "model")
        page = out / ".report.partial"
        shutil.copyfile(report / "report.html", page)
        os.replace(page, out / "report.html")
        write_json(out / "summary.json", summary)
        write_json(out / "config.json", config.model_dump(mode="json"))
    return summary
