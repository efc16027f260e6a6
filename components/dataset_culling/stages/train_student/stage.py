"""Student training: on the culled frames, from the teacher's labels, at the chosen resolution."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import InputError
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.detecting import local_weights
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
    samples = LabelledFrames(FrameReader(inputs["frames"]), labels, labels.rows_of(selection.frame_ids))
    student = load_trainable(local_weights(config.student), device=context.device)
    student = student.specialise(parse_classes(config.classes))
    watch = Stopwatch()
    record = train(student, samples, config.recipe, side_px=side_px, progress=context.progress)
    seconds = watch.seconds()
    write_model(
        outputs["model"],
        ModelCard(
            detector=student.name,
            class_names=student.class_names,
            side_px=side_px,
            training={
                "epochs": config.recipe.epochs,
                "steps": record.steps,
                "frames": len(selection),
                "losses": [dict(epoch) for epoch in record.losses],
            },
        ),
        student.state(),
        context.origin(config, inputs),
    )
    return StageReport(
        counts={"frames": len(selection), "steps": record.steps, "parameters": student.num_parameters()},
        figures={
            "seconds_per_step": seconds / record.steps,
            "seconds_per_image": seconds / (config.recipe.epochs * len(selection)),
            "loss_first_epoch": sum(record.losses[0].values()),
            "loss_last_epoch": sum(record.losses[-1].values()),
        },
    )


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
        return Sample(image, boxes.boxes_xyxy, boxes.class_ids, self.labels.image_ignore(row))

    def name(self, position: int) -> str:
        """The frame's id."""
        return f"frame {self.labels.frame_ids[int(self.rows[position])]}"
