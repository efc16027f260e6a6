"""The stages and how they are wired: the one table that the local runner, the command line and the KFP DAG share."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import files_of
from dataset_culling.labeling.config import LabelingConfig
from dataset_culling.stages.base import RunStage
from dataset_culling.stages.choose_resolution.config import ChooseResolutionConfig
from dataset_culling.stages.cull_confidence.config import CullConfidenceConfig
from dataset_culling.stages.cull_precision.config import CullPrecisionConfig
from dataset_culling.stages.evaluate_student.config import EvaluateStudentConfig
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig
from dataset_culling.stages.keep_night.config import KeepNightConfig
from dataset_culling.stages.label_frames.config import LabelFramesConfig
from dataset_culling.stages.promote_student.config import PromoteStudentConfig
from dataset_culling.stages.recall_replay.config import RecallReplayConfig
from dataset_culling.stages.render_report.config import RenderReportConfig
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.stages.train_control.config import TrainControlConfig
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.training.config import TrainingConfig


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage: its command-line flags are `reads` and `writes`, name -> artifact kind."""

    name: str
    summary: str  # one line, an imperative, for KFP's UI
    config: type[StageConfig]
    reads: Mapping[str, str]
    writes: Mapping[str, str]
    run: str  # "module:function", imported only when the stage runs
    optional_reads: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses_detector(self) -> bool:
        """True if it runs a network and benefits from a GPU."""
        return self.name in ("train-student", "train-control") or "batch_size" in self.config.model_fields

    def load(self) -> RunStage:
        """The stage's function; this imports what the stage needs, torch among it."""
        module, _, function = self.run.partition(":")
        loaded: RunStage = getattr(importlib.import_module(module), function)
        return loaded


_KINDS = {
    "pool": "frames/1", "heldout": "frames/1", "frames": "frames/1", "detections": "detections/1",
    "raw": "detections/1", "trained": "detections/1", "selection": "selection/1", "kept": "selection/1",
    "labels": "labels/1", "heldout_labels": "labels/1", "resolution": "resolution/1", "model": "model/1",
    "control": "control/1", "metrics": "metrics/1", "decision": "decision/1", "night": "night/1", "report": "report/1",
    "replay": "replay/1", "replay_frames": "frames/1", "replay_labels": "labels/1",
}  # fmt: skip
"""Name of an input or output -> artifact kind; a name has the same kind in every stage."""

_REPLAY = "replay replay_frames replay_labels"
"""Inputs from earlier nights: optional for every stage that reads them, and given all together or not at all."""


def _stage(
    name: str, summary: str, config: type[StageConfig], *, reads: str = "", writes: str, optional: str = ""
) -> StageSpec:
    ports = [{port: _KINDS[port] for port in names.split()} for names in (reads, writes, optional)]
    module = f"dataset_culling.stages.{name.replace('-', '_')}.stage:run"
    return StageSpec(name, summary, config, ports[0], ports[1], module, ports[2])


