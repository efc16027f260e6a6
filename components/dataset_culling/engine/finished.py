"""Inputs and configurations of a finished run's tasks, for trying other students or rates on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import HEADER, read_header
from dataset_culling.config import parse_config
from dataset_culling.engine.stage_main import stage_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.pipeline.graph import STAGES, WIRING
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.types import Detections, parse_classes

TASKS = {task.name: task for task in WIRING}
TRAINING = "train-student"


def settings_of(run: Path, changes: Sequence[tuple[str, str]] = ()) -> TrainStudentConfig:
    """Read the configuration of the run's training, with changes laid over it.

    Raises:
        InputError: If the run has no trained student.
        ConfigError: If a change is invalid.
    """
    model = run / "tasks" / TRAINING / "model"
    if not model.is_dir():
        raise InputError(f"{run}: expected a finished run with tasks/{TRAINING}. Pass its --out.")
    config = read_header(model, "model/1").config
    changed = stage_config(STAGES[TASKS[TRAINING].stage], json.dumps(config), changes)
    return parse_config(TrainStudentConfig, changed.model_dump(mode="json"), where=TRAINING)


def check_classes(config: TrainStudentConfig, labels: Detections) -> None:
    """Refuse to train on labels of other classes than the configuration names.

    Raises:
        ConfigError: If names or their order differ.
    """
    names = parse_classes(config.classes).names
    if names != labels.class_names:
        raise ConfigError(
            f"--set classes: expected {', '.join(labels.class_names)}, which the run's frames are labelled with, found "
            f"{', '.join(names)}. Leave it out, or run the camera again with other classes."
        )


def inputs_of(run: Path, task_name: str) -> dict[str, Path]:
    """Find a task's inputs in the run, optional ones as far as they exist, and check each header.

    Raises:
        InputError: If one is gone or of another kind.
    """
    task = TASKS[task_name]
    spec = STAGES[task.stage]
    places = {name: run / "tasks" / Path(*source.split(".")) for name, source in task.inputs.items()}
    inputs = {name: place for name, place in places.items() if name in spec.reads or place.is_dir()}
    for name, place in inputs.items():
        if name in spec.reads:
            _check_there(run, place)
        read_header(place, {**spec.reads, **spec.optional_reads}[name])
    return inputs


def config_of(run: Path, task_name: str, output: str) -> dict[str, Any]:
    """Read the configuration of a task of the run from its output.

    Raises:
        InputError: If the output is gone.
    """
    place = run / "tasks" / task_name / output
    _check_there(run, place)
    return dict(read_header(place).config)


def _check_there(run: Path, place: Path) -> None:
    if not (place / HEADER).is_file():
        raise InputError(f"{run}: expected a finished run, found no {place.relative_to(run)}. Let the run end.")
