"""What the stages share that look at frames with a detector: find its weights, run it over frames, map its classes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import HEADER
from dataset_culling.artifacts.model import read_model_card, weights_file
from dataset_culling.detectors.base import Detector, DetectorRef
from dataset_culling.errors import WeightsError
from dataset_culling.storage import fetch, is_remote
from dataset_culling.types import ClassMap, Detections, ImageArray, ImageDetections, IntArray


def local_weights(ref: DetectorRef) -> DetectorRef:
    """The same detector with its weights on this machine: s3:// is fetched, a model/1 directory becomes its file.

    Raises:
        StoreError: If the object store does not give them.
        ArtifactError: If a model/1 directory is damaged.
        WeightsError: If a model/1 directory holds another detector.
    """
    if is_remote(ref.weights):
        cache = Path(os.environ.get("CULLING_CACHE", "~/.cache/dataset-culling")).expanduser() / "weights"
        file = fetch(ref.weights, cache / ref.weights.split("://", 1)[1])
        if file.suffix == ".xml":  # OpenVINO keeps its weights in a second file of the same name
            fetch(ref.weights.removesuffix(".xml") + ".bin", file.with_suffix(".bin"))
        return ref.replace(weights=str(file))
    folder = Path(ref.weights)
    if ref.weights and (folder / HEADER).is_file():
        card = read_model_card(folder)
        if card.detector != ref.name:
            raise WeightsError(f"{folder}: expected a model of {ref.name}, found one of {card.detector}.")
        return ref.replace(weights=str(weights_file(folder)))
    return ref


def scan(
    frames: FrameReader,
    frame_ids: IntArray,
    detector: Detector,
    class_map: ClassMap,
    *,
    side_px: int,
    min_score: float,
    batch_size: int,
    progress: Callable[[int, int], None],
    view: Callable[[ImageArray], ImageArray] | None = None,
) -> Detections:
    """A detector's boxes, in the camera's classes, for the named frames.

    Args:
        frames: Where the frames lie.
        frame_ids: Which to look at, ascending, shape (N,).
        detector: What looks.
        class_map: The camera's classes; boxes of others are dropped.
        side_px: Short side of the network's input; 0: the detector's own.
        min_score: Boxes scoring less are dropped.
        batch_size: Images that go through the network at once.
        progress: Told how many of the N frames are done.
        view: Changes each image before it is looked at; boxes are then in px of what it gives.

    Raises:
        ConfigError: If one of the camera's classes is none of the detector's.
    """
    index = class_map.index_for(detector.name, detector.class_names)
    found: list[ImageDetections] = []
    for images in _batches(frames.images(frame_ids), batch_size * 4):
        seen = images if view is None else [view(image) for image in images]
        for boxes in detector.predict(seen, side_px=side_px, min_score=min_score, batch_size=batch_size):
            found.append(class_map.apply(boxes, index))
        progress(len(found), len(frame_ids))
    rows = np.searchsorted(frames.table.frame_ids, frame_ids)
    return Detections.from_images(
        found, frame_ids=frame_ids, time_s=frames.table.time_s[rows], class_names=class_map.names
    )


def _batches(images: Iterable[ImageArray], size: int) -> Iterable[list[ImageArray]]:
    batch: list[ImageArray] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
