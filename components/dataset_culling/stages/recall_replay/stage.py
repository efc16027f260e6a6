"""Recall-replay stage: fetch a few labelled frames of each kept night, and the human check set, from the registry.

It runs once at the beginning, so that training, evaluation and promotion use the same nights, whatever other runs do.
Nights kept from tonight's own footage are left out: a model is never evaluated on its training frames.
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
from dataset_culling.registry.nights import Night, Nights, name_of_night
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.recall_replay.config import RecallReplayConfig
from dataset_culling.types import Detections, ImageDetections, IntArray, parse_classes


def run(config: RecallReplayConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Read the registry; write the nights' frames and labels as one set, and the night of each frame."""
    classes = parse_classes(config.classes).names
    origin = context.origin(config, inputs)
    # Trainings on the same nights have equal inputs, whichever registry the nights come from.
    origin = dataclasses.replace(origin, config={k: v for k, v in origin.config.items() if k != "registry"})
    registry = open_registry(config.registry) if config.registry else None
    champion, champion_digest = 0, ""
    nights: list[Night] = []
    notes: list[str] = []
    shutil.rmtree(outputs["replay"], ignore_errors=True)
    if registry is not None:
        if config.champion and (champion := registry.champion(config.camera).version):
            champion_digest = digest(registry.fetch_model(config.camera, champion, outputs["replay"] / CHAMPION))
        nights = _nights_to_replay(config, Nights(registry), name_of_night(inputs["heldout"]), classes, notes)
    tonight = np.concatenate([FrameReader(inputs[part]).fingerprints for part in ("pool", "heldout")])
    slices: list[Slice] = []
    labels: list[Detections] = []
    width_px: list[int] = []
    height_px: list[int] = []
    with (
        tempfile.TemporaryDirectory(prefix="culling-nights-") as folder,
        FrameWriter(outputs["frames"], origin=origin) as writer,
    ):
        for number, (night, name) in enumerate(zip(nights, slice_names(nights), strict=True), start=1):
            assert registry is not None
            parts = Nights(registry).fetch(config.camera, night, Path(folder) / str(number))
            reader, known = FrameReader(parts["frames"]), read_labels(parts["labels"])
            if night.kind == "night" and is_of_tonight(reader.fingerprints, tonight):
                notes.append(f"left out night {name}: it is tonight's footage, extracted with other settings")
                continue
            ids = reader.table.frame_ids
            moved = number * STRIDE + np.arange(len(ids), dtype=np.int64)
            for frame_id, jpeg in zip(moved.tolist(), reader.jpegs(ids), strict=True):
                writer.add_jpeg(frame_id, frame_id / 1000, jpeg)
            width_px += reader.table.width_px.tolist()
            height_px += reader.table.height_px.tolist()
            labels.append(_renamed(known.take(known.rows_of(ids)), moved, classes))
            new = dict(zip(ids.tolist(), moved.tolist(), strict=True))
            train, heldout = (tuple(new[one] for one in part) for part in (night.train, night.heldout))
            slices.append(Slice(name, night.kind, train, heldout))
            context.progress(number, len(nights))
    sizes = np.array(width_px, np.int64), np.array(height_px, np.int64)
    write_labels(outputs["labels"], joined(labels, classes), *sizes, origin)
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


def _nights_to_replay(
    config: RecallReplayConfig, kept: Nights, tonight: str, classes: tuple[str, ...], notes: list[str]
) -> list[Night]:
    """Return the newest nights other than tonight and the check set, if their labels cover the classes."""
    nights = [night for night in kept.all(config.camera) if night.id != tonight]
    nights = nights[max(0, len(nights) - config.most_nights) :]
    if (check := kept.check_set(config.camera)) is not None:
        nights.append(check)
    fitting = [night for night in nights if set(night.class_names) >= set(classes)]
    if len(fitting) < len(nights):
        num_left_out = len(nights) - len(fitting)
        notes.append(f"left out {num_left_out} kept nights: not labelled for all of {', '.join(classes)}")
    return fitting


def is_of_tonight(kept: npt.NDArray[np.uint64], tonight: npt.NDArray[np.uint64]) -> bool:
    """Return True if a kept night is of tonight's footage: half of its frames or more equal tonight's.

    Args:
        kept: Fingerprints of the night's frames, shape (K,); see `FrameReader.fingerprints`.
        tonight: Fingerprints of all of tonight's frames, shape (N,).
    """
    return len(kept) > 0 and 2 * int(np.isin(kept, tonight).sum()) >= len(kept)


def slice_names(nights: Sequence[Night]) -> list[str]:
    """Name each night for metric names: its day, numbered if one day has several; `check` for the check set."""
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
    """Join the labels of several nights, whose ids ascend from one to the next."""
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
    """Keep only the labels of `class_names`, with ids in that order, new frame ids and times to match."""
    place = np.array([class_names.index(name) if name in class_names else -1 for name in labels.class_names], np.int64)
    known = labels.keep_boxes(place[labels.class_ids] >= 0)
    images = [
        ImageDetections(one.boxes_xyxy, one.scores, place[one.class_ids])
        for one in (known.image(row) for row in range(len(known)))
    ]
    moved = Detections.from_images(images, frame_ids=frame_ids, time_s=frame_ids / 1000, class_names=class_names)
    return dataclasses.replace(moved, ignore=known.ignore.copy())
