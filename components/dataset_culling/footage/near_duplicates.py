"""The near-duplicate gate: has anything in the picture changed since the last kept one?

A fixed camera looks at the same background all day; what matters is whether some part of it differs. So pictures are
compared cell by cell at thumbnail size, after taking out the change that all cells share (a cloud, the exposure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_culling.types import IntArray

Luma = npt.NDArray[np.uint8]


def change_levels(luma: Luma, kept: Luma, *, cells: int) -> float:
    """How much a picture differs from another in its `cells` most different cells, in levels of 0..255.

    Args:
        luma: The picture's luminance thumbnail, shape (H, W).
        kept: The other's, of the same shape.
        cells: How many cells must differ: 1 lets a single speck count as a change, more ask for an object.

    Returns:
        The larger of the shared change (the median over cells) and the `cells`-th largest change beyond it.

    Raises:
        ValueError: If shapes differ, or there are not so many cells.
    """
    if luma.shape != kept.shape:
        raise ValueError(f"thumbnails must have one shape, got {luma.shape} and {kept.shape}")
    if not 1 <= cells <= luma.size:
        raise ValueError(f"cells must lie in 1..{luma.size}, got {cells}")
    change = luma.astype(np.int16).ravel() - kept.astype(np.int16).ravel()
    shared = float(np.median(change))
    own = np.abs(change - shared)
    return max(abs(shared), float(np.partition(own, -cells)[-cells]))


class NearDuplicateGate:
    """Passes a picture when it differs enough from the last one passed; of pictures it holds that one thumbnail."""

    def __init__(self, *, min_change_levels: float, min_cells: int, max_gap_s: float) -> None:
        self._min_change_levels = min_change_levels
        self._min_cells = min_cells
        self._max_gap_s = max_gap_s
        self._kept: Luma | None = None
        self._kept_s = 0.0
        self.kept_id = -1
        self.dropped: list[tuple[int, int, float]] = []  # frame_id, the kept frame that stands for it, change in levels

    def passes(self, frame_id: int, time_s: float, luma: Luma) -> bool:
        """Whether to keep this picture; call it in time order."""
        if self._kept is not None and time_s - self._kept_s < self._max_gap_s:
            change = change_levels(luma, self._kept, cells=self._min_cells)
            if change < self._min_change_levels:
                self.dropped.append((frame_id, self.kept_id, change))
                return False
        self._kept, self._kept_s, self.kept_id = luma, time_s, frame_id
        return True


def gate_cost(selected_ids: IntArray, dropped_ids: IntArray, kept_ids: IntArray) -> tuple[int, int]:
    """What the gate would have cost a selection that was made without it.

    Args:
        selected_ids: Frames selected from all samples, shape (K,).
        dropped_ids: Frames that the gate drops, shape (D,).
        kept_ids: The kept frame that stands for each of them, shape (D,).

    Returns:
        How many selected frames the gate drops, and for how many of those the frame that stands for them is not
        selected either: only these leave the selection without a picture like them.
    """
    lost = np.isin(dropped_ids, selected_ids)
    return int(lost.sum()), int((lost & ~np.isin(kept_ids, selected_ids)).sum())
