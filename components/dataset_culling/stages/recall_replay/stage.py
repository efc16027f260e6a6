"""Recall: a few labelled frames of each earlier night, and the human check set, out of the registry.

It happens once at the beginning of a run, so that training, evaluation and promotion see the same nights whatever other
runs do meanwhile. Tonight's own footage, kept by an earlier run, is left out: none is judged on what it learned from.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import digest
from dataset_culling.artifacts.labels import read_labels, write_labels
from dataset_culling.artifacts.replay import CHAMPION, STRIDE, Replay, Slice, write_replay
from dataset_culling.registry.models import open_registry
from dataset_culling.registry.nights import Night, Nights
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.keep_night.naming import name_of_night
from dataset_culling.stages.recall_replay.config import RecallReplayConfig
from dataset_culling.types import Detections, ImageDetections, IntArray, parse_classes


def run(config: RecallReplayConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read the registry; write the nights' frames and labels as one set, and which frame is of which night."""
    classes = parse_classes(config.classes).names
    origin = context.origin(config, inputs)
    # What was recalled counts, not from where: trainings on the same nights are the same, whichever registry it is.
    origin = dataclasses.replace(origin, config={k: v for k, v in origin.config.items() if k != "registry"})
    registry = open_registry(config.registry) if config.registry else None
    champion, champion_digest = 0, ""
    nights: list[Night] = []
    notes: list[str] = []
    shutil.rmtree(outputs["replay"], ignore_errors=True)
    if registry is not None:
        shelf = Nights(registry)
        champion = registry.champion(config.camera).version if config.champion else 0
        if champion:
            champion_digest = digest(registry.fetch_model(config.camera, champion, outputs["replay"] / CHAMPION))
        found = [night for night in shelf.all(config.camera) if night.id != name_of_night(inputs["heldout"])]
        nights = found[max(0, len(found) - config.most_nights) :]
        check = shelf.check_set(config.camera)
        nights += [check] if check is not None else []
        fitting = [night for night in nights if set(night.class_names) >= set(classes)]
        if len(fitting) < len(nights):
            notes.append(
                f"left out {len(nights) - len(fitting)} kept nights: not labelled for all of {', '.join(classes)}"
            )
        nights = fitting
    tonight = np.concatenate([FrameReader(inputs[part]).marks for part in ("pool", "heldout")])
    slices: list[Slice] = []
    labels: list[Detections] = []
    names = slice_names(nights)
    width_px: list[int] = []
    height_px: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="culling-nights-") as folder,
        FrameWriter(outputs["frames"], origin=origin) as writer,
    ):
        for number, (night, name) in enumerate(zip(nights, names, strict=True), start=1):
            assert registry is not None
            parts = Nights(registry).fetch(config.camera, night, Path(folder) / str(number))
            reader, known = FrameReader(parts["frames"]), read_labels(parts["labels"])
            if night.kind == "night" and is_of_tonight(reader.marks, tonight):
                notes.append(f"left out night {name}: it is tonight's footage, extracted in another way")
                continue
            ids = reader.table.frame_ids
            moved = number * STRIDE + np.arange(len(ids), dtype=np.int64)
            for frame_id, jpeg in zip(moved.tolist(), reader.jpegs(ids), strict=True):
                writer.add_jpeg(frame_id, frame_id / 1000, jpeg)
            width_px += reader.table.width_px.tolist()
            height_px += reader.table.height_px.tolist()
            labels.append(_renamed(known.take(known.rows_of(ids)), moved, classes))
            new = dict(zip(ids.tolist(), moved.tolist(), strict=True))
            slices.append(
                Slice(
                    name, night.kind, tuple(new[one] for one in night.train), tuple(new[one] for one in night.heldout)
                )
            )
            context.progress(number, len(nights))
    write_labels(
        outputs["labels"],
        joined(labels, classes),
        np.array(width_px, np.int64),
        np.array(height_px, np.int64),
        origin,
    )
    write_replay(outputs["replay"], Replay(champion, champion_digest, tuple(slices)), origin)
    return StageReport(
        counts={
            "nights": sum(part.kind == "night" for part in slices),
            "check_frames": sum(len(part.heldout) for part in slices if part.kind == "check"),
            "frames": len(width_px),
            "champion": champion,
        },
        notes=tuple(notes),
    )


def is_of_tonight(kept: npt.NDArray[np.uint64], tonight: npt.NDArray[np.uint64]) -> bool:
    """Whether a kept night is of the very footage that is trained on now: half of its frames or more are among it.

    Args:
        kept: Marks of the night's frames, shape (K,); see `FrameReader.marks`.
        tonight: Marks of all of tonight's, shape (N,).
    """
    return len(kept) > 0 and 2 * int(np.isin(kept, tonight).sum()) >= len(kept)


def slice_names(nights: Sequence[Night]) -> list[str]:
    """A name for each night that can stand in a metric's name: its day, numbered where one day has several; `check`."""
    days = Counter(night.date for night in nights if night.kind == "night")
    seen: Counter[str] = Counter()
    names = []
    for night in nights:
        if night.kind == "check":
            names.append("check")
            continue
        seen[night.date] += 1
        names.append(night.date if days[night.date] == 1 else f"{night.date}_{seen[night.date]}")
    return names


def joined(parts: Sequence[Detections], class_names: tuple[str, ...]) -> Detections:
    """Labels of several nights as one; ids ascend from one to the next."""
    images = [part.image(row) for part in parts for row in range(len(part))]
    empty = np.zeros(0, np.int64)
    gathered = Detections.from_images(
        images,
        frame_ids=np.concatenate([part.frame_ids for part in parts]) if parts else empty,
        time_s=np.concatenate([part.time_s for part in parts]) if parts else np.zeros(0),
        class_names=class_names,
    )
    if parts:
        gathered.ignore[:] = np.concatenate([part.ignore for part in parts])
    return gathered


def _renamed(labels: Detections, frame_ids: IntArray, class_names: tuple[str, ...]) -> Detections:
    """The labels of `class_names` only, their ids in that order, with other frame ids and times that follow them."""
    place = np.array([class_names.index(name) if name in class_names else -1 for name in labels.class_names], np.int64)
    known = labels.keep_boxes(place[labels.class_ids] >= 0)
    images = [
        ImageDetections(one.boxes_xyxy, one.scores, place[one.class_ids])
        for one in (known.image(row) for row in range(len(known)))
    ]
    moved = Detections.from_images(images, frame_ids=frame_ids, time_s=frame_ids / 1000, class_names=class_names)
    return dataclasses.replace(moved, ignore=known.ignore.copy())
