"""Coverage: hard frames that differ from each other, from every hour, plus a few quotas. See README.md.

N = frames, K = candidates, D = length of an embedding, C = classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dataset_culling.boxes import box_areas_px2, sort_boxes
from dataset_culling.config import StageConfig
from dataset_culling.ranking import Spacing
from dataset_culling.strategies.base import CullInput, Float64Array, selection_of
from dataset_culling.strategies.confidence_loss import ConfidenceConfig, frame_loss
from dataset_culling.strategies.precision_loss import PrecisionConfig, compare, precision_loss
from dataset_culling.types import BoolArray, Detections, FloatArray, IntArray, Selection

DAY_S = 86_400.0
GRID = 4  # cells across and down of the layout embedding
SIZE_STEPS_PX = (32.0, 96.0)  # COCO's bounds of small, medium, large


class CoverageConfig(StageConfig):
    """Difficulty, trust in labels, and the quotas of the budget."""

    hardness: Literal["auto", "confidence", "precision"] = Field(
        "auto",
        description="Loss that ranks frames; auto: precision where the teacher has labelled them, else confidence.",
    )
    confidence: ConfidenceConfig = Field(ConfidenceConfig(), description="Options of the confidence loss.")
    precision: PrecisionConfig = Field(PrecisionConfig(), description="Options of the precision loss.")
    pool_factor: float = Field(4.0, ge=1, description="Candidates for each place, hardest first.")
    stratum_s: float = Field(
        3600.0, gt=0, le=DAY_S, description="Length of the stretches of the day that share places."
    )
    max_doubtful_share: float = Field(
        0.5, ge=0, le=1, description="Frames with a larger share of doubtful teacher boxes are left out."
    )
    hardest_tail_share: float = Field(
        0.02, ge=0, lt=1, description="This share of the hard frames, the very hardest, comes last: often bad labels."
    )
    random_share: float = Field(0.1, ge=0, le=1, description="Share of the budget for random frames.")
    empty_share: float = Field(0.05, ge=0, le=1, description="Share of the budget for frames without any box.")
    rare_share: float = Field(0.1, ge=0, le=1, description="Share of the budget for classes seen in few frames.")
    rare_below: float = Field(0.1, ge=0, le=1, description="A class seen in fewer frames than this share is rare.")

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if (total := self.random_share + self.empty_share + self.rare_share) > 1:
            raise ValueError(f"random_share, empty_share and rare_share must add up to 1 at most, found {total:g}")
        return self


@dataclass(slots=True)
class Basket:
    """The frames taken so far, in order, each with its reason."""

    budget: int
    spacing: Spacing
    rows: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def take(self, row: int, reason: str) -> None:
        """Take one free frame."""
        self.spacing.take(row)
        self.rows.append(row)
        self.reasons.append(reason)

    def take_first(self, rows: Iterable[int], most: int, reason: str) -> None:
        """Take the first `most` of `rows` that are free, as far as the budget goes."""
        goal = min(len(self.rows) + most, self.budget)
        for row in rows:
            if len(self.rows) >= goal:
                return
            if self.spacing.is_free(row):
                self.take(row, reason)


def select(
    pool: CullInput, *, budget: int, min_gap_s: float = 0.0, rng: np.random.Generator, config: CoverageConfig
) -> Selection:
    """Keep hard frames that cover the day and its scenes. See `base.Select`."""
    if budget < 1:
        raise ValueError(f"budget must be at least 1, got {budget}")
    pool = CullInput(sort_boxes(pool.detections), None if pool.labels is None else sort_boxes(pool.labels))
    loss = hardness(pool, config)
    trusted, empty, seen = _facts(pool, config)
    late = _tail(loss, trusted, config.hardest_tail_share)
    hardest_first = np.lexsort((pool.time_s, -loss))
    usable = hardest_first[(trusted & ~late)[hardest_first]]
    basket = Basket(budget, Spacing(pool.time_s, min_gap_s))

    shuffled = rng.permutation(len(pool))
    num_random, num_empty, num_rare = (
        round(share * budget) for share in (config.random_share, config.empty_share, config.rare_share)
    )
    _take_rare(basket, pool.detections.class_names, usable, seen, num_rare, config.rare_below)
    _take_covering(
        basket, pool, usable[loss[usable] > 0], config, most=budget - len(basket.rows) - num_random - num_empty
    )
    basket.take_first(shuffled[(empty & trusted)[shuffled]].tolist(), num_empty, "empty, random")
    basket.take_first(shuffled[trusted[shuffled]].tolist(), num_random, "random")
    basket.take_first(usable.tolist(), budget, "next hardest")
    basket.take_first(hardest_first[(trusted & late)[hardest_first]].tolist(), budget, "hardest tail")

    rows = np.array(basket.rows, np.int64)
    order = np.lexsort((pool.time_s[rows], -loss[rows]))
    return selection_of(pool.detections, rows[order], loss, [basket.reasons[place] for place in order])


def hardness(pool: CullInput, config: CoverageConfig) -> Float64Array:
    """Compute the difficulty of each frame, shape (N,), by confidence or precision as configured."""
    if config.hardness == "confidence" or (config.hardness == "auto" and pool.labels is None):
        return frame_loss(pool.detections, config.confidence)
    student = pool.detections.keep_boxes(config.precision.mask(pool.detections))
    result = compare(student, pool.require_labels(), iou=config.precision.iou)
    return precision_loss(result, measure=config.precision.measure, f1_weight=config.precision.f1_weight)


def _facts(pool: CullInput, config: CoverageConfig) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Mark frames with trusted labels (N,), frames without a box (N,), and the classes seen in each frame (N, C).

    Uses the teacher's boxes if the pool has labels, else the student's boxes that count for the confidence loss.
    """
    boxes = pool.detections if pool.labels is None else pool.labels
    sure = config.confidence.mask(boxes) if pool.labels is None else ~boxes.ignore
    rows, num_classes = boxes.frame_rows(), len(boxes.class_names)
    seen = np.bincount(rows[sure] * num_classes + boxes.class_ids[sure], minlength=len(pool) * num_classes) > 0
    num_boxes = np.bincount(rows, minlength=len(pool))
    if pool.labels is None:
        empty = np.bincount(rows[sure], minlength=len(pool)) == 0
        return np.ones(len(pool), np.bool_), empty, seen.reshape(len(pool), num_classes)
    doubtful = np.bincount(rows[boxes.ignore], minlength=len(pool))
    trusted = doubtful <= config.max_doubtful_share * num_boxes
    return trusted, num_boxes == 0, seen.reshape(len(pool), num_classes)


