"""Training of one student on labelled frames: what the stages call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dataset_culling.artifacts.model import ModelCard
from dataset_culling.artifacts.subset import SubsetRecord
from dataset_culling.detectors.table import load_detector, load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.inference.detect import local_weights
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.training.checkpoint_store import StoredCheckpoint, checkpoint_of
from dataset_culling.training.config import TrainingConfig
from dataset_culling.training.data import TrainingSet
from dataset_culling.training.loop import TrainingRecord, train
from dataset_culling.training.replay import Start
from dataset_culling.training.subset_files import read_recorded, record_of
from dataset_culling.types import parse_classes


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A trained student and what to write of it."""

    student: TorchDetector
    record: TrainingRecord
    card: ModelCard
    subsets: SubsetRecord | None  # trained on; None: everything
    seconds: float  # of training alone
    notes: tuple[str, ...]
    checkpoint: StoredCheckpoint | None
    checkpoint_is_ours: bool  # to remove; otherwise the engine does

    def remove_checkpoint(self) -> None:
        """Remove the state of the training; call this when the model is written."""
        if self.checkpoint is not None and self.checkpoint_is_ours:
            self.checkpoint.remove()


def fit_student(
    config: TrainingConfig,
    samples: TrainingSet,
    *,
    side_px: int,
    device: str,
    progress: Callable[[int, int], None],
    watched: TrainingSet | None = None,
    start: Start | None = None,
    identity: Mapping[str, str] | None = None,
    card: Mapping[str, Any] | None = None,
) -> TrainedStudent:
    """Train a student of the camera's classes.

    Args:
        config: The student and its recipe.
        samples: At least one labelled frame.
        side_px: Short side to train at.
        device: "cpu", "cuda" or "cuda:N".
        progress: Called after every step with steps done and in all.
        watched: Labelled frames for early stop.
        start: The model that training starts from; None: the configuration's student.
        identity: Input name -> digest, part of the checkpoint's name; None: no checkpoints are kept.
        card: Further entries for the model's card.

    Raises:
        InputError: If recorded subsets are missing or hold none of the samples.
        ConfigError: If the recipe asks for what the student or the device cannot do.
        TrainingDiverged: If a loss or a gradient is not finite.
    """
    recipe, start = config.recipe, start or Start(config.student)
    recorded, recorded_digest = read_recorded(recipe)
    student = load_trainable(local_weights(start.student), device=device).specialise(parse_classes(config.classes))
    checkpoint: StoredCheckpoint | None = None
    is_ours = False
    if identity is not None:
        checkpoint, is_ours = checkpoint_of(config, student, {**identity, **recorded_digest})
    watch = Stopwatch()
    record = train(
        student,
        samples,
        recipe,
        side_px=side_px,
        progress=progress,
        checkpoints=checkpoint,
        watched=watched,
        teacher=_teacher(config, device),
        recorded=recorded,
    )
    seconds = watch.seconds()
    stopped = {"watched_map": list(record.watched_map), "best_epoch": record.best_epoch} if watched is not None else {}
    entries = {
        "epochs": len(record.losses),
        "steps": record.steps,
        "frames": len(samples),
        **(card or {}),
        "losses": [dict(epoch) for epoch in record.losses],
        **stopped,
        **record.card,
    }
    return TrainedStudent(
        student,
        record,
        ModelCard(student.name, student.class_names, side_px, training=entries, layers=student.layers()),
        record_of(recipe, record, student.name),
        seconds,
        (*([start.note] if start.note else ()), *record.notes, *(checkpoint.notes if checkpoint is not None else ())),
        checkpoint,
        is_ours,
    )


def _teacher(config: TrainingConfig, device: str) -> TorchDetector | None:
    """Load the teacher if a technique needs it; None if none does, or if it has no feature maps."""
    if not any(technique.needs_teacher for technique in config.recipe.techniques.on().values()):
        return None
    teacher = load_detector(local_weights(config.teacher), device=device)
    return teacher if isinstance(teacher, TorchDetector) else None