_ALL = (
    _stage("extract-frames", "Sample the footage and cut it by time into a pool to learn from and held-out frames.",
           ExtractFramesConfig, writes="pool heldout"),
    _stage("recall-replay", "Fetch what earlier nights of the camera left behind, and its human check set.",
           RecallReplayConfig, reads="pool heldout", writes="replay frames labels"),
    _stage("score-frames", "Run the raw student on every frame.",
           ScoreFramesConfig, reads="frames", writes="detections"),
    _stage("cull-confidence", "Keep the frames with the student's least confident detections.",
           CullConfidenceConfig, reads="detections", writes="selection"),
    _stage("label-frames", "Label the selected frames, or all of them, with the teacher.",
           LabelFramesConfig, reads="frames", writes="labels", optional="selection detections"),
    _stage("cull-precision", "Keep the frames where student and teacher agree least.",
           CullPrecisionConfig, reads="detections labels selection", writes="kept"),
    _stage("choose-resolution", "Find the smallest image size that keeps the student's confidence (optResolution).",
           ChooseResolutionConfig, reads="frames selection labels", writes="resolution"),
    _stage("train-student", "Train the student on the culled frames with the teacher's labels.",
           TrainStudentConfig, reads="frames labels selection resolution", writes="model", optional=_REPLAY),
    _stage("train-control", "Train a student on as many random frames, to measure what culling was worth.",
           TrainControlConfig, reads="frames selection resolution", writes="control", optional=f"detections {_REPLAY}"),
    _stage("evaluate-student",
           "Evaluate the raw and the trained student, and the control arm's, on the held-out frames.",
           EvaluateStudentConfig, reads="frames labels model", writes="metrics raw trained",
           optional=f"control {_REPLAY}"),
    _stage("promote-student", "Publish the trained student, and make it the champion where it is better.",
           PromoteStudentConfig, reads="model metrics", writes="decision", optional=f"frames labels trained {_REPLAY}"),
    _stage("keep-night", "Keep a few of tonight's labelled frames for later nights.",
           KeepNightConfig, reads="frames labels kept heldout heldout_labels decision", writes="night"),
    _stage("render-report", "Render the report page and its summary.",
           RenderReportConfig, writes="report",
           reads="pool heldout detections selection labels kept resolution model control heldout_labels metrics raw "
                 "trained decision"),
)  # fmt: skip
STAGES: Mapping[str, StageSpec] = {spec.name: spec for spec in _ALL}


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One node of the DAG: a stage with its inputs connected; `inputs` maps input name -> "task.output"."""

    name: str
    stage: str
    display_name: str
    inputs: Mapping[str, str]


_SOURCES = {
    "pool": "extract-frames.pool", "heldout": "extract-frames.heldout", "replay": "recall-replay.replay",
    "replay_frames": "recall-replay.frames", "replay_labels": "recall-replay.labels",
    "detections": "score-frames.detections", "selection": "cull-confidence.selection",
    "labels": "label-selection.labels", "kept": "cull-precision.kept", "resolution": "choose-resolution.resolution",
    "model": "train-student.model", "control": "train-control.control", "heldout_labels": "label-heldout.labels",
    "metrics": "evaluate-student.metrics", "raw": "evaluate-student.raw", "trained": "evaluate-student.trained",
    "decision": "promote-student.decision",
}  # fmt: skip
"""Artifact of a run -> the "task.output" that writes it."""


def _task(name: str, display_name: str, inputs: str = "", *, stage: str = "") -> TaskSpec:
    """Make a task; `inputs` are artifacts of the run, written INPUT=ARTIFACT where the stage names one otherwise."""
    pairs = [(port, artifact or port) for port, _, artifact in (part.partition("=") for part in inputs.split())]
    return TaskSpec(name, stage or name, display_name, {port: _SOURCES[artifact] for port, artifact in pairs})


WIRING: tuple[TaskSpec, ...] = (
    _task("extract-frames", "Frame extraction"),
    _task("recall-replay", "Earlier nights", "pool heldout"),
    _task("score-frames", "Student scoring", "frames=pool"),
    _task("cull-confidence", "Confidence cull", "detections"),
    _task("label-selection", "Teacher labeling", "frames=pool selection detections", stage="label-frames"),
    _task("cull-precision", "Precision cull", "detections labels selection"),
    _task("choose-resolution", "optResolution", "frames=pool selection=kept labels"),
    _task("train-student", "Student training", f"frames=pool labels selection=kept resolution {_REPLAY}"),
    _task("train-control", "Control arm", f"frames=pool selection=kept resolution detections {_REPLAY}"),
    _task("label-heldout", "Teacher labeling (held-out)", "frames=heldout", stage="label-frames"),
    _task("evaluate-student", "Evaluation", f"frames=heldout labels=heldout_labels model control {_REPLAY}"),
    _task("promote-student", "Promotion", f"model metrics frames=heldout labels=heldout_labels trained {_REPLAY}"),
    _task("keep-night", "Keeping the night", "frames=pool labels kept heldout heldout_labels decision"),
    _task("render-report", "Report", " ".join(STAGES["render-report"].reads)),
)
"""In an order in which every task comes after those it reads from."""


class PipelineConfig(StageConfig):
    """A whole run: what the stages share, and one section for each stage's own knobs."""

    camera: str = Field("camera", min_length=1, pattern=r"^[a-z0-9][a-z0-9-]*$", description="The camera's name.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The detector that learns.")
    teacher: DetectorRef = Field(DetectorRef(name="tiny_teacher"), description="The detector that is believed.")
    registry: str = Field("", description="Folder or s3:// prefix of the model registry; empty: beside the run.")
    truth: str = Field("", description="COCO json with the true boxes of the footage, where they are known.")
    control_arm: bool = Field(
        False, description="Train on a random set of the same size too, to measure what culling was worth."
    )

    extract_frames: ExtractFramesConfig = ExtractFramesConfig()
    recall_replay: RecallReplayConfig = RecallReplayConfig()
    score_frames: ScoreFramesConfig = ScoreFramesConfig()
    cull_confidence: CullConfidenceConfig = CullConfidenceConfig()
    label_frames: LabelFramesConfig = LabelFramesConfig()
    cull_precision: CullPrecisionConfig = CullPrecisionConfig()
    choose_resolution: ChooseResolutionConfig = ChooseResolutionConfig()
    train_student: TrainStudentConfig = TrainStudentConfig()
    train_control: TrainControlConfig = TrainControlConfig()
    evaluate_student: EvaluateStudentConfig = EvaluateStudentConfig()
    promote_student: PromoteStudentConfig = PromoteStudentConfig()
    keep_night: KeepNightConfig = KeepNightConfig()
    render_report: RenderReportConfig = RenderReportConfig()

    def stage_config(self, stage: str) -> StageConfig:
        """A stage's section with what all stages share laid in, ready to be its `--config`."""
        section: StageConfig = getattr(self, stage.replace("-", "_"))
        shared: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("camera", "classes", "student", "teacher", "registry", "truth", "control_arm")
            if name in type(section).model_fields
        }
        if stage == "recall-replay":  # a champion that no training starts from would make equal trainings differ
            shared["champion"] = self.train_student.start == "champion"
        if stage == "train-control":  # both arms are labelled and learned from in the same way, whatever it is
            shared["labelling"] = LabelingConfig.model_validate(self.stage_config("label-frames").model_dump())
            shared["training"] = TrainingConfig.model_validate(self.stage_config("train-student").model_dump())
        return section.replace(**shared) if shared else section


def external_inputs(config: StageConfig) -> tuple[str, ...]:
    """Files and URIs that a stage reads beside its artifacts: footage, weights, truth, logs, subsets.

    They take part in a task's identity, so that a video overwritten at the same path is extracted again.
    """
    found: list[str] = []
    for value in (getattr(config, name) for name in type(config).model_fields):
        if isinstance(value, DetectorRef):
            found += files_of(value)
        elif isinstance(value, StageConfig):
            found += external_inputs(value)
    found += list(getattr(config, "sources", ()))
    found.append(getattr(config, "source", ""))  # recorded subsets
    found += [getattr(config, name, "") for name in ("truth", "logged")]
    return tuple(uri for uri in found if uri)
