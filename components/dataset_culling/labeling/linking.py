"""Boxes of successive frames linked into the lives of objects, by laptrack.

T = frames, S = sightings (boxes of any looker in any of those frames).

Linking is done offline, over all frames at once, and the surest links first: what hardly moved, then what stood still
before it was out of sight for longer, then what moves. Otherwise whatever passes by would be linked to what stands and
is not seen for a moment. Each time first from each frame to the next, then over the gaps, both as linear assignment
problems (Jaqaman et al., Robust single-particle tracking in live-cell time-lapse sequences, Nature Methods 2008, as
laptrack, BSD-3-Clause, does it). What may be linked is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.errors import ConfigError
from dataset_culling.types import BoolArray, Float32Array, IntArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Float64Array = npt.NDArray[np.float64]

NEVER = 1e6  # a cost that is never paid
OTHER_CLASS = 0.4  # what a change of class costs: a rider is not to become the bicycle
SLACK = 1e-9  # of seconds and overlaps, where only what cannot be linked differs
PROBLEM_LINKS = 50  # possible ones in one assignment problem, unless more hang together
LEAST_REACH, MOST_REACH = 0.1, 1.5  # box sizes; further than the upper one everything would overlap everything


class LinkRules(StageConfig):
    """Rules for two sightings of the same object."""

    max_gap_s: float = Field(2.0, gt=0, description="Longest time out of sight after which something moving goes on.")
    still_overlap: float = Field(
        0.5, gt=0, le=1, description="Something hardly moved where it overlaps this much (IoU)."
    )
    reach: float = Field(
        1.0, ge=0, le=10, description="Largest speed of an object, in box sizes a second: boxes are grown by it."
    )
    min_overlap: float = Field(0.1, gt=0, lt=1, description="Least IoU of the grown boxes.")
    parked_gap_s: float = Field(
        60.0, ge=0, description="Longest time out of sight for something parked: it stood still before or does after."
    )

    def longest_gap_s(self) -> float:
        """No two sightings further apart are ever linked."""
        return max(self.max_gap_s, self.parked_gap_s)


How = Literal["near", "parked", "moving"]
STEPS: tuple[How, ...] = ("near", "parked", "moving")


def link_cost(a: Sequence[float], b: Sequence[float], how: How, rules: LinkRules) -> float:
    """Compute the cost of linking two sightings: 1 - IoU, more where the classes differ.

    Args:
        a: x1, y1, x2, y2 in px, seconds, class id, 1 if it stands still.
        b: The same, of another frame.
        how: near: hardly moved, out of sight for `max_gap_s` at most; parked: the same over `parked_gap_s`, if one of
            the two stands still; moving: boxes are grown by what an object may move in the time between.
        rules: What may be linked.

    Returns:
        0..1.4, or `NEVER`.

    Source:
        Grown boxes: Yang et al., Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier
        by Buffering the Matching Space, WACV 2023; there the buffer is a constant, here it grows with the time.
    """
    gap_s = abs(b[4] - a[4])
    penalty = OTHER_CLASS if a[5] != b[5] else 0.0
    if how == "moving":
        overlap, least = _iou(a, b, min(max(rules.reach * gap_s, LEAST_REACH), MOST_REACH)), rules.min_overlap + penalty
    else:
        overlap, least = _iou(a, b, 0.0), rules.still_overlap
    longest_s = rules.parked_gap_s if how == "parked" and (a[6] or b[6]) else rules.max_gap_s
    return 1 - overlap + penalty if overlap >= least and gap_s <= longest_s else NEVER


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
    """Link sightings into objects.

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
    after = np.full(len(rows), -1, np.int64)  # (S,) the next sighting of the same object
    before = np.full(len(rows), -1, np.int64)
    columns = [boxes_xyxy.astype(np.float64), time_s[rows], class_ids.astype(np.float64), np.zeros(len(rows))]
    sightings = np.column_stack(columns)
    for how in STEPS:
        # What has both neighbours is settled: only the ends of what is linked so far go on.
        open_ = np.flatnonzero((after < 0) | (before < 0))
        ends = np.column_stack([sightings[open_], after[open_] < 0, before[open_] < 0])
        for one, next_one in _choose(_possible(ends, how, rules), rows[open_], time_s, ends, how, rules):
            after[open_[one]], before[open_[next_one]] = open_[next_one], open_[one]
        if how == "near":
            sightings[:, 6] = _stands_still(_tracks(before), sightings, rules)
    return _tracks(before)


def _tracks(before: IntArray) -> IntArray:
    """Number the tracks of the sightings from 0 in the order of first sighting, given the links; (S,)."""
    track = np.zeros(len(before), np.int64)
    num_tracks = 0
    for sighting, earlier in enumerate(before.tolist()):
        if earlier >= 0:
            track[sighting] = track[earlier]
        else:
            track[sighting], num_tracks = num_tracks, num_tracks + 1
    return track


def _stands_still(track: IntArray, sightings: Float64Array, rules: LinkRules) -> BoolArray:
    """Mark each sighting, (S,), of a track of two or more whose last place is its first."""
    _, first, num = np.unique(track, return_index=True, return_counts=True)
    last = len(track) - 1 - np.unique(track[::-1], return_index=True)[1]
    still = np.array([_iou(a, b, 0.0) >= rules.still_overlap
                      for a, b in zip(sightings[first].tolist(), sightings[last].tolist(), strict=True)])  # fmt: skip
    return np.asarray((still & (num > 1))[track], np.bool_)


