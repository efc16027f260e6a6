"""Student training: on the culled frames, from the teacher's labels, at the chosen resolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import InputError
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.detecting import local_weights
from dataset_culling.stages.train_student.checkpoints import checkpoint_of
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.training.loop import Sample, train
from dataset_culling.types import Detections, IntArray, parse_classes


def run(config: TrainStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames, labels, selection and resolution; train; write the model."""
    selection = read_selection(inputs["selection"])
    if len(selection) == 0:
        raise InputError(f"{inputs['selection']}: expected frames to train on, found none. Raise the culls' budgets.")
    side_px = read_resolution(inputs["resolution"]).side_px
    labels = read_labels(inputs["labels"])
    rows, watched_rows = split_by_time(labels, labels.rows_of(selection.frame_ids), config.recipe.early_stop_share)
    frames = FrameReader(inputs["frames"])
    samples = LabelledFrames(frames, labels, rows)
    watched = LabelledFrames(frames, labels, watched_rows) if len(watched_rows) else None
    student = load_trainable(local_weights(config.student), device=context.device)
    student = student.specialise(parse_classes(config.classes))
    origin = context.origin(config, inputs)
    checkpoint, ours_to_remove = checkpoint_of(config, student, dict(origin.inputs))
    watch = Stopwatch()
    record = train(
        student,
        samples,
        config.recipe,
        side_px=side_px,
        progress=context.progress,
        checkpoints=checkpoint,
        watched=watched,
    )
    seconds = watch.seconds()
    write_model(
        outputs["model"],
        ModelCard(
            detector=student.name,
            class_names=student.class_names,
            side_px=side_px,
            training={
                "epochs": len(record.losses),
                "steps": record.steps,
                "frames": len(samples),
                "losses": [dict(epoch) for epoch in record.losses],
                **(
                    {"watched_map": list(record.watched_map), "best_epoch": record.best_epoch}
                    if watched is not None
                    else {}
                ),
            },
        ),
        student.state(),
        origin,
    )
    if checkpoint is not None and ours_to_remove:
        checkpoint.remove()
    steps_here = max(record.steps - record.resumed_at_step, 1)
    seconds_per_step = seconds / steps_here
    notes = [*record.notes, *(checkpoint.notes if checkpoint is not None else ())]
    if config.recipe.early_stop_share and watched is None:
        notes.append("no early stop: the frames that would be watched hold no sure box, so all are trained on")
    if record.best_epoch:
        notes.append(
            f"kept the weights of epoch {record.best_epoch} of {len(record.losses)}, the best on watched frames"
        )
    return StageReport(
        counts={"frames": len(samples), "steps": record.steps, "parameters": student.num_parameters()},
        figures={
            "seconds_per_step": seconds_per_step,
            "seconds_per_image": seconds_per_step * record.steps / (len(record.losses) * len(samples)),
            "loss_first_epoch": sum(record.losses[0].values()),
            "loss_last_epoch": sum(record.losses[-1].values()),
        },
        notes=tuple(notes),
    )


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


@dataclass(frozen=True, slots=True)
class LabelledFrames:
    """The selected frames with their labels, read one at a time (see `training.loop.TrainingSet`)."""

    frames: FrameReader
    labels: Detections
    rows: IntArray  # rows of `labels`, shape (K,), in the selection's order

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Sample:
        row = int(self.rows[position])
        boxes = self.labels.image(row)
        image = self.frames.image(int(self.labels.frame_ids[row]))
        return Sample(image, boxes.boxes_xyxy, boxes.class_ids, self.labels.image_ignore(row), boxes.scores)

    def name(self, position: int) -> str:
        """The frame's id."""
        return f"frame {self.labels.frame_ids[int(self.rows[position])]}"
