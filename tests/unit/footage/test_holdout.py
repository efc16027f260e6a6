"""Training part, gap, held-out part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dataset_culling.errors import FootageError
from dataset_culling.footage.holdout import split_by_time


def test_split_by_time__worked_by_hand() -> None:
    time_s = np.arange(100.0)
    split = split_by_time(time_s, heldout_share=0.2, gap_s=10, max_gap_share=1)
    assert (split.pool_end_s, split.heldout_start_s, split.gap_s) == (70, 80, 10)
    assert time_s[split.is_pool(time_s)].tolist() == list(range(70))
    assert time_s[split.is_heldout(time_s)].tolist() == list(range(80, 100))


def test_split_by_time__the_gap_of_a_short_clip_is_a_share_of_it() -> None:
    split = split_by_time(np.arange(31.0), heldout_share=0.2, gap_s=60, max_gap_share=0.1)
    assert split.gap_s == pytest.approx(3)


def test_split_by_time__held_out_part_empty() -> None:
    says = r"held-out part: a share of 0\.2 of 4 sampled frames is less than one frame"
    with pytest.raises(FootageError, match=says):
        split_by_time(np.arange(4.0), heldout_share=0.2, gap_s=0, max_gap_share=1)


def test_split_by_time__gap_eats_the_training_part() -> None:
    with pytest.raises(FootageError, match=r"before a gap of 29 s and a held-out part of 5\.0 s, found 29\.0 s"):
        split_by_time(np.arange(30.0), heldout_share=0.2, gap_s=60, max_gap_share=1)


@given(
    steps=st.lists(st.floats(0.01, 500), min_size=1, max_size=80),
    share=st.floats(0.05, 0.9),
    gap_s=st.floats(0, 200),
)
def test_split_by_time__no_frame_within_the_gap_of_another_part(steps: list[float], share: float, gap_s: float) -> None:
    time_s = np.cumsum([0.0, *steps])
    try:
        split = split_by_time(time_s, heldout_share=share, gap_s=gap_s, max_gap_share=1)
    except FootageError:
        assume(False)
    pool, heldout = time_s[split.is_pool(time_s)], time_s[split.is_heldout(time_s)]
    assert len(pool) >= 1
    assert len(heldout) == int(len(time_s) * share)
    assert np.abs(heldout[:, None] - pool).min() >= gap_s - 1e-9
    assert pool.max() < heldout.min()
