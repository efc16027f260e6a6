"""A detector over many frames: its weights, batching, resuming, classes."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from dataset_culling import __version__
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import HEADER, digest
from dataset_culling.artifacts.model import read_model_card, weights_file
from dataset_culling.detectors.base import (
    Backend,
    Detector,
    DetectorRef,
    Features,
    NetworkInput,
    Precision,
    free_memory,
    ran_out_of_memory,
)
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError, CullingError, WeightsError
from dataset_culling.inference.box_parts import BoxParts
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


def local_file(uri: str) -> Path:
    """A file on this machine: the path itself, or an object's copy in the cache, fetched if it changed.

    Raises:
        StoreError: If the object store does not give it.
    """
    if not is_remote(uri):
        return Path(uri)
    cache = Path(os.environ.get("CULLING_CACHE", "~/.cache/dataset-culling")).expanduser() / "files"
    return fetch(uri, cache / uri.split("://", 1)[1])


UNIT_BATCHES = 8
"""A unit of this many batches is looked at by itself: nothing waits from one to the next, so that a scan which goes on
after a kill puts the same images into the same batches, and a file of boxes always ends where a unit does."""

PART_S = 2.0
"""Least seconds between two files of boxes; a killed scan loses this much, or a unit where that takes longer."""

MOST_THREADS = 8

AUTO_FRAMES = 500
"""From this many frames on, exporting to OpenVINO and compiling (3 s and more) pays for itself."""


@dataclass(frozen=True, slots=True)
class View:
    """Another way to look at the same frames."""

    name: str  # equal names change images equally
    change: Callable[[ImageArray], ImageArray]


@dataclass(slots=True)
class ScanLog:
    """Results of scans besides boxes."""

    notes: list[str] = field(default_factory=list)  # a line each: a batch that was halved, a scan that went on
    num_looked: int = 0  # frames that this process looked at itself


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
    log: ScanLog,
    precision: Precision = "auto",
    view: View | None = None,
    features: Features = False,
    backend: Backend = "torch",
) -> Detections:
    """A detector's boxes, in the camera's classes, for the named frames.

    Frames are read, decoded and brought to the network's size in threads while the network computes; images of one
    size go through it together. Equal arguments give equal bytes, however many threads there are; another batch size
    or precision moves boxes within the arithmetic's tolerance (tests/contract/test_scan.py states it).

    Where the task has a scratch folder (`storage.scratch`), boxes are kept there as they come, and a scan whose process
    was killed goes on from them.

    Args:
        frames: Where the frames lie.
        frame_ids: Which to look at, ascending, shape (N,).
        detector: What looks.
        class_map: The camera's classes; boxes of others are dropped.
        side_px: Short side of the network's input; 0: the detector's own.
        min_score: Boxes scoring less are dropped.
        batch_size: Images that go through the network at once; halved, for good, whenever memory does not suffice.
        progress: Told how many of the N frames are done.
        log: Told what a person should know, and how many frames were looked at.
        precision: What the network computes in.
        view: Changes each image before it is looked at; boxes are then in px of what it gives.
        features: Whether to keep what each frame looks like to the network, and by which of its maps; only torch
            detectors can tell.
        backend: What computes: torch, or OpenVINO where it can (a torch detector on a CPU, in float32, without
            features, frames of one size, no other view); auto: OpenVINO for many frames.

    Raises:
        ConfigError: If the detector lacks one of the camera's classes, or not even one image fits into memory.
    """
    index = class_map.index_for(detector.name, detector.class_names)
    if view is None and not features and wants_openvino(detector, backend, precision, len(frame_ids)):
        detector = _accelerated(frames, frame_ids, detector, side_px=side_px, min_score=min_score, log=log)
    detector.ready(precision)
    num_frames, unit = len(frame_ids), batch_size * UNIT_BATCHES
    settings = [side_px, min_score, batch_size, precision, view.name if view is not None else "", features]
    work = _name_of_work(frames, frame_ids, detector, class_map, settings)
    parts = BoxParts(work, every_s=PART_S)
    found = parts.read()
    if found:
        log.notes.append(
            f"{detector.name}: {len(found)} of {num_frames} frames were looked at before; went on from there."
        )
    looker = _Looker(detector, min_score, batch_size, features=features)
    start = num_before = len(found)
    threads = min(MOST_THREADS, len(os.sched_getaffinity(0)))
    if view is None:
        inputs = frames.reduced(
            frame_ids[start:],
            functools.partial(_prepare, detector, side_px),
            lambda height, width: _least_size(detector, height, width, side_px),
            threads=threads,
            ahead=2 * batch_size,
        )
    else:
        inputs = frames.prepared(
            frame_ids[start:],
            lambda image: detector.prepare(view.change(image), side_px=side_px),
            threads=threads,
            ahead=2 * batch_size,
        )
    with closing(inputs):
        while start < num_frames:
            count = min(unit, num_frames - start)
            counted = functools.partial(_count_from, progress, start, num_frames)
            boxes = looker.look(itertools.islice(inputs, count), counted)
            found += [class_map.apply(image, index) for image in boxes]
            start += count
            parts.write(found)
    log.notes += looker.notes()
    log.num_looked += num_frames - num_before
    rows = np.searchsorted(frames.table.frame_ids, frame_ids)
    return Detections.from_images(
        found, frame_ids=frame_ids, time_s=frames.table.time_s[rows], class_names=class_map.names
    )


def wants_openvino(detector: Detector, backend: Backend, precision: Precision, num_frames: int) -> bool:
    """Return True if OpenVINO is to run a detector over so many frames."""
    fits = isinstance(detector, TorchDetector) and detector.device.type == "cpu" and precision != "bfloat16"
    return fits and num_frames > 0 and (backend == "openvino" or (backend == "auto" and num_frames >= AUTO_FRAMES))


def _accelerated(
    frames: FrameReader, frame_ids: IntArray, detector: Detector, *, side_px: int, min_score: float, log: ScanLog
) -> Detector:
    """The detector run by OpenVINO, or as it is, with a note, where frames differ in size or it cannot be exported."""
    from dataset_culling.detectors.accelerated import AcceleratedDetector  # loads what exports every family

    rows = np.searchsorted(frames.table.frame_ids, frame_ids)
    sizes = {(int(h), int(w)) for h, w in zip(frames.table.height_px[rows], frames.table.width_px[rows], strict=True)}
    if len(sizes) > 1 or not isinstance(detector, TorchDetector):
        log.notes.append(f"{detector.name}: run by torch, as frames are of {len(sizes)} sizes.")
        return detector
    ((height_px, width_px),) = sizes
    try:
        return AcceleratedDetector(
            detector, height_px=height_px, width_px=width_px, side_px=side_px, min_score=min_score
        )
    except CullingError as error:
        log.notes.append(f"{detector.name}: run by torch: {error}")
        return detector


def _least_size(detector: Detector, height_px: int, width_px: int, side_px: int) -> tuple[int, int]:
    """Return the least size to decode a frame to, (h, w); its own where the detector wants the original."""
    if getattr(detector, "wants_originals", False):
        return height_px, width_px
    return detector.network_size(height_px, width_px, side_px)


def _prepare(detector: Detector, side_px: int, image: ImageArray, height_px: int, width_px: int) -> NetworkInput:
    """An image for the network, from a frame that may have been decoded smaller than it is."""
    prepared = detector.prepare(image, side_px=side_px)
    h, w = image.shape[:2]
    if (h, w) == (height_px, width_px):
        return prepared
    return replace(
        prepared,
        scale_x=prepared.scale_x * w / width_px,
        scale_y=prepared.scale_y * h / height_px,
        height_px=height_px,
        width_px=width_px,
    )


def _count_from(progress: Callable[[int, int], None], start: int, total: int, done: int) -> None:
    progress(start + done, total)


class _Looker:
    """Puts prepared images into batches of one size and halves the batch when memory does not suffice."""

    def __init__(self, detector: Detector, min_score: float, batch_size: int, *, features: Features) -> None:
        self._detector, self._min_score, self._features = detector, min_score, features
        self._wanted = self._batch_size = batch_size

    def look(self, inputs: Iterable[NetworkInput], done: Callable[[int], None]) -> list[ImageDetections]:
        """Return the boxes of each input, in order; `done` is called with their number."""
        found: dict[int, ImageDetections] = {}
        buckets: dict[tuple[int, ...], list[tuple[int, NetworkInput]]] = {}

        def empty(bucket: list[tuple[int, NetworkInput]]) -> None:
            rows = [row for row, _ in bucket]
            found.update(zip(rows, self._detect([prepared for _, prepared in bucket]), strict=True))
            done(len(found))

        for row, prepared in enumerate(inputs):
            bucket = buckets.setdefault(prepared.image.shape, [])
            bucket.append((row, prepared))
            if len(bucket) == self._wanted:
                empty(buckets.pop(prepared.image.shape))
        for bucket in buckets.values():
            empty(bucket)
        return [found[row] for row in range(len(found))]

    def notes(self) -> list[str]:
        """Return notes about the batch size."""
        if self._batch_size == self._wanted:
            return []
        return [
            f"{self._detector.name}: batches of {self._wanted} did not fit into memory; went on with "
            f"{self._batch_size}. Set batch_size to {self._batch_size} to be quicker."
        ]

    def _detect(self, batch: list[NetworkInput]) -> list[ImageDetections]:
        found: list[ImageDetections] = []
        while len(found) < len(batch):
            size = self._batch_size
            try:
                found += self._detector.detect(
                    batch[len(found) : len(found) + size], min_score=self._min_score, features=self._features
                )
                continue
            except (MemoryError, RuntimeError) as error:
                if not ran_out_of_memory(error):
                    raise
            # Outside the handler, whose traceback holds on to what the failed batch has allocated.
            if size == 1:
                height, width = batch[0].image.shape[:2]
                raise ConfigError(
                    f"{self._detector.name}: expected memory for one image of {width}x{height} px, found too little. "
                    f"Set a smaller side_px, or choose a smaller detector or a larger machine."
                )
            self._batch_size = max(1, min(size, len(batch) - len(found)) // 2)
            free_memory()
        return found


def _name_of_work(
    frames: FrameReader,
    frame_ids: IntArray,
    detector: Detector,
    class_map: ClassMap,
    settings: Sequence[object],
) -> str:
    """A digest of all that decides a scan's boxes."""
    parts = {
        "version": __version__,
        "frames": digest(frames.path),
        "frame_ids": hashlib.sha256(np.ascontiguousarray(frame_ids, np.int64).tobytes()).hexdigest(),
        "detector": detector.fingerprint(),
        "classes": {name: list(sources) for name, sources in class_map.sources.items()},
        "settings": list(settings),
    }
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
