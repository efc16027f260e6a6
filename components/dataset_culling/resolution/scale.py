"""optResolution: the smallest image that is good enough, by the confidence loss or by the teacher's labels.

N = culled frames, S = scales (of width and height alike; the full size is 1), B = buckets of frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from dataset_culling.boxes import box_areas_px2
from dataset_culling.types import Detections, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class ScaleChoice:
    """The chosen scale, and the scales tried with their changes (see `relative_change`)."""

    scale: float
    scales: tuple[float, ...]
    changes: tuple[float, ...]


def squared_change(full_loss: FloatArray, loss: FloatArray) -> float:
    """Compute what the paper prints as MSE: the sum over frames of (Lconf_FR - Lconf)^2, which grows with N.

    Args:
        full_loss: Confidence loss of each frame at full size, shape (N,).
        loss: The same at another size, shape (N,).

    Raises:
        ValueError: If the shapes differ.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), section 2.2.
    """
    if np.shape(full_loss) != np.shape(loss):
        raise ValueError(f"losses must be of the same frames, got shapes {np.shape(full_loss)} and {np.shape(loss)}")
    return float(np.sum((np.asarray(full_loss, np.float64) - loss) ** 2))


def mean_squared_change(full_loss: FloatArray, loss: FloatArray) -> float:
    """Compute the mean over the N frames instead; 0 without frames. It grows with the number of boxes in a frame."""
    return squared_change(full_loss, loss) / max(len(full_loss), 1)


def relative_change(full_loss: FloatArray, loss: FloatArray) -> float:
    """Divide `squared_change` by the summed squares at full size, so that one threshold fits any N and any scene.

    Returns 0 if nothing changed, also if all losses are 0.
    """
    change, size = squared_change(full_loss, loss), float(np.sum(np.asarray(full_loss, np.float64) ** 2))
    return change / size if size > 0 else (0.0 if change == 0 else float(np.finfo(np.float64).max))


def scale_steps(factor: float, *, down: int, up: int = 0) -> list[float]:
    """List the scales factor^-up ... 1 ... factor^down, falling.

    Raises:
        ValueError: If `factor` does not lie between 0 and 1, or a number of steps is negative.
    """
    if not 0 < factor < 1:
        raise ValueError(f"factor must lie between 0 and 1, got {factor}")
    if down < 0 or up < 0:
        raise ValueError(f"down and up must not be negative, got {down} and {up}")
    return [factor**step for step in range(-up, down + 1)]


def choose_scale(
    evaluate: Callable[[float], FloatArray], scales: Sequence[float], *, threshold: float, whole_curve: bool = False
) -> ScaleChoice:
    """Try scales from the full one down, and stop before the first whose change exceeds the threshold.

    Args:
        evaluate: Confidence losses of the culled frames at a scale, shape (N,); called only for scales that are tried.
        scales: Falling, the full one first.
        threshold: Largest accepted `relative_change`.
        whole_curve: Measure every scale; the choice is the same.

    Raises:
        ValueError: If `scales` is empty or does not fall.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173), section 2.2. The relative threshold is ours: the
        paper gives no value for its own.
    """
    _require_falling(scales)
    full = evaluate(scales[0])
    tried, changes, chosen, over = [scales[0]], [0.0], scales[0], False
    for scale in scales[1:]:
        if over and not whole_curve:
            break
        tried.append(scale)
        changes.append(relative_change(full, evaluate(scale)))
        over = over or changes[-1] > threshold
        if not over:
            chosen = scale
    return ScaleChoice(chosen, tuple(tried), tuple(changes))


def choose_scale_by_ap(scales: Sequence[float], ap: FloatArray, *, tolerance: float = 0.01) -> float:
    """Choose the smallest scale whose agreement with the teacher is within `tolerance` of the best one's.

    `scales` may hold ones above 1, and a smaller image may be better (big objects fit the network's receptive field,
    noise is averaged away).

    Args:
        scales: Falling, any number above and below 1.
        ap: AP against the teacher's labels of the labelled pool at each scale, 0..1, shape (S,).
        tolerance: AP given up for speed, 0..1.

    Raises:
        ValueError: If shapes differ, scales do not fall, or an AP is undefined (COCO's -1, NaN).

    Source:
        Chin et al., AdaScale, MLSys 2019: detection can be better at a lower resolution.
    """
    _require_falling(scales)
    values = np.asarray(ap, np.float64)
    if values.shape != (len(scales),):
        raise ValueError(f"ap must have shape ({len(scales)},), got {values.shape}")
    if not np.all(values >= 0):
        raise ValueError(f"ap must lie in 0..1, got {values.tolist()}")
    return float(scales[int(np.flatnonzero(values >= values.max() - tolerance)[-1])])


def sides_to_try(
    full_side_px: int, factor: float, allowed: Callable[[int], int], *, down: int, up: int = 0
) -> dict[float, int]:
    """List network sides around the full one, in steps of `factor`, within the detector's limits.

    Args:
        full_side_px: Short side at scale 1.
        factor: Ratio of each side to the next larger one, between 0 and 1.
        allowed: Maps a short side to the one that the detector would use.
        down: Most steps below the full side.
        up: Most steps above it.

    Returns:
        Scale -> side, scales falling; the full side has scale 1. Sides made equal by the limits appear once.

    Raises:
        ValueError: If `factor` does not lie between 0 and 1, or a number of steps is negative.
    """
    sides = {full_side_px}
    for scale in scale_steps(factor, down=down, up=up):
        side = allowed(max(1, round(full_side_px * scale)))
        # A limit can push a side across the full one, which is no step in the requested direction.
        if (scale < 1 and side < full_side_px) or (scale > 1 and side > full_side_px):
            sides.add(side)
    return {1.0 if s == full_side_px else round(s / full_side_px, 6): s for s in sorted(sides, reverse=True)}


def choose_scale_per_bucket(
    losses: FloatArray, scales: Sequence[float], bucket: IntArray, *, threshold: float
) -> dict[int, float]:
    """Choose a scale for each bucket of frames (day and night, near and far), by the rule of `choose_scale`.

    Args:
        losses: Confidence losses of every frame at every scale, shape (S, N); the full scale first.
        scales: Falling, the full one first, shape (S,).
        bucket: Bucket of each frame, shape (N,).
        threshold: Largest accepted `relative_change`.

    Returns:
        Bucket -> scale.

    Raises:
        ValueError: If shapes differ or the scales do not fall.
    """
    if losses.shape != (len(scales), len(bucket)):
        raise ValueError(f"losses must have shape ({len(scales)}, {len(bucket)}), got {losses.shape}")
    rows = {scale: row for row, scale in enumerate(scales)}
    chosen: dict[int, float] = {}
    for one in np.unique(bucket).tolist():
        mine = losses[:, bucket == one]

        def losses_at(scale: float, mine: FloatArray = mine) -> FloatArray:
            losses_there: FloatArray = mine[rows[scale]]
            return losses_there

        chosen[int(one)] = choose_scale(losses_at, scales, threshold=threshold).scale
    return chosen


def hour_buckets(time_s: FloatArray) -> tuple[IntArray, list[str]]:
    """Group frames by hour of the day, counted from the footage's start.

    Returns:
        Bucket of each frame, shape (N,), and the 24 buckets' names.
    """
    hour = np.floor(np.asarray(time_s, np.float64) / 3600.0).astype(np.int64) % 24
    return hour, [f"hour {h:02d}" for h in range(24)]


def size_buckets(detections: Detections, *, min_score: float) -> tuple[IntArray, list[str]]:
    """Group frames by the size of their objects: the median over a frame's boxes of the square root of their area.

    Args:
        detections: The student's boxes at full size, N frames.
        min_score: Boxes scoring less do not count.

    Returns:
        Bucket of each frame, shape (N,), and the buckets' names: empty, then COCO's small, medium (from 32 px) and
        large (from 96 px). A side exactly on a bound belongs to the larger bucket.
    """
    bucket = np.zeros(len(detections), np.int64)
    for row in range(len(detections)):
        image = detections.image(row)
        counted = image.boxes_xyxy[image.scores >= np.float32(min_score)].astype(np.float64)
        if len(counted):
            side = float(np.median(np.sqrt(box_areas_px2(counted))))
            bucket[row] = 1 + int(np.searchsorted([32.0, 96.0], side, side="right"))
    return bucket, ["empty", "small objects", "medium objects", "large objects"]


def _require_falling(scales: Sequence[float]) -> None:
    if not len(scales) or any(small >= large for large, small in pairwise(scales)):
        raise ValueError(f"scales must fall from the largest, got {list(scales)}")
