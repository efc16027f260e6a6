"""Replay of earlier nights' frames, and the model that training starts from.

A bounded set of old frames is mixed in, so that a network trained night after night does not forget (rehearsal).
Source: Robins, Catastrophic forgetting, rehearsal and pseudorehearsal, Connection Science 1995.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.model import read_model_card
from dataset_culling.artifacts.replay import Replay, champion_model, read_replay
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.training.config import TrainingConfig
from dataset_culling.training.labeled_frames import Joined, LabelledFrames
from dataset_culling.types import IntArray, parse_classes


def with_replay(
    config: TrainingConfig, inputs: Mapping[str, Path], tonight: LabelledFrames
) -> tuple[LabelledFrames | Joined, int]:
    """Mix a bounded draw of earlier nights' frames into tonight's.

    Args:
        config: `replay_share` bounds the draw by tonight's frames.
        inputs: The stage's; without a replay nothing is mixed in.
        tonight: Tonight's frames.

    Returns:
        The set to train on, and how many of its frames are replayed.
    """
    if "replay" not in inputs or not config.replay_share:
        return tonight, 0
    drawn = draw(read_replay(inputs["replay"]), most=round(config.replay_share * len(tonight)))
    if len(drawn) == 0:
        return tonight, 0
    labels = read_labels(inputs["replay_labels"])
    old = LabelledFrames(FrameReader(inputs["replay_frames"]), labels, labels.rows_of(drawn))
    return Joined(tonight, old), len(drawn)


def draw(replay: Replay, *, most: int) -> IntArray:
    """Draw at most `most` training frames, equally many of each night as far as they reach.

    Of a night the frames are taken evenly over its order. What does not come out even goes to the latest nights.

    Returns:
        Ids, ascending, of the replay's frames/1.
    """
    nights = [np.array(part.train, np.int64) for part in reversed(replay.slices) if part.train]
    quota = [0] * len(nights)
    left = min(most, sum(len(night) for night in nights))
    while left:
        for place, night in enumerate(nights):
            if left and quota[place] < len(night):
                quota[place] += 1
                left -= 1
    picked = [
        night[((np.arange(num) + 0.5) * len(night) / max(num, 1)).astype(np.int64)]
        for night, num in zip(nights, quota, strict=True)
    ]
    return np.sort(np.concatenate(picked)) if picked else np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True)
class Start:
    """The model that a training starts from."""

    student: DetectorRef
    version: int = 0  # of the registry; 0: the base student
    note: str = ""  # why it is not the champion that was asked for


def start_of(config: TrainingConfig, inputs: Mapping[str, Path]) -> Start:
    """Return the base student, or the camera's champion as it was when the run began.

    Args:
        config: `start` says which.
        inputs: The stage's; the recalled replay/1 holds the champion.

    Returns:
        The base student also where there is no champion, or one of another detector or other classes, with a note.
    """
    if config.start == "base" or "replay" not in inputs:
        return Start(config.student)
    model = champion_model(inputs["replay"])
    if model is None:
        return Start(config.student, note="started from the base student: the camera has no champion yet")
    version = read_replay(inputs["replay"]).champion
    card = read_model_card(model)
    names = parse_classes(config.classes).names
    if card.detector != config.student.name or tuple(card.class_names) != tuple(names):
        return Start(
            config.student,
            note=f"started from the base student: the champion, version {version}, is a {card.detector} of "
            f"{', '.join(card.class_names)}",
        )
    return Start(config.student.replace(weights=str(model)), version)
