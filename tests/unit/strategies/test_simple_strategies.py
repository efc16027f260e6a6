"""Uniform, random, full, and the measures that read one value off each score."""

from __future__ import annotations

import numpy as np
import pytest

from builders import scored
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.entropy import box_entropy
from dataset_culling.strategies.least_confidence import box_uncertainty
from dataset_culling.strategies.margin import box_closeness
from dataset_culling.strategies.table import choose_frames

SCORES = np.array([0.0, 0.25, 0.5, 0.9, 1.0])


def test_box_entropy__in_bits():
    assert box_entropy(SCORES) == pytest.approx([0, 0.811278, 1, 0.468996, 0], abs=1e-6)


def test_box_uncertainty():
    assert box_uncertainty(SCORES) == pytest.approx([1, 0.75, 0.5, 0.1, 0])


def test_box_closeness():
    assert box_closeness(SCORES) == pytest.approx([0, 0.5, 1, 0.2, 0])


@pytest.mark.parametrize(
    ("name", "order"),
    [
        pytest.param("entropy", [2, 1, 3, 0, 4], id="nearest one half, on average"),
        pytest.param("margin", [2, 1, 3, 0, 4], id="the same order by another measure"),
        pytest.param("least-confidence", [1, 2, 3, 0, 4], id="lowest score first"),
        pytest.param("top-confidence", [0, 3, 2, 1, 4], id="highest score first, empty frames last"),
        pytest.param("confidence", [3, 1, 2, 0, 4], id="the sum: two boxes outdo one"),
    ],
)
def test_choose_frames__how_five_frames_rank(name, order):
    frames = CullInput(scored([0.99], [0.3], [0.55], [0.9, 0.7], []))
    assert choose_frames(name, frames, budget=5).frame_ids.tolist() == order


@pytest.mark.parametrize(
    ("num_frames", "budget", "kept"),
    [
        pytest.param(10, 2, [2, 7], id="the middles of two halves"),
        pytest.param(9, 3, [1, 4, 7], id="the middles of three thirds"),
        pytest.param(3, 5, [0, 1, 2], id="all, where the budget is larger"),
        pytest.param(4, 4, [0, 1, 2, 3], id="all, where it is equal"),
    ],
)
def test_uniform__worked_by_hand(num_frames, budget, kept):
    pool = CullInput(scored(*[[]] * num_frames))
    assert choose_frames("uniform", pool, budget=budget).frame_ids.tolist() == kept


def test_random__every_frame_is_drawn_about_as_often():
    pool = CullInput(scored(*[[]] * 10))
    drawn = [choose_frames("random", pool, budget=3, seed=seed).frame_ids for seed in range(1000)]
    counts = np.bincount(np.concatenate(drawn), minlength=10)
    assert counts.sum() == 3000
    assert np.all(np.abs(counts - 300) < 75)  # more than 5 standard deviations of a binomial (1000, 0.3)


def test_random__another_seed_is_another_choice():
    pool = CullInput(scored(*[[]] * 100))
    first, second = (choose_frames("random", pool, budget=10, seed=seed).frame_ids.tolist() for seed in (1, 2))
    assert first != second


def test_full__keeps_all_in_order_whatever_the_budget():
    kept = choose_frames("full", CullInput(scored([0.5], [], [0.9])), budget=1, min_gap_s=100)
    assert kept.frame_ids.tolist() == [0, 1, 2]