def _tail(loss: Float64Array, trusted: BoolArray, share: float) -> BoolArray:
    """Mark the very hardest of the trusted frames with a loss above 0, shape (N,)."""
    hard = np.flatnonzero(trusted & (loss > 0))
    tail = np.zeros(len(loss), np.bool_)
    worst = hard[np.argsort(-loss[hard], kind="stable")][: int(share * len(hard))]
    tail[worst] = True
    return tail


def _take_rare(
    basket: Basket, names: tuple[str, ...], usable: IntArray, seen: BoolArray, most: int, rare_below: float
) -> None:
    """Share places among the rare classes, the rarest first."""
    counts = seen.sum(axis=0)
    rare = [int(k) for k in np.argsort(counts, kind="stable") if 0 < counts[k] < rare_below * len(seen)]
    for place, k in enumerate(rare):
        share = most // len(rare) + (place < most % len(rare))
        basket.take_first(usable[seen[usable, k]].tolist(), share, f"rare class {names[k]}")


def _take_covering(basket: Basket, pool: CullInput, hard: IntArray, config: CoverageConfig, *, most: int) -> None:
    """Run greedy k-centre over the hardest candidates of each stretch of the day.

    Each step takes the candidate farthest from all frames taken, from a stretch with places left.
    """
    hard = hard[basket.spacing.free[hard]]
    if most < 1 or len(hard) == 0:
        return
    stratum = (np.floor(pool.time_s[hard] % DAY_S / config.stratum_s)).astype(np.int64)
    places = share_out(np.bincount(stratum), most)
    rank = _rank_within(stratum)
    chosen = rank < np.ceil(config.pool_factor * places)[stratum]
    candidates, stratum = hard[chosen], stratum[chosen]  # hardest first
    near = np.array(basket.rows, np.int64)
    rows = np.sort(np.concatenate([candidates, near]))
    features = embed(pool.take(rows))
    ours = features[np.searchsorted(rows, candidates)]
    distance = np.full(len(candidates), np.inf)
    for centre in features[np.searchsorted(rows, near)]:
        distance = np.minimum(distance, ((ours - centre) ** 2).sum(axis=1))
    left = places.copy()
    for _ in range(min(most, len(candidates))):
        open_now = (left[stratum] > 0) & basket.spacing.free[candidates]
        if not open_now.any() or len(basket.rows) >= basket.budget:
            return
        best = int(np.argmax(np.where(open_now, distance, -1.0)))  # of equals the hardest
        basket.take(int(candidates[best]), f"covers hour {int(stratum[best] * config.stratum_s // 3600):02d}")
        left[stratum[best]] -= 1
        distance = np.minimum(distance, ((ours - ours[best]) ** 2).sum(axis=1))


