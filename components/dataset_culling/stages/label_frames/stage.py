"""Teacher labeling: the teacher's boxes for the frames of a selection, or for all frames where none is given."""

from __future__ import annotations

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.labeling.label import label_frames, student_boxes
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.label_frames.config import LabelFramesConfig


def run(config: LabelFramesConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read frames, label the selected ones, write labels."""
    frames = FrameReader(inputs["frames"])
    frame_ids = frames.table.frame_ids
    if "selection" in inputs:
        frame_ids = np.sort(read_selection(inputs["selection"]).frame_ids)
    student = student_boxes(config, inputs, frames)
    found = label_frames(config, frames, frame_ids, device=context.device, progress=context.progress, student=student)
    mended = found.mended
    labels, trust = found.labels, found.trust
    rows = np.searchsorted(frames.table.frame_ids, frame_ids)
    write_labels(
        outputs["labels"],
        labels,
        frames.table.width_px[rows].astype(np.int64),
        frames.table.height_px[rows].astype(np.int64),
        context.origin(config, inputs),
        box_trust=None if trust is None else trust.of_boxes,
        frame_trust=None if trust is None else trust.of_frames,
        worst=() if trust is None else trust.worst,
        box_source=None if mended is None else mended.source,
        box_track=None if mended is None else mended.track,
    )
    counts = {
        "frames": len(labels),
        "boxes": int((~labels.ignore).sum()),
        "doubtful_boxes": int(labels.ignore.sum()),
        "looks": found.num_looks,
        **({} if mended is None else {f"track_{name}": count for name, count in mended.counts.items()}),
    }
    # Seconds of one pass over one frame: the cost model multiplies them by the frames of a single pass.
    figures = {"seconds_per_frame": found.seconds_per_look}
    if mended is not None:
        figures["linking_s"] = found.linking_s
    if trust is not None:
        figures["mean_frame_trust"] = float(trust.of_frames.mean()) if len(labels) else 1.0
    return StageReport(counts=counts, figures=figures, notes=found.notes)
