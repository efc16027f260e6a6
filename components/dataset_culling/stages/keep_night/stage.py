"""Keep-night stage: runs last, when the promotion gate has decided about tonight's labels."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.decision import Decision, read_decision
from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin, write_artifact
from dataset_culling.artifacts.labels import read_labels, write_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.registry.models import open_registry
from dataset_culling.registry.nights import Nights, appearance_of, name_of_night
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.keep_night.config import KeepNightConfig
from dataset_culling.types import Detections, IntArray

SCHEMA = "night/1"
FILE = "night.json"


def run(config: KeepNightConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Put a bounded part of tonight's labelled frames into the registry and write a record of it."""
    decision, origin = read_decision(inputs["decision"]), context.origin(config, inputs)
    why_not = refusal(config, decision)
    removed: tuple[str, ...] = ()
    train, heldout = np.zeros(0, np.int64), np.zeros(0, np.int64)
    night_id = name_of_night(inputs["heldout"])
    if not why_not:
        labels, heldout_labels = read_labels(inputs["labels"]), read_labels(inputs["heldout_labels"])
        train = evenly(np.sort(read_selection(inputs["kept"]).frame_ids), config.train_frames)
        # A frame without a box cannot show a model's decline.
        sure = heldout_labels.keep_boxes(~heldout_labels.ignore)
        heldout = evenly(heldout_labels.frame_ids[np.diff(sure.offsets) > 0], config.heldout_frames)
        if len(train) + len(heldout) == 0:
            why_not = "no frame with a box to keep"
    if not why_not:
        nights = Nights(open_registry(config.registry))
        with tempfile.TemporaryDirectory(prefix="culling-night-") as name:
            folder = Path(name)
            look, start_utc = _gather(inputs, labels, heldout_labels, train, heldout, folder, origin)
            nights.keep(
                config.camera, folder / "frames", folder / "labels",
                night_id=night_id, start_utc=start_utc, train=train.tolist(), heldout=heldout.tolist(),
                class_names=labels.class_names, look=look, version=decision.version,
            )  # fmt: skip
        removed = nights.thin(config.camera, config.most_nights)
    with write_artifact(outputs["night"], SCHEMA, origin) as artifact:
        artifact.json(
            FILE,
            {
                "kept": not why_not,
                "why_not": why_not,
                "night": night_id,
                "train": train.tolist(),
                "heldout": heldout.tolist(),
                "removed": list(removed),
            },
        )
        artifact.counts.update(train=len(train), heldout=len(heldout), removed=len(removed))
    kept = f"kept {len(train)} training frames and {len(heldout)} held-out frames"
    return StageReport(
        counts={"train": len(train), "heldout": len(heldout), "nights_removed": len(removed)},
        notes=(f"not kept: {why_not}" if why_not else kept,),
    )


def refusal(config: KeepNightConfig, decision: Decision) -> str:
    """Return the reason for not keeping the night; empty: keep it."""
    if not config.registry:
        return "no registry was named"
    if config.keep == "never":
        return "keep is set to never"
    if config.keep == "trusted" and not decision.trusted:
        return "the promotion gate does not trust its labels (see the decision)"
    return ""


def evenly(frame_ids: IntArray, most: int) -> IntArray:
    """Return at most `most` of the ids, evenly over their order, with first and last if two or more fit."""
    if len(frame_ids) <= most:
        return frame_ids
    if most == 0:
        return frame_ids[:0]
    rows = np.unique(np.linspace(0, len(frame_ids) - 1, most).round().astype(np.int64))
    return frame_ids[rows]


def _gather(
    inputs: Inputs,
    labels: Detections,
    heldout_labels: Detections,
    train: IntArray,
    heldout: IntArray,
    folder: Path,
    origin: Origin,
) -> tuple[tuple[float, ...], str]:
    """Write the kept frames and labels as frames/1 and labels/1 into `folder`; return appearance and start time."""
    pool, later = FrameReader(inputs["frames"]), FrameReader(inputs["heldout"])
    chosen = [(frame_id, pool, labels) for frame_id in train.tolist()]
    chosen += [(frame_id, later, heldout_labels) for frame_id in heldout.tolist()]
    chosen.sort(key=lambda one: one[0])
    rows = [int(reader.table.rows_of([frame_id])[0]) for frame_id, reader, _ in chosen]
    tables = [reader.table for _, reader, _ in chosen]
    times = [float(table.time_s[row]) for table, row in zip(tables, rows, strict=True)]
    with FrameWriter(folder / "frames", origin=origin, start_utc=pool.table.start_utc) as writer:
        for (frame_id, reader, _), time_s in zip(chosen, times, strict=True):
            writer.add_jpeg(frame_id, time_s, reader.jpeg(frame_id))
    found = [(boxes, int(boxes.rows_of(np.array([frame_id]))[0])) for frame_id, _, boxes in chosen]
    gathered = Detections.from_images(
        [boxes.image(row) for boxes, row in found],
        frame_ids=np.array([frame_id for frame_id, _, _ in chosen], np.int64),
        time_s=np.array(times, np.float64),
        class_names=labels.class_names,
    )
    ignore = np.concatenate([boxes.image_ignore(row) for boxes, row in found])
    gathered = dataclasses.replace(gathered, ignore=ignore)
    width_px = np.array([table.width_px[row] for table, row in zip(tables, rows, strict=True)])
    height_px = np.array([table.height_px[row] for table, row in zip(tables, rows, strict=True)])
    write_labels(folder / "labels", gathered, width_px, height_px, origin)
    return appearance_of([reader.image(frame_id) for frame_id, reader, _ in chosen]), pool.table.start_utc
