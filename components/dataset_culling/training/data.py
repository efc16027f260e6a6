"""Training data: labelled images, resized to the network's size once and kept while they fit into memory.

K = boxes of one image; h, w = the network's input size, H, W = the original image's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.types import BoolArray, Detections, Float32Array, ImageArray, ImageDetections, IntArray

CACHE_BYTES = 1 << 30
"""Prepared images are kept in memory up to this much; beyond it they are prepared again in every epoch."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image: image (H, W, 3) uint8 RGB; boxes in its px; `ignore` marks doubtful boxes."""

    image: ImageArray
    boxes_xyxy: Float32Array  # (K, 4)
    class_ids: IntArray  # (K,)
    ignore: BoolArray  # (K,)
    scores: Float32Array | None = None  # (K,), how sure the teacher was, 0..1; None: wholly


class TrainingSet(Protocol):
    """Labelled images by position; `name` is what an error calls one."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int) -> Sample: ...

    def name(self, row: int) -> str:
        """The image's name for people, such as its frame id."""


@dataclass(slots=True)
class Prepared:
    """A sample at the network's size."""

    image: Tensor  # (3, h, w) uint8
    target: Target


class Loader:
    """Prepared samples, kept while they fit into memory.

    Args:
        detector: Whose input size and preparation is wanted.
        samples: The labelled images.
        side_px: Short side of the input; 0: the detector's own.
        soft_labels: How far a box's weight follows the teacher's score: weight = 1 - soft_labels * (1 - score).
    """

    def __init__(
        self, detector: TorchDetector, samples: TrainingSet, side_px: int, *, soft_labels: float = 0.0
    ) -> None:
        self._detector, self._samples, self._side_px, self._soft = detector, samples, side_px, soft_labels
        self._kept: dict[int, Prepared] = {}
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._num_sure: dict[int, int] = {}
        self._room = CACHE_BYTES

    def __getitem__(self, row: int) -> Prepared:
        if row in self._kept:
            return self._kept[row]
        sample = self._samples[row]
        network = self._detector.prepare(sample.image, self._side_px)
        scale = np.array([network.scale_x, network.scale_y] * 2, np.float32)
        weights = torch.ones(len(sample.class_ids))
        if self._soft and sample.scores is not None:
            weights = 1 - self._soft * (1 - torch.from_numpy(sample.scores.astype(np.float32)))
        prepared = Prepared(
            torch.from_numpy(np.ascontiguousarray(network.image.transpose(2, 0, 1))),
            Target(
                boxes_xyxy=torch.from_numpy(sample.boxes_xyxy.astype(np.float32) * scale),
                class_ids=torch.from_numpy(sample.class_ids.astype(np.int64)),
                weights=weights,
                ignore=torch.from_numpy(sample.ignore.astype(np.bool_)),
            ),
        )
        self._shapes[row] = tuple(prepared.image.shape)
        self._num_sure[row] = int((~prepared.target.ignore).sum())
        if self._room >= prepared.image.numel():
            self._room -= prepared.image.numel()
            self._kept[row] = prepared
        return prepared

    def num_sure(self, row: int) -> int:
        """Return how many of a sample's boxes are not doubtful, without loading it again."""
        if row not in self._num_sure:
            self[row]
        return self._num_sure[row]

    def batches(self, order: IntArray, batch_size: int) -> list[list[int]]:
        """Rows in batches, each of one input size, in the order given."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        found: list[list[int]] = []
        for row in order.tolist():
            if row not in self._shapes:
                self[row]
            batch = by_shape.setdefault(self._shapes[row], [])
            batch.append(row)
            if len(batch) == batch_size:
                found.append(by_shape.pop(self._shapes[row]))
        return found + list(by_shape.values())


def to_device(target: Target, device: torch.device) -> Target:
    """The target with its tensors on a device."""
    if device.type == "cpu":
        return target
    return Target(
        target.boxes_xyxy.to(device),
        target.class_ids.to(device),
        target.weights.to(device),
        target.ignore.to(device),
    )


def ground_truth(samples: TrainingSet, class_names: tuple[str, ...]) -> Detections:
    """Return the samples' labels for an evaluation; frame ids are positions."""
    found, ignored = [], [np.zeros(0, np.bool_)]
    for row in range(len(samples)):
        sample = samples[row]
        scores = np.ones(len(sample.class_ids), np.float32)
        found.append(ImageDetections(sample.boxes_xyxy, scores, sample.class_ids.astype(np.int64)))
        ignored.append(sample.ignore)
    truth = _detections(found, class_names)
    truth.ignore[:] = np.concatenate(ignored)
    return truth


def predictions_of(
    detector: TorchDetector,
    samples: TrainingSet,
    class_names: tuple[str, ...],
    *,
    side_px: int,
    min_score: float = 0.01,
) -> Detections:
    """Run a detector on the samples, for an evaluation against `ground_truth`."""
    found = []
    for row in range(len(samples)):
        found += detector.predict([samples[row].image], side_px=side_px, min_score=min_score)
    return _detections(found, class_names)


def _detections(found: list[ImageDetections], class_names: tuple[str, ...]) -> Detections:
    rows = np.arange(len(found))
    return Detections.from_images(found, frame_ids=rows, time_s=rows.astype(np.float64), class_names=class_names)
