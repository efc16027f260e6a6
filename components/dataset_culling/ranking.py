"""Selection of frames by their loss, with a least gap in time.

N = frames, K = frames kept.
"""

from __future__ import annotations

import numpy as np

from dataset_culling.types import FloatArray, IntArray


def keep_hardest(loss: FloatArray, time_s: FloatArray, *, budget: int, min_gap_s: float = 0.0) -> IntArray:
    """Pick at most `budget` frames, hardest first, no two closer than `min_gap_s`.

    Ties go to the earlier frame, so equal inputs always give equal selections.

    Args:
        loss: Difficulty of each frame, shape (N,); larger is harder; finite.
        time_s: Seconds from the start of the video, shape (N,).
        budget: Most frames to keep; at least 1.
        min_gap_s: Least seconds between two kept frames; 0 turns spacing off.

    Returns:
        Row indices of the kept frames, shape (K,) with K <= min(budget, N), hardest first.

    Raises:
        ValueError: If shapes differ, `budget` is below 1, or `loss` holds a NaN or infinity.

    Source:
        Yoshioka et al., Dataset Culling, ICIP 2019 (arXiv:1902.00173): keep the top frames by loss.
        Spacing is our addition; `min_gap_s=0` is the paper.
    """
    if loss.ndim != 1 or loss.shape != time_s.shape:
        raise ValueError(f"loss and time_s must both have shape (N,), got {loss.shape} and {time_s.shape}")
    if (bad := np.flatnonzero(~np.isfinite(loss))).size:
        raise ValueError(f"loss must be finite, got {loss[bad[0]]} at row {bad[0]}")
    return keep_in_order(np.lexsort((time_s, -loss)), time_s, budget=budget, min_gap_s=min_gap_s)


def keep_in_order(order: IntArray, time_s: FloatArray, *, budget: int, min_gap_s: float = 0.0) -> IntArray:
    """Keep rows in the given order, skipping those closer than `min_gap_s` to one kept before.

    Args:
        order: Row indices, best first, each at most once, shape (K,).
        time_s: Seconds of every row, shape (N,).
        budget: Most rows to keep; at least 1.
        min_gap_s: Least seconds between two kept rows; 0 turns spacing off.

    Returns:
        The kept rows, best first.

    Raises:
        ValueError: If `budget` is below 1 or `min_gap_s` negative.
    """
    if budget < 1:
        raise ValueError(f"budget must be at least 1, got {budget}")
    if min_gap_s < 0:
        raise ValueError(f"min_gap_s must not be negative, got {min_gap_s}")
    if min_gap_s == 0:
        return np.asarray(order[:budget], np.int64)
    spacing = Spacing(time_s, min_gap_s)
    kept: list[int] = []
    for row in order.tolist():
        if spacing.is_free(row):
            spacing.take(row)
            kept.append(row)
            if len(kept) == budget:
                break
    return np.array(kept, dtype=np.int64)


class Spacing:
    """The frames that are far enough from all taken ones. `take` costs a slice, `is_free` a look-up."""

    def __init__(self, time_s: FloatArray, min_gap_s: float) -> None:
        by_time = np.argsort(time_s, kind="stable")
        self._sorted_s = np.asarray(time_s, np.float64)[by_time]
        self._place = np.empty(len(by_time), np.int64)
        self._place[by_time] = np.arange(len(by_time))
        self._by_time = by_time
        self._gap_s = min_gap_s
        self.free = np.ones(len(by_time), np.bool_)
        """Rows that may still be taken, shape (N,)."""

    def is_free(self, row: int) -> bool:
        """Return whether no taken frame lies closer than the gap."""
        return bool(self.free[row])

    def take(self, row: int) -> None:
        """Take a frame, and block it and all frames closer than the gap; a distance of exactly the gap is allowed."""
        self.free[row] = False
        if self._gap_s == 0:
            return
        centre = self._sorted_s[self._place[row]]
        # Compared as differences, so that 0.3 - 0.2 against 0.1 is decided by one subtraction, not by a rounded bound.
        low = int(np.searchsorted(self._sorted_s, centre - 2 * self._gap_s, side="left"))
        high = int(np.searchsorted(self._sorted_s, centre + 2 * self._gap_s, side="right"))
        near = np.abs(self._sorted_s[low:high] - centre) < self._gap_s
        self.free[self._by_time[low:high][near]] = False
