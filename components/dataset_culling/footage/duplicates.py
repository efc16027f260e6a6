"""The near-duplicate gate: has anything in the picture changed since the last kept one?

A fixed camera looks at the same background all day; what matters is whether some part of it differs. So pictures are
compared cell by cell at thumbnail size, after taking out the change that all cells share (a cloud, the exposure).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

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
    """Passes a picture when it differs enough from the last one passed; holds that one thumbnail and nothing else."""

    def __init__(self, *, min_change_levels: float, min_cells: int, max_gap_s: float) -> None:
        self._min_change_levels = min_change_levels
        self._min_cells = min_cells
        self._max_gap_s = max_gap_s
        self._kept: Luma | None = None
        self._kept_s = 0.0

    def passes(self, luma: Luma, time_s: float) -> bool:
        """Whether to keep this picture; call it in time order."""
        if (
            self._kept is not None
            and time_s - self._kept_s < self._max_gap_s
            and change_levels(luma, self._kept, cells=self._min_cells) < self._min_change_levels
        ):
            return False
        self._kept, self._kept_s = luma, time_s
        return True
