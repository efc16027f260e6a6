"""The pipeline's form: some settings of a run are parameters of their own, the rest is one dict for each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.pipeline.graph import STAGES, WIRING, PipelineConfig


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the pipeline; `key` is its dotted key in a PipelineConfig, empty where only a cluster needs it."""

    name: str
    key: str
    description: str


FORM: tuple[Parameter, ...] = (
    Parameter("camera", "camera", "The camera's name in the registry: lower-case letters, digits and dashes."),
    Parameter(
        "footage",
        "extract_frames.sources",
        'Videos or prefixes in time order, for example ["s3://footage/entrance/{day}/"].',
    ),
    Parameter(
        "day",
        "",
        "What {day} stands for, as 2026-11-20; empty: the day before the scheduled start, where the camera is.",
    ),
    Parameter("time_zone", "", "The camera's, for that, for example Europe/Berlin."),
    Parameter(
        "classes", "classes", "What to detect: names of the teacher's classes, or NAME=THEIRS+THEIRS to join several."
    ),
    Parameter("student", "student.name", "The detector that learns."),
    Parameter(
        "student_weights",
        "student.weights",
        "Its weights: a torchvision name, a file in the image, or s3://bucket/key; empty: its own.",
    ),
    Parameter(
        "teacher",
        "teacher.name",
        "The detector that is believed: a name, or the path of a .yaml that describes an exported network.",
    ),
    Parameter("teacher_weights", "teacher.weights", "Its weights, as for the student."),
    Parameter("frames_per_second", "extract_frames.frames_per_second", "Frames taken from each second of footage."),
    Parameter("pool", "cull_confidence.budget", "Most frames that the confidence cull passes on to the teacher."),
    Parameter(
        "pool_strategy",
        "cull_confidence.strategy",
        "How those frames are chosen, before the teacher has seen any.",
    ),
    Parameter("target", "cull_precision.budget", "Most frames to train on (the paper's n)."),
    Parameter(
        "target_strategy", "cull_precision.strategy", "How those frames are chosen, with the teacher's labels at hand."
    ),
    Parameter("epochs", "train_student.recipe.epochs", "Passes over the frames trained on."),
    Parameter(
        "control_arm",
        "control_arm",
        "Whether to train on as many random frames too, and say what culling was worth.",
    ),
    Parameter("registry", "registry", "Where the cameras' models are kept."),
    Parameter(
        "promotion",
        "promote_student.mode",
        "auto: a better student takes over; dry-run: only say whether it would; manual: a person decides.",
    ),
    Parameter("fresh", "", "A word that was not there before makes everything anew, whatever KFP's cache holds."),
)
"""In the form's order. Each stage's remaining settings follow as a dict, `STAGE_config`."""

CLUSTER_DEFAULTS: Mapping[str, str] = {"day": "", "time_zone": "UTC", "fresh": ""}
"""Defaults of the parameters that a run on one machine does not have."""

BORROWED: Mapping[str, Mapping[str, str]] = {
    "train-control": {"labelling": "label-frames", "training": "train-student"}
}
"""Stage -> field of its configuration -> the stage whose configuration that field repeats."""


def section_name(stage: str) -> str:
    """Return the parameter that holds a stage's dict: 'score-frames' -> 'score_frames_config'."""
    return f"{stage.replace('-', '_')}_config"


def descriptions() -> dict[str, str]:
    """Return the description of every parameter of the pipeline, in the form's order."""
    titles: dict[str, str] = {}
    for task in WIRING:
        titles.setdefault(task.stage, task.display_name)
    sections = {section_name(stage): f"{titles[stage]}: all else." for stage in STAGES}
    return {**{parameter.name: parameter.description for parameter in FORM}, **sections}


def stage_settings(stage: str) -> dict[str, str]:
    """Map dotted keys of a stage's configuration to the pipeline parameters that override them.

    The keys come in the order in which they must be set: a borrowed section before the keys inside it.
    """
    section, fields = stage.replace("-", "_"), STAGES[stage].config.model_fields
    found: dict[str, str] = {}
    for field, lender in BORROWED.get(stage, {}).items():
        found[field] = section_name(lender)
        found |= {f"{field}.{key}": name for key, name in stage_settings(lender).items()}
    for parameter in FORM:
        first, _, rest = parameter.key.partition(".")
        if first == section:
            found[rest] = parameter.name
        elif first in fields:
            found[parameter.key] = parameter.name
    return found


def pipeline_arguments(settings: PipelineConfig) -> dict[str, Any]:
    """Express a run's settings as the pipeline's parameters, so that KFP does what `culling run` does with them.

    An empty registry means "beside the run", which a cluster lacks, and is left to the pipeline's default.
    """
    values = settings.model_dump(mode="json")
    arguments = {each.name: get_key(values, each.key) for each in FORM if each.key}
    if not arguments["registry"]:
        del arguments["registry"]
    return {**arguments, **CLUSTER_DEFAULTS, **{section_name(stage): section(settings, stage) for stage in STAGES}}


def section(settings: PipelineConfig, stage: str) -> dict[str, Any]:
    """Return a stage's configuration without the pipeline's own parameters, so that each setting has one place."""
    values = settings.stage_config(stage).model_dump(mode="json")
    for key in stage_settings(stage):
        first, _, rest = key.rpartition(".")
        get_key(values, first).pop(rest, None)
    for role in ("student", "teacher"):
        if values.get(role) == _PLAIN_DETECTOR:
            del values[role]
    return values


_PLAIN_DETECTOR = DetectorRef(name="any").model_dump(mode="json", exclude={"name", "weights"})


def get_key(values: Mapping[str, Any], key: str) -> Any:
    """Look a dotted key up in nested mappings; an empty key gives `values`, a missing one an empty dict."""
    found: Any = values
    for part in key.split(".") if key else ():
        found = found.get(part, {})
    return found
