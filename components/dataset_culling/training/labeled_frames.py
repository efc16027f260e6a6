"""Labelled frames of artifacts as training sets."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.training.data import Sample
from dataset_culling.types import Detections, IntArray


@dataclass(frozen=True, slots=True)
class LabelledFrames:
    """The selected frames with their labels, read one at a time (see `training.data.TrainingSet`)."""

    frames: FrameReader
    labels: Detections
    rows: IntArray  # rows of `labels`, shape (K,), in the order of training

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Sample:
        row = int(self.rows[position])
        boxes = self.labels.image(row)
        image = self.frames.image(int(self.labels.frame_ids[row]))
        return Sample(image, boxes.boxes_xyxy, boxes.class_ids, self.labels.image_ignore(row), boxes.scores)

    def name(self, position: int) -> str:
        """Return the frame's id."""
        return f"frame {self.labels.frame_ids[int(self.rows[position])]}"


@dataclass(frozen=True, slots=True)
class Joined:
    """Two training sets, one after the other (see `training.data.TrainingSet`)."""

    first: LabelledFrames
    second: LabelledFrames

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, position: int) -> Sample:
        split = len(self.first)
        return self.first[position] if position < split else self.second[position - split]

    def name(self, position: int) -> str:
        """Return the frame's id, and whether it is of an earlier night."""
        split = len(self.first)
        return self.first.name(position) if position < split else f"replayed {self.second.name(position - split)}"
