"""Student training: on the culled frames, from the teacher's labels, at the chosen resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_box_source, read_labels
from dataset_culling.artifacts.model import write_model
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.errors import InputError
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.training.fit import fit_student
from dataset_culling.training.labeled_frames import Joined, LabelledFrames
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.replay import start_of, with_replay
from dataset_culling.types import Detections, IntArray


def run(config: TrainStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames, labels, selection and resolution; train; write the model."""
    material = read_material(config, inputs)
    watched = material.watched
    origin = context.origin(config, inputs)
    start = start_of(config, inputs)
    trained = fit_student(
        config,
        material.samples,
        side_px=material.side_px,
        device=context.device,
        progress=context.progress,
        watched=watched,
        start=start,
        identity=origin.inputs,
        card={"replayed": material.num_replayed, "parent": start.version},
    )
    record = trained.record
    write_model(outputs["model"], trained.card, trained.student.state(), origin, subsets=trained.subsets)
    trained.remove_checkpoint()
    trained_s = trained.seconds - record.figures.get("choosing_s", 0.0)
    seconds_per_step = trained_s / max(record.steps - record.resumed_at_step, 1)
    notes = list(trained.notes)
    if config.recipe.early_stop_share and watched is None:
        notes.append("no early stop: the frames that would be watched hold no sure box, so all are trained on")
    if record.best_epoch:
        notes.append(
            f"kept the weights of epoch {record.best_epoch} of {len(record.losses)}, the best on watched frames"
        )
    return StageReport(
        counts={
            "frames": len(material.samples),
            "replayed": material.num_replayed,
            "steps": record.steps,
            "images_backpropagated": sum(record.images_backpropagated),
            "parameters": trained.student.num_parameters(),
        },
        figures={
            "seconds_per_step": seconds_per_step,
            "seconds_per_image": seconds_per_step / images_per_step(config.recipe, len(material.samples)),
            "loss_first_epoch": sum(record.losses[0].values()),
            "loss_last_epoch": sum(record.losses[-1].values()),
            **record.figures,
        },
        notes=tuple(notes),
    )


def images_per_step(recipe: Recipe, num_samples: int) -> float:
    """On average over an epoch that looks at everything; subsets have batches of the same size."""
    return num_samples / math.ceil(num_samples / recipe.batch_size)


@dataclass(frozen=True, slots=True)
class Material:
    """Frames to train on and to watch."""

    samples: LabelledFrames | Joined
    num_replayed: int  # how many of them are of earlier nights
    watched: LabelledFrames | None  # what early stop watches
    side_px: int


def read_material(config: TrainStudentConfig, inputs: Inputs) -> Material:
    """The culled frames with their labels, and what is mixed in and kept aside.

    Raises:
        InputError: If no frame was kept.
    """
    selection = read_selection(inputs["selection"])
    if len(selection) == 0:
        raise InputError(f"{inputs['selection']}: the selection is empty. Raise the culls' budgets.")
    side_px = read_resolution(inputs["resolution"]).side_px
    labels = read_labels(inputs["labels"])
    share = config.recipe.early_stop_share
    judged = without_students_boxes(labels, inputs["labels"]) if share else labels
    rows, watched_rows = split_by_time(judged, labels.rows_of(selection.frame_ids), share)
    frames = FrameReader(inputs["frames"])
    samples, num_replayed = with_replay(config, inputs, LabelledFrames(frames, labels, rows))
    watched = LabelledFrames(frames, judged, watched_rows) if len(watched_rows) else None
    return Material(samples, num_replayed, watched, side_px)


def without_students_boxes(labels: Detections, path: Path) -> Detections:
    """The labels of `path` to judge a student by: what only a student saw (`tracks`) is an ignore region."""
    source = read_box_source(path)
    if source is None:
        return labels
    return replace(labels, ignore=labels.ignore | np.array([one == "student" for one in source], np.bool_))


def split_by_time(labels: Detections, rows: IntArray, share: float) -> tuple[IntArray, IntArray]:
    """Part the frames to train on from the latest ones, which early stop watches.

    Args:
        labels: With the frames' times.
        rows: Rows of `labels`, shape (K,), in the selection's order.
        share: Of the frames that are watched.

    Returns:
        Rows to train on, and rows to watch, (0,) if `share` is 0 or too small for one frame, if nothing would be left
        to train on, or if the watched ones held no sure box: nothing could be measured on them.
    """
    count = int(share * len(rows))
    by_time = np.argsort(labels.time_s[rows], kind="stable")
    latest = np.zeros(len(rows), np.bool_)
    latest[by_time[len(rows) - count :]] = True
    sure = sum(int((~labels.image_ignore(int(row))).sum()) for row in rows[latest])
    if not sure or latest.all():
        return rows, rows[:0]
    return rows[~latest], rows[latest]
