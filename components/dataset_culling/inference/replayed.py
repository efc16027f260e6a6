"""Figures of the students on frames of earlier nights and on the human check set, for the promotion rule.

replay_20261120_map_50_S      one kept night; `objects_replay_20261120` true boxes in it
replay_map_50_S               all kept nights together
check_map_50_S                the human check set, `objects_check`; S also `teacher`: the teacher itself
S: raw, trained, champion
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.replay import Slice, read_replay
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.types import Detections, IntArray

Detect = Callable[[FrameReader, IntArray], Detections]
"""(frames, ids, ascending) -> a student's boxes of exactly these frames, in the camera's classes."""


def replayed(inputs: Mapping[str, Path], students: Mapping[str, Detect]) -> dict[str, float]:
    """Evaluate every student on every slice that has true boxes.

    Args:
        inputs: The stage's: replay, replay_frames, replay_labels; without them the result is empty.
        students: S -> its detector. `teacher` runs on the check set only, because the other labels are its own.
    """
    if "replay" not in inputs:
        return {}
    slices = read_replay(inputs["replay"]).judged
    if not slices:
        return {}
    frames, labels = FrameReader(inputs["replay_frames"]), read_labels(inputs["replay_labels"])
    figures: dict[str, float] = {}
    for part in slices:
        name = "check" if part.kind == "check" else f"replay_{part.name}"
        figures[f"objects_{name}"] = float(_objects(labels, part))
    for student, detect in students.items():
        mine = [part for part in slices if part.kind == "check" or student != "teacher"]
        if not mine:
            continue
        found = detect(frames, _ids(mine))
        for part in mine:
            name = "check" if part.kind == "check" else f"replay_{part.name}"
            _put(figures, f"{name}_map_50_{student}", found, labels, [part])
        _put(figures, f"replay_map_50_{student}", found, labels, [part for part in mine if part.kind == "night"])
    return figures


def _ids(slices: Sequence[Slice]) -> IntArray:
    return np.sort(np.concatenate([np.array(part.heldout, np.int64) for part in slices]))


def _objects(labels: Detections, part: Slice) -> int:
    return int((~labels.take(np.sort(labels.rows_of(np.array(part.heldout)))).ignore).sum())


def _put(figures: dict[str, float], name: str, found: Detections, labels: Detections, slices: Sequence[Slice]) -> None:
    """Add mAP@50 on the slices' frames, unless they hold no true box."""
    if not slices:
        return
    ids = _ids(slices)
    value = evaluate(found.take(found.rows_of(ids)), labels.take(labels.rows_of(ids))).map_50
    if value >= 0:
        figures[name] = float(value)
