"""Student training: on the culled frames, from the teacher's labels, at the chosen resolution."""

from __future__ import annotations

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.model import write_model
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.errors import InputError
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport, Stopwatch
from dataset_culling.stages.teaching import LabelledFrames, teach_student
from dataset_culling.stages.train_student.config import TrainStudentConfig


def run(config: TrainStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames, labels, selection and resolution; train; write the model."""
    selection = read_selection(inputs["selection"])
    if len(selection) == 0:
        raise InputError(f"{inputs['selection']}: expected frames to train on, found none. Raise the culls' budgets.")
    side_px = read_resolution(inputs["resolution"]).side_px
    labels = read_labels(inputs["labels"])
    samples = LabelledFrames(FrameReader(inputs["frames"]), labels, labels.rows_of(selection.frame_ids))
    watch = Stopwatch()
    student, record, card = teach_student(
        config, samples, side_px=side_px, device=context.device, progress=context.progress
    )
    seconds = watch.seconds()
    write_model(outputs["model"], card, student.state(), context.origin(config, inputs))
    return StageReport(
        counts={"frames": len(selection), "steps": record.steps, "parameters": student.num_parameters()},
        figures={
            "seconds_per_step": seconds / record.steps,
            "seconds_per_image": seconds / (config.recipe.epochs * len(selection)),
            "loss_first_epoch": sum(record.losses[0].values()),
            "loss_last_epoch": sum(record.losses[-1].values()),
        },
    )
