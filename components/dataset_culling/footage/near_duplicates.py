"""Near-duplicate gate: drop a picture in which too little has changed since the last kept one.

A fixed camera's background stays the same all day, and only changed parts count. So pictures are compared cell by cell
at thumbnail size, after removing the change that all cells share (a cloud, the exposure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dataset_culling.types import IntArray

Luma = npt.NDArray[np.uint8]


def change_levels(luma: Luma, kept: Luma, *, cells: int) -> float:
    """Measure the difference of two pictures in their `cells` most different cells, in levels of 0..255.

    Args:
        luma: The picture's luminance thumbnail, shape (H, W).
        kept: The last kept picture's, of the same shape.
        cells: Cells that must differ: with 1 a single speck counts as a change, more require an object.

    Returns:
        The larger of the shared change (the median over cells) and the `cells`-th largest change beyond it.

    Raises:
        ValueError: If shapes differ, or `cells` is out of range.
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
    """Passes a picture that differs enough from the last one passed; keeps only that one's thumbnail."""

    def __init__(self, *, min_change_levels: float, min_cells: int, max_gap_s: float) -> None:
        self._min_change_levels = min_change_levels
        self._min_cells = min_cells
        self._max_gap_s = max_gap_s
        self._kept: Luma | None = None
        self._kept_s = 0.0
        self.kept_id = -1
        self.dropped: list[tuple[int, int, float]] = []  # frame_id, the kept frame that stands for it, change in levels

    def passes(self, frame_id: int, time_s: float, luma: Luma) -> bool:
        """Return True to keep this picture; call it in time order."""
        if self._kept is not None and time_s - self._kept_s < self._max_gap_s:
            change = change_levels(luma, self._kept, cells=self._min_cells)
            if change < self._min_change_levels:
                self.dropped.append((frame_id, self.kept_id, change))
                return False
        self._kept, self._kept_s, self.kept_id = luma, time_s, frame_id
        return True


def gate_cost(selected_ids: IntArray, dropped_ids: IntArray, kept_ids: IntArray) -> tuple[int, int]:
    """Count the frames that the gate would have cost a selection made without it.

    Args:
        selected_ids: Frames selected from all samples, shape (K,).
        dropped_ids: Frames that the gate drops, shape (D,).
        kept_ids: The kept frame that stands for each dropped one, shape (D,).

    Returns:
        The number of selected frames that the gate drops, and the number of those whose kept frame is not selected
        either. Only the latter leave the selection without a picture like them.
    """
    lost = np.isin(dropped_ids, selected_ids)
    return int(lost.sum()), int((lost & ~np.isin(kept_ids, selected_ids)).sum())
