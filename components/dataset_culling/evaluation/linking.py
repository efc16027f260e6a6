"""Boxes of successive frames linked into the lives of objects, by laptrack.

T = frames, S = sightings (boxes of any looker in any of those frames).

Linking is done offline, over all frames at once: first from each frame to the next, then over the gaps, both as linear
assignment problems (Jaqaman et al., Robust single-particle tracking in live-cell time-lapse sequences, Nature Methods
2008, as laptrack, BSD-3-Clause, does it). What may be linked is decided here, by one cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.errors import ConfigError
from dataset_culling.types import Float32Array, IntArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Float64Array = npt.NDArray[np.float64]

NEVER = 1e6  # a cost that is never paid
OTHER_CLASS = 0.4  # what a change of class costs: a rider is not to become the bicycle
LEAST_REACH, MOST_REACH = 0.1, 1.5  # box sizes; further than the upper one everything would overlap everything


class LinkRules(StageConfig):
    """Which two sightings may be the same object."""

    max_gap_s: float = Field(2.0, gt=0, description="Longest time out of sight after which something moving goes on.")
    reach: float = Field(
        1.0, ge=0, le=10, description="How far an object may move, in box sizes a second: boxes are grown by it."
    )
    min_overlap: float = Field(0.1, gt=0, lt=1, description="Least IoU of the grown boxes.")
    parked_overlap: float = Field(
        0.8, gt=0, le=1, description="An object is parked where two sightings overlap this much (IoU, not grown)."
    )
    parked_gap_s: float = Field(60.0, ge=0, description="Longest time out of sight for something parked.")

    def longest_gap_s(self) -> float:
        """No two sightings further apart are ever linked."""
        return max(self.max_gap_s, self.parked_gap_s)


def link_cost(a: Sequence[float], b: Sequence[float], rules: LinkRules) -> float:
    """What it costs to call two sightings one object: 1 - IoU of the grown boxes, more where the classes differ.

    Args:
        a: x1, y1, x2, y2 in px, seconds, class id.
        b: The same, of another frame.
        rules: What may be linked.

    Returns:
        0..1.4, or `NEVER`.

    Source:
        Grown boxes: Yang et al., Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier
        by Buffering the Matching Space, WACV 2023; there the buffer is a constant, here it grows with the time.
    """
    gap_s = abs(b[4] - a[4])
    penalty = OTHER_CLASS if a[5] != b[5] else 0.0
    if _iou(a, b, 0.0) >= rules.parked_overlap and gap_s <= rules.longest_gap_s():
        return 1 - _iou(a, b, 0.0) + penalty
    if gap_s > rules.max_gap_s:
        return NEVER
    overlap = _iou(a, b, min(max(rules.reach * gap_s, LEAST_REACH), MOST_REACH))
    return 1 - overlap + penalty if overlap >= rules.min_overlap + penalty else NEVER


def _iou(a: Sequence[float], b: Sequence[float], grown: float) -> float:
    """Overlap of two boxes grown by `grown` times their size on every side."""
    aw, ah, bw, bh = grown * (a[2] - a[0]), grown * (a[3] - a[1]), grown * (b[2] - b[0]), grown * (b[3] - b[1])
    width = min(a[2] + aw, b[2] + bw) - max(a[0] - aw, b[0] - bw)
    height = min(a[3] + ah, b[3] + bh) - max(a[1] - ah, b[1] - bh)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    side = (1 + 2 * grown) ** 2
    total = side * ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]))
    return shared / (total - shared)


def link(
    rows: IntArray, time_s: Float64Array, boxes_xyxy: Float32Array, class_ids: IntArray, rules: LinkRules
) -> IntArray:
    """Which object each sighting is of.

    Args:
        rows: The frame of each sighting, ascending, shape (S,).
        time_s: Of each frame, ascending, shape (T,).
        boxes_xyxy: Shape (S, 4), px.
        class_ids: Shape (S,); sightings of different classes may be linked, at a price.
        rules: What may be linked.

    Returns:
        Track of each sighting, from 0 in the order of first sighting, shape (S,); at most one sighting a frame.

    Raises:
        ConfigError: If laptrack is not installed.
    """
    track = np.full(len(rows), -1, np.int64)
    # Cut where nothing can be linked over: assignment problems stay small.
    piece = np.concatenate([[0], np.cumsum(np.diff(time_s[rows]) > rules.longest_gap_s())]).astype(np.int64)
    for number in np.unique(piece[: len(rows)]):
        of_piece = np.flatnonzero(piece[: len(rows)] == number)
        track[of_piece] = _link_piece(rows[of_piece], time_s, boxes_xyxy[of_piece], class_ids[of_piece], rules) + (
            track.max(initial=-1) + 1
        )
    return track


def _link_piece(
    rows: IntArray, time_s: Float64Array, boxes_xyxy: Float32Array, class_ids: IntArray, rules: LinkRules
) -> IntArray:
    """As `link`, without a gap that nothing can be linked over."""
    frames = np.arange(rows[0], rows[-1] + 1)
    start = np.searchsorted(rows, frames)
    sightings = np.column_stack([boxes_xyxy.astype(np.float64), time_s[rows], class_ids.astype(np.float64)])
    coords = np.split(sightings, start[1:])
    most_frames = int(np.max(np.searchsorted(time_s[frames], time_s[frames] + rules.longest_gap_s(), side="right")
                             - np.arange(len(frames))))  # fmt: skip

    def cost(a: Any, b: Any) -> float:
        return link_cost(a.tolist(), b.tolist(), rules)

    cutoff = 1.0 + OTHER_CLASS
    tracker = _laptrack()(
        metric=cost, cutoff=cutoff, gap_closing_metric=cost, gap_closing_cutoff=cutoff,
        gap_closing_max_frame_count=most_frames,
        # Not estimated from the data: any link that may be made beats none, whatever else is in the frame.
        track_start_cost=cutoff, track_end_cost=cutoff, segment_start_cost=cutoff, segment_end_cost=cutoff,
    )  # fmt: skip
    follows = {int(start[later[0]] + later[1]): int(start[frame] + index)
               for (frame, index), later in tracker.predict(coords).edges()}  # fmt: skip
    track = np.zeros(len(rows), np.int64)
    num_tracks = 0
    for sighting in range(len(rows)):
        if sighting in follows:
            track[sighting] = track[follows[sighting]]
        else:
            track[sighting], num_tracks = num_tracks, num_tracks + 1
    return track


def _laptrack() -> Any:
    """The class LapTrack: its import takes seconds, so only where objects are linked."""
    try:
        from laptrack import LapTrack
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"tracks.enabled: linking objects over time needs laptrack, and there is no package {error.name}. "
            f"Install it: pip install 'dataset-culling[tracks]', or set tracks.enabled to false."
        ) from None
    return LapTrack