def _choose(
    links: list[tuple[int, int]], rows: IntArray, time_s: Float64Array, ends: Float64Array, how: How, rules: LinkRules
) -> list[tuple[int, int]]:
    """Of the possible links, (i, j) into `ends`, those that are made: to the next frame first, then over gaps.

    laptrack compares every segment with all others, so its time grows with the square of their number. But two links
    have a say in each other only if they share an end, or others do in a chain: what hangs together is assigned
    together. Small groups share a problem until it has `PROBLEM_LINKS`, as each has a price of its own.
    """
    found: list[tuple[int, int]] = []
    for gaps in (False, True):
        ended, begun = {one for one, _ in found}, {other for _, other in found}
        links = [link_ for link_ in links if link_[0] not in ended and link_[1] not in begun]
        groups = _groups([(one, other) for one, other in links if gaps or rows[other] == rows[one] + 1])
        found += [group[0] for group in groups if len(group) == 1]  # any link that may be made beats none
        problem: list[tuple[int, int]] = []
        for number, group in enumerate(several := [group for group in groups if len(group) > 1], start=1):
            problem += group
            if len(problem) < PROBLEM_LINKS and number < len(several):
                continue
            pairs = np.array(problem, np.int64)
            members = np.unique(pairs)
            part = ends[members]
            part[:, 7], part[:, 8] = np.isin(members, pairs[:, 0]), np.isin(members, pairs[:, 1])
            chosen = _assign(rows[members], time_s, part, how, rules, gaps=gaps)
            found += [(int(members[one]), int(members[other])) for one, other in chosen]
            problem = []
    return found


def _possible(ends: Float64Array, how: How, rules: LinkRules) -> list[tuple[int, int]]:
    """Every link that may be made between ends, (E, 9): pairs of indices, the earlier one first, ascending."""
    seconds = ends[:, 4]
    longest_s = rules.longest_gap_s() if how == "parked" else rules.max_gap_s
    upto = np.searchsorted(seconds, seconds + longest_s + SLACK, side="right")
    rows = ends.tolist()
    found = []
    for end in np.flatnonzero(ends[:, 7]).tolist():
        others = np.arange(end + 1, upto[end])
        others = others[(seconds[others] > seconds[end]) & (ends[others, 8] > 0)]
        # Most are ruled out by place at once; `link_cost` decides.
        grown, least = np.zeros(len(others)), rules.still_overlap
        if how == "moving":
            grown = np.clip(rules.reach * (seconds[others] - seconds[end]), LEAST_REACH, MOST_REACH)
            least = rules.min_overlap
        others = others[_overlaps(ends[end, :4], ends[others, :4], grown) >= least - SLACK]
        found += [(end, other) for other in others.tolist() if link_cost(rows[end], rows[other], how, rules) < NEVER]
    return found


def _groups(links: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Links that share their earlier end, or their later one, or hang together by others that do."""
    parent: dict[int, int] = {}

    def root(node: int) -> int:
        while (up := parent.setdefault(node, node)) != node:
            parent[node] = node = parent.setdefault(up, up)
        return node

    for one, other in links:
        parent[root(~other)] = root(one)  # ~: the same sighting may end one life and begin another
    found: dict[int, list[tuple[int, int]]] = {}
    for link_ in links:
        found.setdefault(root(link_[0]), []).append(link_)
    return list(found.values())


def _overlaps(box: Float64Array, others: Float64Array, grown: Float64Array) -> Float64Array:
    """As `_iou` of one box, (4,), and each of the others, (K, 4), both grown by (K,) times their size; (K,)."""
    size, sizes, by = box[2:] - box[:2], others[:, 2:] - others[:, :2], grown[:, None]
    upper = np.minimum(box[2:] + by * size, others[:, 2:] + by * sizes)
    lower = np.maximum(box[:2] - by * size, others[:, :2] - by * sizes)
    shared = np.maximum(upper - lower, 0).prod(axis=1)
    total = (1 + 2 * grown) ** 2 * (size.prod() + sizes.prod(axis=1)) - shared
    overlaps: Float64Array = shared / np.maximum(total, SLACK)
    return overlaps


def _assign(
    rows: IntArray, time_s: Float64Array, ends: Float64Array, how: How, rules: LinkRules, *, gaps: bool
) -> list[tuple[int, int]]:
    """Links from each frame to the next and, with `gaps`, over frames between: pairs of indices into `ends`, (E, 9).

    Its columns are as for `link_cost`, then whether it may have a next one and one before.
    """
    frames = np.arange(rows[0], rows[-1] + 1)
    start = np.searchsorted(rows, frames)
    longest_s = rules.longest_gap_s() if how == "parked" else rules.max_gap_s
    within = np.searchsorted(time_s[frames], time_s[frames] + longest_s, side="right") - np.arange(len(frames))

    def cost(a: Any, b: Any) -> float:
        return link_cost(a.tolist(), b.tolist(), how, rules) if a[7] and b[8] else NEVER

    cutoff = 1.0 + OTHER_CLASS
    tracker = laptrack_class()(
        metric=cost, cutoff=cutoff, gap_closing_metric=cost, gap_closing_cutoff=cutoff if gaps else False,
        gap_closing_max_frame_count=int(within.max()),
        # Not estimated from the data: any link that may be made beats none, whatever else is in the frame.
        track_start_cost=cutoff, track_end_cost=cutoff, segment_start_cost=cutoff, segment_end_cost=cutoff,
    )  # fmt: skip
    found = tracker.predict(np.split(ends, start[1:])).edges()
    return [(int(start[one[0]] + one[1]), int(start[other[0]] + other[1])) for one, other in found]


def laptrack_class() -> Any:
    """The class LapTrack: its import takes seconds, so only where objects are linked.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        from laptrack import LapTrack
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"label_frames.tracks.enabled: linking objects needs laptrack, and there is no package {error.name}. "
            f"Install the extra tracks: pip install 'dataset-culling[tracks]', or set it to false."
        ) from None
    return LapTrack
