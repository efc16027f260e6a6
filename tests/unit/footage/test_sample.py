"""Which frames are wanted, and what must be decoded for them; worked by hand and against brute force."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_culling.footage.index import PacketIndex
from dataset_culling.footage.sample import choose_samples, plan_pieces, plan_runs


def index_of(time_s: Sequence[float], keys: Sequence[int] = (0,), *, timed: bool = True) -> PacketIndex:
    count = len(time_s)
    return PacketIndex(
        time_s=np.array(time_s, np.float64),
        pts=np.round(np.array(time_s) * 1000).astype(np.int64),
        shown=np.ones(count, np.bool_),
        starts=np.array(keys, np.int64),
        start_position=np.array(keys, np.int64) * 100,
        broken=np.zeros(0, np.int64),
        timed=timed,
        read_errors=0,
        restarts=0,
    )


@pytest.mark.parametrize(
    ("time_s", "rate", "chosen"),
    [
        pytest.param([0, 0.5, 1.0, 1.5, 2.0], 1.0, [0, 2, 4], id="the first frame of each second"),
        pytest.param([0, 0.4, 3.2, 3.3, 4.9], 1.0, [0, 2, 4], id="seconds without a frame have no sample"),
        pytest.param([0, 0.9995, 1.04], 1.0, [0, 1], id="a frame half a millisecond early still opens its second"),
        pytest.param([0, 0.5, 1.0], 10.0, [0, 1, 2], id="faster than the video: every frame once"),
        pytest.param([0, 10, 20, 30], 0.05, [0, 2], id="one in twenty seconds"),
        pytest.param([0, 0.08, 0.04, 0.12], 25.0, [0, 2, 1, 3], id="in time order, whatever the decode order"),
    ],
)
def test_choose_samples__worked_by_hand(time_s: list[float], rate: float, chosen: list[int]) -> None:
    assert choose_samples(index_of(time_s), start_s=0, frames_per_second=rate).tolist() == chosen


def test_choose_samples__cells_count_from_the_start_of_the_footage() -> None:
    found = choose_samples(index_of([0, 0.3, 0.6, 0.9, 1.2]), start_s=10.5, frames_per_second=1.0)
    assert found.tolist() == [0, 2]  # 10.5 and 11.1


def test_choose_samples__leaves_what_another_file_has() -> None:
    index = index_of([0, 0.5, 1.0, 1.5, 2.0])
    assert choose_samples(index, start_s=0, frames_per_second=1, not_before_s=0.7).tolist() == [2, 4]
    assert choose_samples(index, start_s=0, frames_per_second=1, after_cell=1).tolist() == [4]


def test_choose_samples__takes_a_keyframe_within_the_slack() -> None:
    index = index_of([0, 0.25, 0.5, 1.0, 1.25, 1.75, 2.0], keys=[0, 4, 6])
    exact = choose_samples(index, start_s=0, frames_per_second=1)
    loose = choose_samples(index, start_s=0, frames_per_second=1, keyframe_slack_s=0.3)
    assert exact.tolist() == [0, 3, 6]
    assert loose.tolist() == [0, 4, 6]


def test_choose_samples__never_takes_what_is_not_shown() -> None:
    index = index_of([0, 0.5, 1.0])
    index.shown[0] = False
    assert choose_samples(index, start_s=0, frames_per_second=1).tolist() == [1, 2]


@given(
    steps=st.lists(st.floats(0.002, 3.0), min_size=1, max_size=60),
    rate=st.floats(0.1, 60.0),
)
def test_choose_samples__at_most_one_a_cell_and_the_earliest(steps: list[float], rate: float) -> None:
    time_s = np.cumsum(steps) - steps[0]
    chosen = choose_samples(index_of(time_s.tolist()), start_s=0, frames_per_second=rate)
    cell = np.floor((time_s + 1e-3) * rate).astype(int)
    assert chosen.tolist() == [int(np.flatnonzero(cell == c)[0]) for c in sorted(set(cell.tolist()))]


def test_plan_runs__from_the_keyframe_before_to_the_wanted_frame() -> None:
    index = index_of(np.arange(30) / 10, keys=[0, 10, 20])
    runs = plan_runs(index, np.array([4, 7, 20]))
    assert [(run.first, run.stop, run.wanted.tolist()) for run in runs] == [(0, 8, [4, 7]), (20, 21, [20])]


def test_plan_runs__open_group_needs_the_group_before() -> None:
    # Decode order I0 P3 B1 B2 | I6 B4 B5 P9 ...: the frames at 0.4 and 0.5 s come after the keyframe at 0.6 s.
    index = index_of([0.0, 0.3, 0.1, 0.2, 0.6, 0.4, 0.5, 0.9], keys=[0, 4])
    runs = plan_runs(index, np.array([5]))
    assert [(run.first, run.stop) for run in runs] == [(0, 6)]
    assert [(run.first, run.stop) for run in plan_runs(index, np.array([7]))] == [(4, 8)]
    assert [(run.first, run.stop) for run in plan_runs(index, np.array([2, 4, 5]))] == [(0, 6)]


def test_plan_runs__without_presentation_times_groups_are_decoded_whole() -> None:
    index = index_of(np.arange(20) / 10, keys=[0, 10], timed=False)
    assert [(run.first, run.stop) for run in plan_runs(index, np.array([3, 12]))] == [(0, 10), (10, 20)]


def test_plan_runs__nothing_wanted() -> None:
    assert plan_runs(index_of([0.0, 1.0]), np.zeros(0, np.int64)) == []


@given(data=st.data(), count=st.integers(1, 80), per_piece=st.integers(1, 10))
def test_plan_pieces__every_wanted_frame_once_and_each_run_starts_at_a_keyframe(
    data: st.DataObject, count: int, per_piece: int
) -> None:
    keys = sorted({0, *data.draw(st.lists(st.integers(0, count - 1), max_size=8))})
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1))), np.int64)
    index = index_of(np.arange(count) / 25, keys=keys)
    pieces = list(plan_pieces(index, wanted, samples_per_piece=per_piece))
    runs = [run for piece in pieces for run in piece]
    assert np.concatenate([run.wanted for run in runs]).tolist() == wanted.tolist()
    for run in runs:
        assert run.first in index.starts
        assert run.first <= run.wanted[0]
        assert run.stop == run.wanted[-1] + 1
    for piece in pieces[:-1]:
        assert sum(len(run.wanted) for run in piece) >= per_piece
