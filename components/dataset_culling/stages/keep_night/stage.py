"""Keeping the night: the last stage, when it is known whether tonight's labels can be believed."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.decision import Decision, read_decision
from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import write_artifact
from dataset_culling.artifacts.labels import read_labels, write_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.registry.models import open_registry
from dataset_culling.registry.nights import Nights, look_of
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.keep_night.config import KeepNightConfig
from dataset_culling.stages.keep_night.naming import name_of_night
from dataset_culling.types import Detections, IntArray

SCHEMA = "night/1"
FILE = "night.json"


def run(config: KeepNightConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read tonight's frames, labels and the decision; put a bounded part into the registry; write what was done."""
    decision = read_decision(inputs["decision"])
    why_not = refusal(config, decision)
    removed: tuple[str, ...] = ()
    train, heldout = np.zeros(0, np.int64), np.zeros(0, np.int64)
    night_id = name_of_night(inputs["heldout"])
    if not why_not:
        labels, heldout_labels = read_labels(inputs["labels"]), read_labels(inputs["heldout_labels"])
        train = evenly(np.sort(read_selection(inputs["kept"]).frame_ids), config.train_frames)
        # A frame without a box tells nobody whether a model has become worse.
        sure = heldout_labels.keep_boxes(~heldout_labels.ignore)
        heldout = evenly(heldout_labels.frame_ids[np.diff(sure.offsets) > 0], config.heldout_frames)
        if len(train) + len(heldout) == 0:
            why_not = "no frame with a box to keep"
    if not why_not:
        registry = open_registry(config.registry)
        nights = Nights(registry)
        with tempfile.TemporaryDirectory(prefix="culling-night-") as name:
            folder = Path(name)
            look, start_utc = _gather(inputs, labels, heldout_labels, train, heldout, folder, context, config)
            nights.keep(
                config.camera, folder / "frames", folder / "labels",
                night_id=night_id, start_utc=start_utc, train=train.tolist(), heldout=heldout.tolist(),
                class_names=labels.class_names, look=look, version=decision.version,
            )  # fmt: skip
        removed = nights.thin(config.camera, config.most_nights)
    with write_artifact(outputs["night"], SCHEMA, context.origin(config, inputs)) as artifact:
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
    note = f"not kept: {why_not}" if why_not else f"kept {len(train)} frames to train on and {len(heldout)} to judge on"
    return StageReport(
        counts={"train": len(train), "heldout": len(heldout), "nights_removed": len(removed)}, notes=(note,)
    )


def refusal(config: KeepNightConfig, decision: Decision) -> str:
    """Why the night is not to be kept; empty if it is."""
    if not config.registry:
        return "no registry was named"
    if config.keep == "never":
        return "keep is set to never"
    if config.keep == "trusted" and not decision.trusted:
        return "its labels are not at one with what was known before (see the decision)"
    return ""


def evenly(frame_ids: IntArray, most: int) -> IntArray:
    """At most `most` of the ids, evenly over their order, first and last among them where two or more fit."""
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
    context: StageContext,
    config: KeepNightConfig,
) -> tuple[tuple[float, ...], str]:
    """Write the kept frames and labels as frames/1 and labels/1 into `folder`; their look, and the night's start."""
    origin = context.origin(config, inputs)
    pool, later = FrameReader(inputs["frames"]), FrameReader(inputs["heldout"])
    rows = [(int(one), pool) for one in train] + [(int(one), later) for one in heldout]
    rows.sort(key=lambda row: row[0])
    images = []
    width_px, height_px, times = [], [], []
    with FrameWriter(folder / "frames", origin=origin, start_utc=pool.table.start_utc) as writer:
        for frame_id, reader in rows:
            place = int(reader.table.rows_of([frame_id])[0])
            time_s = float(reader.table.time_s[place])
            writer.add_jpeg(frame_id, time_s, reader.jpeg(frame_id))
            images.append(reader.image(frame_id))
            times.append(time_s)
            width_px.append(int(reader.table.width_px[place]))
            height_px.append(int(reader.table.height_px[place]))
    chosen = [(labels if reader is pool else heldout_labels, frame_id) for frame_id, reader in rows]
    found = [(boxes, int(boxes.rows_of(np.array([frame_id]))[0])) for boxes, frame_id in chosen]
    gathered = Detections.from_images(
        [boxes.image(row) for boxes, row in found],
        frame_ids=np.array([frame_id for frame_id, _ in rows], np.int64),
        time_s=np.array(times, np.float64),
        class_names=labels.class_names,
    )
    ignore = np.concatenate([boxes.image_ignore(row) for boxes, row in found])
    gathered = dataclasses.replace(gathered, ignore=ignore)
    write_labels(folder / "labels", gathered, np.array(width_px), np.array(height_px), origin)
    return look_of(images), pool.table.start_utc
