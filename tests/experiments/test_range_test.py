"""The learning-rate range test, on losses made by hand and on a least-squares problem with a known limit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.lr_range.range_test import judge, range_rates, range_test, smoothed


def test_range_rates__rise_by_equal_factors():
    assert range_rates(1e-4, 1e5, 10).tolist() == pytest.approx([10.0**power for power in range(-4, 6)])


@pytest.mark.parametrize(
    ("low", "high", "steps", "said"),
    [
        pytest.param(0.0, 1.0, 20, "low must be above 0 and below high, got 0 and 1", id="zero"),
        pytest.param(1.0, 1.0, 20, "got 1 and 1", id="nothing between"),
        pytest.param(0.1, 1.0, 9, "steps must be at least 10, got 9", id="too few"),
    ],
)
def test_range_rates__refuses(low, high, steps, said):
    with pytest.raises(ValueError, match=said):
        range_rates(low, high, steps)


def test_smoothed__worked_by_hand():
    assert smoothed(np.array([3.0, 0, 6, 3, 9]), width=3).tolist() == [3, 3, 3, 6, 9]


def test_judge__worked_by_hand():
    rates = 10.0 ** np.arange(-6, 4)
    losses = np.array([4.0, 4, 4, 3, 1, 0.5, 0.5, 3, 9, 50])
    found = judge(rates, losses)
    # smooth: 4 4 3.667 2.667 1.5 0.667 1.333 4.167 20.67 50; slopes down to the lowest, at 1e-1:
    # 0 -.167 -.667 -1.083 -1 -.833. Above 4 for good from the eighth on.
    assert found.smooth[4] == pytest.approx(1.5)
    assert found.steepest == pytest.approx(1e-3)
    assert found.diverges == pytest.approx(10.0)
    assert found.suggested == pytest.approx(1e-3)


def test_judge__a_tenth_of_what_diverges_is_the_most():
    rates = 10.0 ** np.arange(-6, -1, 0.5)
    found = judge(rates, np.array([4.0, 4, 4, 4, 4, 4, 1, 9, 9, 9]))
    # smooth: 4 4 4 4 4 3 4.667 6.333 9 9
    assert found.steepest == pytest.approx(10**-3.5)
    assert found.diverges == pytest.approx(1e-3)
    assert found.suggested == pytest.approx(1e-4)


def test_judge__a_loss_that_only_falls_diverges_nowhere():
    found = judge(range_rates(1e-5, 1e-2, 12), np.linspace(2, 1, 12))
    assert found.diverges == 0
    assert found.suggested == found.steepest > 0


def test_judge__a_loss_that_never_falls_suggests_nothing():
    found = judge(range_rates(1e-5, 1e-2, 12), np.linspace(1, 2, 12))
    assert (found.steepest, found.suggested) == (0, 0)


def test_range_test__finds_where_gradient_descent_breaks():
    # (x - t)^2 / 2 has curvature 1, so gradient descent diverges for rates above 2; t goes to and fro as batches do.
    x, seen = 10.0, []

    def step(rate: float) -> float:
        nonlocal x
        target = (-1.0) ** len(seen)
        seen.append(rate)
        loss = (x - target) ** 2 / 2
        x -= rate * (x - target)
        return loss

    rates = range_rates(1e-3, 1e3, 121)
    found = range_test(step, rates)
    assert 1.5 < found.diverges < 4  # t in step with x makes it swing before 2 already
    assert 0.01 < found.steepest < 0.5
    assert found.suggested == pytest.approx(min(found.steepest, found.diverges / 10))
    assert len(seen) < len(rates)  # nothing is tried beyond the break
    assert found.rates.tolist() == pytest.approx(seen)


def test_range_test__stops_at_what_is_not_finite():
    losses = iter([3.0] * 5 + [2.0, 1.0] + [math.nan])
    found = range_test(lambda rate: next(losses), range_rates(1e-3, 1.0, 20))
    assert len(found.losses) == 8
    assert found.diverges == pytest.approx(found.rates[7])


def test_range_test__a_first_loss_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite at the first rate, got inf"):
        range_test(lambda rate: math.inf, range_rates(1e-3, 1.0, 20))
