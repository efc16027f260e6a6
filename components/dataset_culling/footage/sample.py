"""Choose samples by time and plan the decoding that they need.

The footage is cut into cells of one sampling period, counted from its first frame; the first frame of a cell is its
sample. Variable frame rates need no special case, and a stretch without frames has no samples.
P = packets of a file in decode order, K = samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.footage.index import PacketIndex
from dataset_culling.types import IntArray

_SLACK_S = 1e-3  # containers round times to about a millisecond: a frame this early still opens its cell


@dataclass(frozen=True, slots=True)
class Run:
    """Packets to decode in one go, from a keyframe to the last one needed."""

    first: int  # a keyframe
    stop: int  # exclusive
    wanted: IntArray  # (K,) rows of the samples among them


def sampling_cell(time_s: npt.NDArray[np.float64], frames_per_second: float) -> IntArray:
    """Return the number of each time's sampling period, counted from the start of the footage."""
    return np.asarray(np.floor((time_s + _SLACK_S) * frames_per_second), np.int64)


def choose_samples(
    index: PacketIndex,
    *,
    start_s: float,
    frames_per_second: float,
    keyframe_slack_s: float = 0.0,
    not_before_s: float = -np.inf,
    after_cell: int = -1,
) -> IntArray:
    """Choose the packets whose frames are sampled, in time order.

    Args:
        start_s: Time of the file's first frame in the footage.
        keyframe_slack_s: A keyframe at most this long after the first frame of its cell replaces it, as decoding one
            frame is cheaper than a whole group of pictures. 0: always the first frame.
        not_before_s: Earlier frames of the footage are left out: another file has them.
        after_cell: Last cell that already has its sample.

    Returns:
        Rows of the index, shape (K,), ascending in time.
    """
    time_s = index.time_s + start_s
    order = np.flatnonzero(index.shown & (time_s >= not_before_s))
    order = order[np.argsort(time_s[order], kind="stable")]
    cell = sampling_cell(time_s[order], frames_per_second)
    order, cell = order[cell > after_cell], cell[cell > after_cell]
    if not len(order):
        return np.zeros(0, np.int64)
    first = np.concatenate([[True], np.diff(cell) > 0])
    chosen = order[first]
    if keyframe_slack_s > 0 and index.timed:
        opened = np.cumsum(first) - 1  # row of the sample of each frame's cell
        late = time_s[order] - time_s[chosen][opened]
        keys = np.flatnonzero(np.isin(order, index.starts) & (late <= keyframe_slack_s))
        cells, at = np.unique(opened[keys], return_index=True)
        chosen[cells] = order[keys[at]]
    return np.asarray(chosen, np.int64)


def plan_pieces(index: PacketIndex, wanted: IntArray, *, samples_per_piece: int) -> Iterator[list[Run]]:
    """Plan the decoding of the wanted packets in pieces that can be decoded in parallel.

    A piece ends with a group of pictures once it has `samples_per_piece` samples, and depends on nothing else. So equal
    footage is always cut alike.

    Args:
        wanted: Rows of the index, shape (K,), unique.
        samples_per_piece: Samples of a piece, at least 1; only the last may have fewer.
    """
    wanted = np.sort(wanted)
    group = np.searchsorted(index.starts, wanted, side="right") - 1
    begin = 0
    for end in np.flatnonzero(np.diff(group, append=group[-1:] + 1) > 0) + 1:
        if end - begin >= samples_per_piece:
            yield plan_runs(index, wanted[begin:end])
            begin = int(end)
    if begin < len(wanted):
        yield plan_runs(index, wanted[begin:])


def plan_runs(index: PacketIndex, wanted: IntArray) -> list[Run]:
    """Plan the fewest runs of packets to decode for the wanted ones.

    A frame needs the packets from the keyframe before it up to itself. In an open group of pictures, frames shown
    before their keyframe also need the group before.
    `wanted` has rows of the index, shape (K,), ascending and unique.
    """
    keys = index.starts
    ends = np.append(keys[1:], len(index))
    group = np.searchsorted(keys, wanted, side="right") - 1
    leading = group[index.time_s[wanted] < index.time_s[keys[group]]] if index.timed else group[:0]
    starts = np.where(np.isin(group, leading) & (group > 0), group - 1, group)
    # A run goes on as long as the next group needs the one before it.
    breaks = np.flatnonzero(starts[1:] > group[:-1]) + 1
    runs = []
    for rows in np.split(np.arange(len(wanted)), breaks) if len(wanted) else []:
        # Without presentation times the packet of the n-th shown frame is unknown: decode the whole group.
        stop = int(wanted[rows[-1]]) + 1 if index.timed else int(ends[group[rows[-1]]])
        runs.append(Run(int(keys[starts[rows[0]]]), stop, wanted[rows]))
    return runs