def share_out(have: IntArray, most: int) -> IntArray:
    """Share `most` places among strata as evenly as their sizes allow.

    Args:
        have: Candidates in each stratum, shape (S,).
        most: Places.

    Returns:
        Places of each, shape (S,), at most `have`, adding up to min(most, sum of `have`). Places left over go to the
        larger strata, one each, then to the earlier ones.
    """
    places = np.zeros(len(have), np.int64)
    while (left := most - int(places.sum())) > 0 and (open_now := np.flatnonzero(places < have)).size:
        if left < len(open_now):
            by_need = open_now[np.argsort(-have[open_now], kind="stable")]
            places[by_need[:left]] += 1
            break
        places[open_now] = np.minimum(places[open_now] + left // len(open_now), have[open_now])
    return places


def _rank_within(group: IntArray) -> IntArray:
    """Rank each item within its group, in the order given, shape (K,)."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    rank = np.empty(len(group), np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered, side="left")
    return rank


def embed(pool: CullInput) -> Float64Array:
    """Embed each frame, shape (N, D), of length 1 or 0: the student's features, else the layout of boxes."""
    given = pool.detections.features
    features = layout_embedding(pool.detections) if given is None else given
    features = np.asarray(features, np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Float64Array = np.zeros_like(features)
    np.divide(features, length, out=unit, where=length > 0)
    return unit


def layout_embedding(detections: Detections) -> FloatArray:
    """Embed the layout of boxes, for frames whose features were not kept.

    Returns:
        Square roots of summed scores by class, cell of a 4 x 4 grid over the boxes' extent, and size (small, medium,
        large), shape (N, C * 48).
    """
    boxes = detections.boxes_xyxy.astype(np.float64)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    low = centres.min(axis=0, initial=np.inf)
    span = centres.max(axis=0, initial=-np.inf) - low
    places = np.divide(centres - low, span, out=np.zeros_like(centres), where=span > 0)
    cell = np.minimum((places * GRID).astype(np.int64), GRID - 1)
    size = np.searchsorted(np.square(SIZE_STEPS_PX), box_areas_px2(boxes), side="right")
    sizes = len(SIZE_STEPS_PX) + 1
    length = len(detections.class_names) * GRID * GRID * sizes
    slot = ((detections.class_ids * GRID + cell[:, 1]) * GRID + cell[:, 0]) * sizes + size
    total = np.bincount(
        detections.frame_rows() * length + slot,
        weights=detections.scores.astype(np.float64),
        minlength=len(detections) * length,
    )
    return np.asarray(np.sqrt(total).reshape(len(detections), length))
