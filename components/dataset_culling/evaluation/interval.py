"""Confidence intervals of mAP by block bootstrap: neighbouring frames are nearly equal, so blocks of time are drawn.

N = frames, B = blocks, R = resamples, C = classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import RECALL_LEVELS
from dataset_culling.evaluation.coco import Matching, match_all
from dataset_culling.types import Detections, IntArray

Float64Array = npt.NDArray[np.float64]
SUGGESTED_BLOCKS = 20


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its percentile interval over resampled footage."""

    value: float
    low: float
    high: float
    confidence: float
    num_blocks: int


def suggest_block_s(time_s: Float64Array) -> float:
    """Suggest a block length that cuts the footage into about 20 blocks; 1 second for a single frame."""
    span = float(np.ptp(time_s)) if len(time_s) else 0.0
    return span / SUGGESTED_BLOCKS if span > 0 else 1.0


def map_50_interval(
    detections: Detections,
    truth: Detections,
    *,
    block_s: float,
    rng: np.random.Generator,
    resamples: int = 200,
    confidence: float = 0.95,
) -> Interval:
    """Compute mAP at IoU 0.5 with its percentile interval.

    Args:
        detections: Boxes of N frames.
        truth: Boxes of the same frames, taken as true.
        block_s: Seconds of footage drawn together; frames further apart than this count as independent.
        rng: Draws the blocks.
        resamples: R.
        confidence: Share of resamples inside the interval.

    Raises:
        ValueError: With fewer than two blocks, or a number out of range.

    Source:
        Kuensch, The jackknife and the bootstrap for general stationary observations, Annals of Statistics 1989 (here
        with blocks that do not overlap).
    """
    values = _resampled([detections], truth, block_s=block_s, rng=rng, resamples=resamples)[0]
    return _interval(values, num_blocks(truth, block_s), confidence)


def map_50_gain_interval(
    before: Detections,
    after: Detections,
    truth: Detections,
    *,
    block_s: float,
    rng: np.random.Generator,
    resamples: int = 200,
    confidence: float = 0.95,
) -> Interval:
    """Compute the gain of `after` over `before` on the same draws, which is far sharper than two intervals.

    Arguments and errors as for `map_50_interval`.
    """
    old, new = _resampled([before, after], truth, block_s=block_s, rng=rng, resamples=resamples)
    return _interval(new - old, num_blocks(truth, block_s), confidence)


def _interval(values: Float64Array, blocks: int, confidence: float) -> Interval:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    low, high = np.quantile(values[1:], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values[0]), float(low), float(high), confidence, blocks)


def _blocks(truth: Detections, block_s: float) -> IntArray:
    """Number the block of each frame, shape (N,), without gaps."""
    if block_s <= 0:
        raise ValueError(f"block_s must be above 0, got {block_s}")
    since = truth.time_s - (truth.time_s.min() if len(truth) else 0.0)
    return np.unique((since / block_s).astype(np.int64), return_inverse=True)[1].astype(np.int64)


def num_blocks(truth: Detections, block_s: float) -> int:
    """Count the blocks of `block_s` seconds; an interval needs at least two."""
    return int(_blocks(truth, block_s).max()) + 1


def _resampled(
    sets: list[Detections], truth: Detections, *, block_s: float, rng: np.random.Generator, resamples: int
) -> list[Float64Array]:
    """Compute mAP at IoU 0.5 of each set, shape (1 + R,): for the footage itself, then for R draws."""
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, got {resamples}")
    blocks = _blocks(truth, block_s)
    if len(blocks) == 0 or blocks.max() == 0:
        raise ValueError(f"at least two blocks of {block_s:g} s are needed, got {len(np.unique(blocks))}")
    count = int(blocks.max()) + 1
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = np.concatenate([np.ones((1, count), np.int64), draws])[:, blocks]  # (1 + R, N)
    half = np.array([0.5])
    return [
        np.array([_weighted_map(found, weight, len(truth.class_names)) for weight in weights])
        for found in (match_all(boxes, truth, ious=half, areas=("all",)) for boxes in sets)
    ]


def _weighted_map(found: Matching, weight: IntArray, num_classes: int) -> float:
    """Compute mAP with frame n repeated `weight[n]` times; 0 if no truth was drawn."""
    values = []
    for k in range(num_classes):
        mine = (found.truth_class_ids == k) & ~found.truth_ignored[0]
        wanted = int(weight[found.truth_frame[mine]].sum())
        if wanted == 0:
            continue
        dets = np.flatnonzero((found.class_ids == k) & ~found.ignored[0, 0])
        dets = dets[np.argsort(-found.scores[dets], kind="stable")]
        times = weight[found.frame[dets]]
        hit = found.hit[0, 0, dets] & (times > 0)
        hits, place = np.cumsum(times * hit)[hit], np.cumsum(times)[hit]
        best_from_here = np.maximum.accumulate((hits / (place + np.spacing(1)))[::-1])[::-1]
        reached = np.searchsorted(RECALL_LEVELS, hits / wanted, side="right")
        values.append(float(best_from_here @ np.diff(reached, prepend=0)) / len(RECALL_LEVELS))
    return float(np.mean(values)) if values else 0.0
