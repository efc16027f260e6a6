"""Which frames are wanted, by time, and what must be decoded to get them.

The footage is cut into cells of one sampling period, counted from its first frame; the first frame that a cell holds is
its sample. So no frame is sampled twice, variable frame rates need no special case, and a stretch without frames has no
samples. P = packets of a file in decode order, K = samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dataset_culling.footage.index import PacketIndex
from dataset_culling.types import IntArray

_SLACK_S = 1e-3  # containers round times to a millisecond or so: a frame this early still opens its cell


@dataclass(frozen=True, slots=True)
class Run:
    """Packets to send through the decoder in one go, from a keyframe to the last one needed."""

    first: int  # a keyframe
    stop: int  # exclusive
    wanted: IntArray  # (K,) which of them are samples


def sampling_cell(time_s: npt.NDArray[np.float64], frames_per_second: float) -> IntArray:
    """The sampling period that each time falls into, counted from the start of the footage."""
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
    """The packets whose frames are sampled, in time order.

    Args:
        index: The file's packets.
        start_s: Where the file's first frame lies in the footage.
        frames_per_second: The sampling rate.
        keyframe_slack_s: A keyframe that lies no more than this after the first frame of its cell is taken instead of
            it, because it costs one decoded frame and not a whole group of pictures. 0: always the first.
        not_before_s: Frames before this time of the footage are left out (another file has them already).
        after_cell: Cells up to this one have their sample already.

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
        opened = np.cumsum(first) - 1  # which sample each frame's cell belongs to
        late = time_s[order] - time_s[chosen][opened]
        keys = np.flatnonzero(np.isin(order, index.starts) & (late <= keyframe_slack_s))
        cells, at = np.unique(opened[keys], return_index=True)
        chosen[cells] = order[keys[at]]
    return np.asarray(chosen, np.int64)


def plan_pieces(index: PacketIndex, wanted: IntArray, *, samples_per_piece: int) -> Iterator[list[Run]]:
    """What must be decoded to get the wanted packets' frames, in pieces that can be decoded side by side.

    A piece ends with a group of pictures (a keyframe and what follows it), once it has so many samples; where it ends
    depends on nothing else, so equal footage is always cut alike.

    Args:
        index: The file's packets.
        wanted: Rows of the index, shape (K,), unique.
        samples_per_piece: At least 1; a piece has fewer only at the end.
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
    """The runs of packets to decode for the wanted ones, and no more.

    A frame needs the packets from the keyframe before it up to itself. A frame that is shown before the keyframe which
    it follows in the file (an open group of pictures) needs the group before that as well.

    Args:
        index: The file's packets.
        wanted: Rows of the index, shape (K,), ascending, unique.
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
        # Without presentation times nobody knows which packet holds the n-th shown frame: the group is decoded whole.
        stop = int(wanted[rows[-1]]) + 1 if index.timed else int(ends[group[rows[-1]]])
        runs.append(Run(int(keys[starts[rows[0]]]), stop, wanted[rows]))
    return runs
