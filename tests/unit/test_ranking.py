"""From losses to kept frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_culling.ranking import Spacing, keep_hardest, keep_in_order


@pytest.mark.parametrize(
    ("min_gap_s", "kept"),
    [
        pytest.param(0.0, [1, 3, 2], id="the paper: top of the list"),
        pytest.param(3.0, [1, 4], id="spacing skips the neighbours"),
        pytest.param(1.0, [1, 3, 2], id="exactly the gap away is far enough"),
    ],
)
def test_keep_hardest__worked_by_hand(min_gap_s, kept):
    loss, one_frame_a_second = np.array([1.0, 5, 3, 4, 2, 0]), np.arange(6.0)
    assert keep_hardest(loss, one_frame_a_second, budget=3, min_gap_s=min_gap_s).tolist() == kept


def test_keep_hardest__ties_go_to_the_earlier_frame():
    assert keep_hardest(np.array([1.0, 2, 2, 2]), np.array([0.0, 3, 1, 2]), budget=3).tolist() == [2, 3, 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_keep_hardest__what_is_not_finite_names_its_row(bad):
    with pytest.raises(ValueError, match="at row 2"):
        keep_hardest(np.array([0.0, 0, bad]), np.arange(3.0), budget=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"budget": 0}, "budget must be at least 1, got 0", id="budget"),
        pytest.param({"budget": 1, "min_gap_s": -1.0}, "min_gap_s must not be negative", id="gap"),
    ],
)
def test_keep_hardest__refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        keep_hardest(np.zeros(3), np.arange(3.0), **arguments)


def test_keep_hardest__shapes_must_fit():
    with pytest.raises(ValueError, match=r"shape \(N,\)"):
        keep_hardest(np.zeros(3), np.arange(4.0), budget=1)


def test_keep_hardest__nothing_to_choose_from():
    assert keep_hardest(np.zeros(0), np.zeros(0), budget=5, min_gap_s=1.0).tolist() == []


def plain_greedy(order, time_s, budget, min_gap_s):
    kept = []
    for row in order:
        if len(kept) < budget and all(abs(time_s[row] - time_s[other]) >= min_gap_s for other in kept):
            kept.append(row)
    return kept


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=30),
    st.integers(1, 30),
    st.sampled_from([0.0, 0.1, 0.3, 1.0, 2.5]),
    st.randoms(use_true_random=False),
)
def test_keep_in_order__is_the_plain_greedy_loop(tenths, budget, min_gap_s, chance):
    time_s = np.array(tenths) / 10
    order = list(range(len(tenths)))
    chance.shuffle(order)
    kept = keep_in_order(np.array(order), time_s, budget=budget, min_gap_s=min_gap_s)
    assert kept.tolist() == plain_greedy(order, time_s, budget, min_gap_s)


def test_spacing__a_gap_of_nothing_rules_out_only_the_frame_itself():
    spacing = Spacing(np.array([0.0, 0.0, 1.0]), 0.0)
    spacing.take(0)
    assert spacing.free.tolist() == [False, True, True]
