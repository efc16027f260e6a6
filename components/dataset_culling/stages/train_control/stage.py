"""Control arm: a random set of the same size from the same pool, labelled and trained on like the culled one.

It measures what culling was worth on a camera: everything but the choice of frames is the same.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.artifacts.control import Control, write_control
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.labeling.label import label_frames, student_boxes
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.train_control.config import TrainControlConfig
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.table import choose_frames
from dataset_culling.training.fit import fit_student
from dataset_culling.training.labeled_frames import LabelledFrames
from dataset_culling.training.replay import start_of, with_replay
from dataset_culling.training.subset_files import random_instead
from dataset_culling.types import Detections, ImageDetections, IntArray


def run(config: TrainControlConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read pool, culled set and resolution; draw as many frames; label, train, write. Does nothing unless asked for."""
    origin = context.origin(config, inputs)
    if not config.control_arm:
        write_control(outputs["control"], origin, None, {})
        return StageReport(counts={"frames": 0}, notes=("no control arm was asked for",))
    frames = FrameReader(inputs["frames"])
    side_px = read_resolution(inputs["resolution"]).side_px
    drawn = draw(frames, num=len(read_selection(inputs["selection"])), seed=config.seed)
    found = label_frames(
        config.labelling,
        frames,
        drawn,
        device=context.device,
        progress=lambda done, total: None,
        student=student_boxes(config.labelling, inputs, frames),
    )
    recipe, note = random_instead(config.training.recipe)
    training = config.training.replace(recipe=recipe)
    samples, num_replayed = with_replay(training, inputs, LabelledFrames(frames, found.labels, np.arange(len(drawn))))
    start = start_of(training, inputs)
    trained = fit_student(
        training,
        samples,
        side_px=side_px,
        device=context.device,
        progress=context.progress,
        start=start,
        identity={**origin.inputs, "lot": str(config.seed)},
        card={"replayed": num_replayed, "parent": start.version},
    )
    num_boxes = int((~found.labels.ignore).sum())
    control = Control(trained.card, tuple(drawn.tolist()), num_boxes)
    write_control(outputs["control"], origin, control, trained.student.state())
    trained.remove_checkpoint()
    return StageReport(
        counts={"frames": len(drawn), "teacher_boxes": num_boxes, "steps": trained.record.steps},
        figures={} if found.mended is None else {"linking_s": found.linking_s},
        notes=(note,) if note else (),
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
