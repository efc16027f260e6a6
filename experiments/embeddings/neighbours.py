"""Separation of classes by an embedding: each crop's nearest neighbours, ranked by cosine distance.

N = crops, D = length of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.boxes import iou_matrix
from dataset_culling.types import BoolArray, FloatArray, IntArray

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ranking:
    """Figures are means over classes of means over a class's queries, so that a frequent class does not hide others.

    A query is a crop with at least one allowed neighbour of its own class and one of another.
    """

    num_queries: int
    precision_at_1: float  # share whose nearest neighbour is of the same class; 0..1
    mean_average_precision: float  # of the whole ranking, the same class being what is looked for; 0..1
    chance: float  # precision_at_1 of an embedding that knows nothing
    same_distance: float  # mean cosine distance to allowed crops of the same class; 0..2
    other_distance: float  # to those of other classes
    is_query: BoolArray  # (N,)
    nearest_same: IntArray  # (N,) row of the nearest allowed crop of the same class; -1 where it is no query
    nearest_other: IntArray  # (N,) of another class

    @property
    def separation(self) -> float:
        """Relative nearness of the own class: 0 where classes mix, 1 where its crops are all alike."""
        return 1 - self.same_distance / self.other_distance if self.other_distance > 0 else 0.0


def cosine_distances(embeddings: FloatArray) -> Float64Array:
    """1 - cosine of the angle between every two rows, 0..2, shape (N, N); a row of zeros is at 1 from all others.

    Args:
        embeddings: Shape (N, D).
    """
    rows = np.asarray(embeddings, np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    distance: Float64Array = np.clip(1 - unit @ unit.T, 0, 2)
    return distance


def could_be_same(
    time_s: FloatArray, boxes_xyxy: FloatArray, *, gap_s: float, place_s: float, place_iou: float
) -> BoolArray:
    """Mark pairs of crops that may show one object, whose nearness proves nothing, shape (N, N).

    Args:
        time_s: When each was seen, shape (N,).
        boxes_xyxy: Where, shape (N, 4).
        gap_s: Crops no further apart in time are taken for one object, wherever they are: it may have moved.
        place_s: So are crops no further apart than this, where their boxes overlap: it may have stood there.
        place_iou: Least overlap that counts as the same place.
    """
    apart_s = np.abs(time_s[:, None] - time_s[None, :])
    same_place = iou_matrix(boxes_xyxy, boxes_xyxy) >= place_iou
    found: BoolArray = (apart_s <= gap_s) | ((apart_s <= place_s) & same_place)
    return found


def rank_neighbours(distance: Float64Array, class_ids: IntArray, excluded: BoolArray) -> Ranking:
    """Rank every crop's allowed neighbours by distance; of equal distances the first row comes first.

    Args:
        distance: Shape (N, N).
        class_ids: Shape (N,).
        excluded: Pairs that are no neighbours, shape (N, N); a crop is never its own.

    Raises:
        ValueError: If shapes differ, or no crop is a query.
    """
    num = len(class_ids)
    if distance.shape != (num, num) or excluded.shape != (num, num):
        raise ValueError(f"expected ({num}, {num}) distances and exclusions, got {distance.shape}, {excluded.shape}")
    allowed = ~excluded & ~np.eye(num, dtype=np.bool_)
    same = class_ids[:, None] == class_ids[None, :]
    is_query = (allowed & same).any(axis=1) & (allowed & ~same).any(axis=1)
    if not is_query.any():
        raise ValueError("no crop has allowed neighbours of its own class and of another")
    first: Float64Array = np.zeros(num)
    precision: Float64Array = np.zeros(num)
    chance, near, far = np.zeros(num), np.zeros(num), np.zeros(num)
    nearest_same, nearest_other = np.full(num, -1, np.int64), np.full(num, -1, np.int64)
    for row in np.flatnonzero(is_query):
        others = np.flatnonzero(allowed[row])
        order = others[np.argsort(distance[row, others], kind="stable")]
        hit = same[row, order]
        first[row] = hit[0]
        precision[row] = average_precision_of(hit)
        chance[row] = hit.mean()
        near[row], far[row] = distance[row, order[hit]].mean(), distance[row, order[~hit]].mean()
        nearest_same[row], nearest_other[row] = order[hit][0], order[~hit][0]

    def by_class(values: Float64Array) -> float:
        queried = np.unique(class_ids[is_query])
        return float(np.mean([values[is_query & (class_ids == k)].mean() for k in queried]))

    return Ranking(
        num_queries=int(is_query.sum()),
        precision_at_1=by_class(first),
        mean_average_precision=by_class(precision),
        chance=by_class(chance),
        same_distance=by_class(near),
        other_distance=by_class(far),
        is_query=is_query,
        nearest_same=nearest_same,
        nearest_other=nearest_other,
    )


def average_precision_of(hit: BoolArray) -> float:
    """Mean over the hits of the precision up to each, of a ranking (N,); 0 without hits.

    Source:
        Manning, Raghavan, Schütze, Introduction to Information Retrieval, 2008, equation 8.8.
    """
    places = np.flatnonzero(hit) + 1
    return float(np.mean(np.arange(1, len(places) + 1) / places)) if len(places) else 0.0
