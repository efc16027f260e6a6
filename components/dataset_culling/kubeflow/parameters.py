"""What a person turns in the UI: which settings of a run are scalars of the pipeline, and which go along in a dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef

SCALARS: Mapping[str, str] = {
    "camera": "camera",
    "footage": "extract_frames.sources",
    "classes": "classes",
    "student": "student.name",
    "student_weights": "student.weights",
    "teacher": "teacher.name",
    "teacher_weights": "teacher.weights",
    "frames_per_second": "extract_frames.frames_per_second",
    "pool": "cull_confidence.budget",
    "pool_strategy": "cull_confidence.strategy",
    "target": "cull_precision.budget",
    "target_strategy": "cull_precision.strategy",
    "epochs": "train_student.recipe.epochs",
    "registry": "registry",
    "control_arm": "control_arm",
    "promotion": "promote_student.mode",
}
"""Pipeline parameter -> where it lies in a PipelineConfig. All else of a stage is its dict, `STAGE_config`."""

NIGHT: Mapping[str, str] = {"day": "", "time_zone": "UTC", "fresh": ""}
"""Pipeline parameter -> default of what only a run on a cluster is told: which day it is for, and whether anew."""

BORROWED: Mapping[str, tuple[str, ...]] = {"train-control": ("labelling", "training")}
"""Stage -> what it takes from other stages' dicts, which its component is given beside its own."""


class RunSettings(Protocol):
    """A PipelineConfig, which this layer may not import."""

    def stage_config(self, stage: str) -> StageConfig:
        """A stage's section with what all stages share laid in."""

    def model_dump(self, *, mode: str = "python") -> dict[str, Any]:
        """All of it as plain values."""


def pipeline_arguments(settings: RunSettings, stages: Iterable[str]) -> dict[str, Any]:
    """A run's settings as the pipeline's parameters, so that KFP does what `culling run` does with them.

    Args:
        settings: The run.
        stages: Every stage's name.

    Returns:
        Parameter -> value. An empty registry, which means "beside the run" and has no meaning on a cluster, is left to
        the pipeline's default.
    """
    values = settings.model_dump(mode="json")
    arguments: dict[str, Any] = {name: _get(values, key) for name, key in SCALARS.items()}
    if not arguments["registry"]:
        del arguments["registry"]
    return {**arguments, **NIGHT, **{section_name(stage): section(settings, stage) for stage in stages}}


def section_name(stage: str) -> str:
    """The parameter that holds a stage's dict: 'score-frames' -> 'score_frames_config'."""
    return f"{stage.replace('-', '_')}_config"


def section(settings: RunSettings, stage: str) -> dict[str, Any]:
    """A stage's configuration without what is a scalar of the pipeline, so that nothing can be said in two places."""
    values = settings.stage_config(stage).model_dump(mode="json")
    prefix = f"{stage.replace('-', '_')}."
    for key in SCALARS.values():
        _remove(values, key.removeprefix(prefix))
    for borrowed in BORROWED.get(stage, ()):
        del values[borrowed]
    for role in ("student", "teacher"):
        if values.get(role) == _PLAIN_DETECTOR:
            del values[role]
    return values


_PLAIN_DETECTOR = DetectorRef(name="any").model_dump(mode="json", exclude={"name", "weights"})


def _get(values: Mapping[str, Any], key: str) -> Any:
    first, _, rest = key.partition(".")
    return _get(values[first], rest) if rest else values[first]


def _remove(values: dict[str, Any], key: str) -> None:
    first, _, rest = key.partition(".")
    if not rest:
        values.pop(first, None)
    elif isinstance(values.get(first), dict):
        _remove(values[first], rest)
