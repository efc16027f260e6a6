"""Split footage by time into a pool and a held-out part.

Neighbouring frames of a fixed camera are nearly the same picture, so a random split would evaluate the student on its
training data. The held-out part is the end of the footage, and a gap before it belongs to neither part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.errors import FootageError
from dataset_culling.types import BoolArray


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """The pool before `pool_end_s` and the held-out part from `heldout_start_s`."""

    pool_end_s: float
    heldout_start_s: float
    gap_s: float  # as used

    def is_pool(self, time_s: npt.NDArray[np.float64]) -> BoolArray:
        """Mark the times in the pool."""
        return np.asarray(time_s < self.pool_end_s)

    def is_heldout(self, time_s: npt.NDArray[np.float64]) -> BoolArray:
        """Mark the times in the held-out part."""
        return np.asarray(time_s >= self.heldout_start_s)


def split_by_time(
    time_s: npt.NDArray[np.float64], *, heldout_share: float, gap_s: float, max_gap_share: float
) -> TimeSplit:
    """Cut the footage's samples into a pool, a gap and a held-out part.

    Args:
        time_s: Times of all samples, shape (N,), ascending, N at least 1.
        heldout_share: Share of the samples, counted from the end, that is held out.
        gap_s: Least seconds between a pool frame and a held-out frame.
        max_gap_share: Most of the footage's length that the gap takes, so that a short clip also has two parts.

    Raises:
        FootageError: If a part would be empty.
    """
    num_frames = len(time_s)
    num_heldout = int(num_frames * heldout_share)
    if num_heldout == 0:
        raise FootageError(
            f"held-out part: a share of {heldout_share:g} of {num_frames} sampled frames is less than one frame. "
            f"Give longer footage, or raise extract_frames.frames_per_second or heldout_share."
        )
    start_s = float(time_s[num_frames - num_heldout])
    length_s = float(time_s[-1] - time_s[0])
    used_gap_s = min(gap_s, max_gap_share * length_s)
    pool_end_s = start_s - used_gap_s
    if not time_s[0] < pool_end_s:
        raise FootageError(
            f"training part: expected frames before a gap of {used_gap_s:g} s and a held-out part of "
            f"{time_s[-1] - start_s:.1f} s, found {length_s:.1f} s of footage in all. Give longer footage, or lower "
            f"extract_frames.gap_s or heldout_share."
        )
    return TimeSplit(pool_end_s, start_s, used_gap_s)
