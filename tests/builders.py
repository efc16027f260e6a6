"""Small data sets for tests, written by hand or drawn by lot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from dataset_culling.types import Detections, ImageDetections

CLASSES = ("person", "car")


def frame(*boxes: tuple[int, float, float, float, float, float]) -> ImageDetections:
    """One image's boxes, each (class id, score, x1, y1, x2, y2)."""
    columns = np.array(boxes, np.float64).reshape(-1, 6)
    return ImageDetections(
        columns[:, 2:].astype(np.float32), columns[:, 1].astype(np.float32), columns[:, 0].astype(np.int64)
    )


def footage(
    *frames: ImageDetections,
    frame_ids: Sequence[int] | None = None,
    time_s: Sequence[float] | None = None,
    class_names: Sequence[str] = CLASSES,
    ignore: Sequence[int] = (),
) -> Detections:
    """Frames one second apart; `ignore` lists the boxes, counted over all frames, that are ignore regions."""
    found = Detections.from_images(
        frames,
        frame_ids=np.arange(len(frames)) if frame_ids is None else np.array(frame_ids, np.int64),
        time_s=np.arange(float(len(frames))) if time_s is None else np.array(time_s, np.float64),
        class_names=class_names,
    )
    found.ignore[list(ignore)] = True
    return found


def scored(*scores_of_frames: Sequence[float], class_id: int = 0) -> Detections:
    """Frames whose boxes differ only in their scores: 10 px squares in a row."""
    return footage(
        *(
            frame(*((class_id, score, 20 * k, 0, 20 * k + 10, 10) for k, score in enumerate(scores)))
            for scores in scores_of_frames
        )
    )


def random_truth(
    rng: np.random.Generator,
    num_frames: int,
    *,
    boxes_per_frame: float = 5,
    num_classes: int = 3,
    grid: int = 0,
    ignored_share: float = 0.0,
) -> Detections:
    """Boxes by lot, from 10 to 200 px; with `grid`, coordinates and scores are coarse, so that many are equal."""
    counts = rng.poisson(boxes_per_frame, num_frames)
    total = int(counts.sum())
    corner = rng.uniform(0, 600, (total, 2))
    sides = rng.choice([10, 25, 60, 150], (total, 1)) * rng.uniform(0.7, 1.4, (total, 2))
    scores = rng.uniform(0, 1, total)
    if grid:
        corner, sides, scores = np.round(corner / grid) * grid, np.ceil(sides / grid) * grid, np.round(scores, 1)
    return Detections(
        frame_ids=3 * np.arange(num_frames) + 1,
        time_s=np.arange(float(num_frames)),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes_xyxy=np.concatenate([corner, corner + sides], axis=1).astype(np.float32),
        scores=scores.astype(np.float32),
        class_ids=rng.integers(0, num_classes, total),
        class_names=tuple(f"class {k}" for k in range(num_classes)),
        scored=np.ones(num_frames, np.bool_),
        ignore=rng.uniform(size=total) < ignored_share,
    )


def seen_badly(
    rng: np.random.Generator, truth: Detections, *, missed_share: float = 0.2, false_per_frame: float = 1, grid: int = 0
) -> Detections:
    """What a mediocre detector makes of `truth`: some boxes missed, others shifted, false ones added, scores by lot."""
    kept = truth.keep_boxes(rng.uniform(size=len(truth.scores)) > missed_share)
    jitter = rng.normal(0, 8, kept.boxes_xyxy.shape) * rng.choice([0.1, 1, 2], (len(kept.scores), 1))
    boxes = kept.boxes_xyxy + jitter
    scores = rng.uniform(size=len(boxes))
    if grid:
        boxes, scores = np.round(boxes / grid) * grid, np.round(scores, 1)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    false = random_truth(
        rng, len(truth), boxes_per_frame=false_per_frame, num_classes=len(truth.class_names), grid=grid
    )
    order = np.argsort(np.concatenate([kept.frame_rows(), false.frame_rows()]), kind="stable")
    return dataclasses.replace(
        kept,
        offsets=kept.offsets + false.offsets,
        boxes_xyxy=np.concatenate([boxes.astype(np.float32), false.boxes_xyxy])[order],
        scores=np.concatenate([scores.astype(np.float32), false.scores])[order],
        class_ids=np.concatenate([kept.class_ids, false.class_ids])[order],
        ignore=np.zeros(len(order), np.bool_),
    )


def shuffled_boxes(rng: np.random.Generator, detections: Detections) -> Detections:
    """The same frames with each frame's boxes in another order."""
    order = np.lexsort((rng.uniform(size=len(detections.scores)), detections.frame_rows()))
    return dataclasses.replace(
        detections,
        boxes_xyxy=detections.boxes_xyxy[order],
        scores=detections.scores[order],
        class_ids=detections.class_ids[order],
        ignore=detections.ignore[order],
    )
