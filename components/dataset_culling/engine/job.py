"""The main job, `culling run`: settings, simulated footage if no video is given, the graph, the results."""

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

from dataset_culling.artifacts.header import write_json
from dataset_culling.artifacts.timing import Timing
from dataset_culling.config import did_you_mean
from dataset_culling.detectors.table import DESCRIBED, DETECTORS
from dataset_culling.engine.interruption import writing_to
from dataset_culling.engine.local import RunResult, run_pipeline
from dataset_culling.engine.simulate import scene_text, simulate_in_child, truth_path
from dataset_culling.engine.stage_main import QUIET, VERBOSE
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.footage.nightly import DAY, day_of, with_day
from dataset_culling.pipeline.graph import WIRING, PipelineConfig
from dataset_culling.pipeline.settings import job_config
from dataset_culling.report.progress import Display, make_display
from dataset_culling.report.terminal import print_summary
from dataset_culling.storage import is_remote, open_store
from dataset_culling.storage.transfer import local_folder, publish

DEMO_SCENES = {"demo": ("demo", 1800.0, 2.0), "tiny": ("demo", 120.0, 2.0)}
"""Preset -> the scene, seconds of video and frames per second of a run that was given no video."""


def run_job(
    *, preset: str, config_file: Path | None,
    options: Mapping[str, Any], changes: Sequence[tuple[str, str]], day: str, out: Path,
    device: str, fresh: bool, as_json: bool, publish_to: str, level: int,
) -> None:  # fmt: skip
    """Run the main job and print its results; `level` is QUIET, NORMAL or VERBOSE, for the rest see `culling run -h`.

    Raises:
        CullingError: As a stage or a setting raises it.
    """
    out = local_folder(out, "--out")
    if publish_to:
        open_store(publish_to.rstrip("/") + "/")  # a wrong name or key fails now, not after hours
    config = with_days_footage(job_config(preset, config_file, options, changes), day)
    check_detectors(config)
    if not config.extract_frames.sources and preset not in DEMO_SCENES:
        raise ConfigError(f"--preset {preset}: expected a video. Pass --video FILE.")
    if fresh:
        with writing_to(out):
            for folder in ("tasks", "footage", "scratch"):
                shutil.rmtree(out / folder, ignore_errors=True)
    if not config.registry:
        config = config.replace(registry=str((out / "registry").absolute()))
    started = time.monotonic()
    with make_display(quiet=level == QUIET or as_json, verbose=level == VERBOSE) as display:
        seconds_simulating = 0.0
        if not config.extract_frames.sources:
            config, seconds_simulating = _with_simulated_footage(config, preset, out, display)
        result = run_pipeline(config, out, display=display, device=device)
    summary = lay_out(result, config, out, seconds_simulating, time.monotonic() - started)
    if publish_to:
        publish(out, publish_to)
    if as_json:
        click.echo(json.dumps(summary, indent=1, sort_keys=True))
    else:
        print_summary(summary, out)


def with_days_footage(config: PipelineConfig, day: str) -> PipelineConfig:
    """Put the day into the sources, so that the run's configuration says which footage it used.

    Raises:
        ConfigError: If the day is invalid, or no source has {day} in it.
    """
    frames = config.extract_frames
    if any(DAY in source for source in frames.sources):
        sources = with_day(frames.sources, day_of(day, frames.name_time_zone))
        return config.replace(extract_frames=frames.replace(sources=sources))
    if day:
        raise ConfigError(f"--day {day}: no video has {DAY} in its name. Leave it out.")
    return config


def check_detectors(config: PipelineConfig) -> None:
    """Refuse unknown detectors before the first frame is decoded.

    Raises:
        ConfigError: If student or teacher is no detector of ours and no description file.
        InputError: If a description or weights file is named that is not there.
    """
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
                raise InputError(f"{file}: the {role}'s file does not exist. Check the path.")


def _with_simulated_footage(
    config: PipelineConfig, preset: str, out: Path, display: Display
) -> tuple[PipelineConfig, float]:
    scene, duration_s, fps = DEMO_SCENES[preset]
    identity = hashlib.sha256(scene_text(scene, duration_s, fps).encode()).hexdigest()[:12]
    video = out / "footage" / f"{scene}-{identity}.mp4"
    display.begin(0, len(WIRING), "Simulated camera")
    watch = time.monotonic()
    skipped = video.is_file() and truth_path(video).is_file()
    if not skipped:
        with writing_to(out):
            shutil.rmtree(video.parent, ignore_errors=True)
            video.parent.mkdir(parents=True)
        log = out / "logs" / "simulate-camera.log"
        simulate_in_child(video, scene, duration_s, fps, log=log, progress=display.progress)
    seconds = time.monotonic() - watch
    display.end(Timing("simulate-camera", "simulate-camera", seconds, 0.0, "cpu"), skipped=skipped)
    extract = config.extract_frames.replace(sources=(str(video.absolute()),))
    return config.replace(extract_frames=extract, truth=str(truth_path(video).absolute())), seconds


def lay_out(
    result: RunResult, config: PipelineConfig, out: Path, seconds_simulating: float, seconds: float
) -> dict[str, Any]:
    """Copy the results to the top of the run's folder: summary.json, report.html, model/.

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
