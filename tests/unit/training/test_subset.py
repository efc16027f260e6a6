"""Choosing by gradient matching: worked by hand, and against scikit-learn's and SciPy's solvers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize
from sklearn import linear_model

from dataset_culling.training.techniques.gradmatch.matching import (
    match_batches,
    matching_pursuit,
    nonnegative,
    sketch,
)
from dataset_culling.training.techniques.subsets import budget_of, random_rows


def test_budget_of__is_rounded_up_and_never_nothing():
    assert [budget_of(0.3, 10), budget_of(0.1, 30), budget_of(0.34, 10), budget_of(0.01, 10), budget_of(1.0, 7)] == [
        3, 3, 4, 1, 7,
    ]  # fmt: skip


def test_matching_pursuit__two_axes_by_hand():
    axes, target = np.eye(3)[:2], np.array([1.0, 3.0, 0.0])
    rows, weights = matching_pursuit(axes, target, 1, regularisation=0)
    assert (rows.tolist(), weights.tolist()) == ([1], [3])
    rows, weights = matching_pursuit(axes, target, 2, regularisation=0)
    assert (rows.tolist(), weights.tolist()) == ([1, 0], [3, 1])
    _, weights = matching_pursuit(axes, target, 2, regularisation=0.5)
    np.testing.assert_allclose(weights, [2, 1 / 1.5])  # each w minimises (t - w)^2 + w^2 / 2: t / 1.5


def test_matching_pursuit__never_weighs_below_zero_and_stops_where_nothing_helps():
    gradients = np.array([[1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])
    rows, weights = matching_pursuit(gradients, np.array([2.0, 1.0]), 3, regularisation=0)
    assert (rows.tolist(), weights.tolist()) == ([0], [2])  # the others point away, so two places stay free


def test_matching_pursuit__lets_go_of_one_that_two_others_make_superfluous():
    gradients, target = np.array([[1.0, 1.0, 0.2], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([3.0, 3.0, -1.0])
    rows, _ = matching_pursuit(gradients, target, 1, regularisation=0)
    assert rows.tolist() == [0]  # 5.8 along the diagonal, 3 along each axis
    rows, weights = matching_pursuit(gradients, target, 3, regularisation=0)
    assert sorted(rows.tolist()) == [1, 2]  # with both axes there its third number is only wrong
    np.testing.assert_allclose(weights, [3, 3])


def test_matching_pursuit__of_duplicates_the_first_is_taken_and_the_other_adds_nothing():
    gradients = np.array([[0.0, 1.0], [2.0, 0.0], [2.0, 0.0]])
    rows, weights = matching_pursuit(gradients, np.array([4.0, 0.0]), 3, regularisation=0)
    assert (rows.tolist(), weights.tolist()) == ([1], [2])
    rows, weights = matching_pursuit(gradients, np.array([4.0, 0.0]), 3, regularisation=2)
    np.testing.assert_allclose(weights, [0.8, 0.8])  # with a price on each weight they share: 8 = (8 + 2) w
    assert rows.tolist() == [1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_matching_pursuit__is_scikit_learns_where_that_has_no_weight_below_zero(seed):
    random = np.random.default_rng(seed)
    columns = np.linalg.qr(random.normal(size=(40, 25)))[0] + 0.01 * random.normal(size=(40, 25))
    columns /= np.linalg.norm(columns, axis=0)
    true = np.zeros(25)
    true[random.choice(25, 6, replace=False)] = random.uniform(1, 3, 6)
    target = columns @ true + 0.01 * random.normal(size=40)
    theirs = linear_model.orthogonal_mp(columns, target, n_nonzero_coefs=6)
    assert theirs.min() >= 0
    rows, weights = matching_pursuit(columns.T, target, 6, regularisation=0)
    ours = np.zeros(25)
    ours[rows] = weights
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("regularisation", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_matching_pursuit__with_room_for_all_is_the_nonnegative_optimum(seed, regularisation):
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(20, 30))
    target = random.normal(size=30) + gradients.sum(axis=0) * random.uniform(0, 1)
    rows, weights = matching_pursuit(gradients, target, 20, regularisation=regularisation)
    tall = np.vstack([gradients.T, np.sqrt(regularisation) * np.eye(20)])
    theirs, _ = optimize.nnls(tall, np.concatenate([target, np.zeros(20)]))
    ours = np.zeros(20)
    ours[rows] = weights
    np.testing.assert_allclose(ours, theirs, atol=1e-8)


@pytest.mark.parametrize("seed", range(5))
def test_nonnegative__is_scipys_from_wherever_it_starts(seed):
    random = np.random.default_rng(seed)
    tall, wanted = random.normal(size=(15, 12)), random.normal(size=15)
    theirs, _ = optimize.nnls(tall, wanted)
    np.testing.assert_allclose(nonnegative(tall.T @ tall, tall.T @ wanted, start=np.zeros(12)), theirs, atol=1e-8)


def test_matching_pursuit__more_candidates_leave_less_error_than_as_many_random_rows():
    random = np.random.default_rng(0)
    gradients = random.normal(size=(60, 80)) + random.normal(size=80)
    target = gradients.sum(axis=0)
    errors = []
    for budget in (3, 6, 12):
        rows, weights = matching_pursuit(gradients, target, budget, regularisation=0)
        assert len(rows) == budget
        errors.append(np.linalg.norm(target - weights @ gradients[rows]))
        drawn = random_rows(60, budget, random)
        assert errors[-1] < np.linalg.norm(target - gradients[drawn].sum(axis=0) * 60 / budget)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(
    ("gradients", "target", "budget", "said"),
    [
        (np.ones((2, 3)), np.ones(2), 1, r"got \(2, 3\) and \(2,\)"),
        (np.ones((2, 3)), np.ones(3), 0, "budget must be at least 1"),
        (np.full((2, 3), np.nan), np.ones(3), 1, "finite"),
    ],
)
def test_matching_pursuit__refuses(gradients, target, budget, said):
    with pytest.raises(ValueError, match=said):
        matching_pursuit(gradients, target, budget)


def test_match_batches__takes_the_whole_budget_and_weighs_one_on_average():
    gradients = np.array([[4.0, 0.0], [4.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])
    rows, weights = match_batches(gradients, 4, np.random.default_rng(0), regularisation=0)
    # The sum is (7, 2): 7 / 4 of the first, 1 of the third. Two more come by lot, each weighing 1.
    assert {0, 2} < set(rows.tolist())
    assert (len(rows), rows.tolist()) == (4, sorted(set(rows.tolist())))
    by_row = dict(zip(rows.tolist(), weights.tolist(), strict=True))
    assert by_row[0] / by_row[2] == pytest.approx(1.75)
    assert {by_row[row] / by_row[2] for row in rows.tolist() if row not in (0, 2)} == {1.0}
    assert weights.mean() == pytest.approx(1)


def test_match_batches__no_matter_in_what_units_the_loss_is():
    gradients = np.random.default_rng(1).normal(size=(12, 20)) + 1
    rows, weights = match_batches(gradients, 4, np.random.default_rng(0))
    again, same = match_batches(gradients * 1e-4, 4, np.random.default_rng(0))
    assert rows.tolist() == again.tolist()
    np.testing.assert_allclose(same, weights)


def test_match_batches__gradients_that_are_not_finite_are_chosen_by_lot_only():
    gradients = np.array([[np.nan, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert match_batches(gradients, 2, np.random.default_rng(0))[0].tolist() == [1, 2]
    rows, weights = match_batches(np.full((3, 2), np.inf), 2, np.random.default_rng(0))
    assert (len(rows), weights.tolist()) == (2, [1, 1])


def test_sketch__short_ones_stay_and_long_ones_keep_their_inner_products():
    random = np.random.default_rng(0)
    short = random.normal(size=50)
    assert sketch(short, numbers=50) is short
    pairs = random.normal(size=(2, 20_000)) + 0.5
    one, other = (sketch(row, numbers=4096) for row in pairs)
    assert len(one) == 4096
    assert one @ other == pytest.approx(pairs[0] @ pairs[1], rel=0.1)
    np.testing.assert_array_equal(sketch(pairs[0], numbers=4096), one)
