"""Control arm: a random set of the same size, from the same pool, labelled and learned from as the culled one was.

It is the only way to say what culling was worth on a camera: everything but the choice of frames is the same.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.artifacts.control import Control, write_control
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.training.replay import start_of, with_replay
from dataset_culling.training.subset_files import by_lot_instead
from dataset_culling.stages.teaching import ask_teacher, student_boxes, teach_student
from dataset_culling.stages.together import LabelledFrames
from dataset_culling.stages.train_control.config import TrainControlConfig
from dataset_culling.training.checkpoint_store import StoredCheckpoint, checkpoint_of
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.table import choose_frames
from dataset_culling.types import Detections, ImageDetections, IntArray


def run(config: TrainControlConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read pool, culled set and resolution; draw as many frames; label, train, write. Nothing where not asked for."""
    origin = context.origin(config, inputs)
    if not config.control_arm:
        write_control(outputs["control"], origin, None, {})
        return StageReport(counts={"frames": 0}, notes=("no control arm was asked for",))
    frames = FrameReader(inputs["frames"])
    side_px = read_resolution(inputs["resolution"]).side_px
    drawn = draw(frames, num=len(read_selection(inputs["selection"])), seed=config.seed)
    taught = ask_teacher(
        config.labelling, frames, drawn, device=context.device, progress=lambda done, total: None,
        student=student_boxes(config.labelling, inputs, frames),
    )  # fmt: skip
    training = config.training
    notes: list[str] = []
    if training.recipe.subset_replay:  # its frames are not those that the recorded subsets name
        recipe = by_lot_instead(training.recipe)
        training = training.replace(recipe=recipe)
        notes.append(
            f"the control arm has other frames than recipe.subset_replay names: it looked at "
            f"{recipe.subset_share:g} of its batches by lot, drawn anew every {recipe.subset_every} epochs"
        )
    samples, num_replayed = with_replay(training, inputs, LabelledFrames(frames, taught.labels, np.arange(len(drawn))))
    kept: list[tuple[StoredCheckpoint | None, bool]] = []

    def checkpoints(student: TorchDetector) -> StoredCheckpoint | None:
        kept.append(checkpoint_of(training, student, {**origin.inputs, "lot": str(config.seed)}))
        return kept[-1][0]

    start = start_of(training, inputs)
    learned = teach_student(
        training, samples,
        side_px=side_px, device=context.device, progress=context.progress, checkpoints=checkpoints,
        start=start.student, extra={"replayed": num_replayed, "parent": start.version},
    )  # fmt: skip
    num_boxes = int((~taught.labels.ignore).sum())
    control = Control(learned.card, tuple(drawn.tolist()), num_boxes)
    write_control(outputs["control"], origin, control, learned.student.state())
    for checkpoint, ours_to_remove in kept:
        if checkpoint is not None and ours_to_remove:
            checkpoint.remove()
    return StageReport(
        counts={"frames": len(drawn), "teacher_boxes": num_boxes, "steps": learned.record.steps},
        figures={} if taught.mended is None else {"linking_s": taught.linking_s},
        notes=tuple(notes),
    )


def draw(frames: FrameReader, *, num: int, seed: int) -> IntArray:
    """Ids of `num` frames of the pool by the strategy `random`, ascending; all of them if there are fewer."""
    table = frames.table
    pool = Detections.from_images(
        [ImageDetections.empty()] * len(table.frame_ids),
        frame_ids=table.frame_ids,
        time_s=table.time_s,
        class_names=("object",),
    )
    return np.sort(choose_frames("random", CullInput(pool), budget=num, seed=seed).frame_ids)
