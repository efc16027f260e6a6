"""The Pareto front and the rule, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dataset_culling.errors import ConfigError
from dataset_culling.tuning.choice import ChoiceRule, choose_student, pareto_front

LATENCY_MS = np.array([10.0, 20.0, 30.0, 40.0, 25.0])
QUALITY = np.array([0.60, 0.80, 0.81, 0.81, 0.70])
"""The fourth is as good as the third but slower; the fifth is slower and worse than the second."""


def test_pareto_front__holds_whom_nobody_beats():
    assert pareto_front(LATENCY_MS, QUALITY).tolist() == [True, True, True, False, False]


def test_pareto_front__equals_stay_together():
    assert pareto_front(np.array([5.0, 5.0, 5.0]), np.array([0.5, 0.5, 0.4])).tolist() == [True, True, False]
    assert pareto_front(np.zeros(0), np.zeros(0)).tolist() == []


def test_pareto_front__refuses_what_is_not_finite():
    with pytest.raises(ValueError, match="finite"):
        pareto_front(np.array([1.0]), np.array([np.nan]))


@pytest.mark.parametrize(
    ("rule", "row"),
    [
        ({"rule": "most-accurate"}, 2),  # of the two best the quicker
        ({"rule": "most-accurate", "budget_ms": 29}, 1),
        ({"rule": "most-accurate", "budget_ms": 10}, 0),  # the budget itself is within it
        ({"within_points": 2}, 1),  # 0.80 is one point from the best
        ({"within_points": 1}, 1),  # and exactly one
        ({"within_points": 0.5}, 2),
        ({"within_points": 21}, 0),
        ({"within_points": 2, "budget_ms": 19}, 0),  # the best within the budget is what counts
    ],
    ids=str,
)
def test_choose_student__goes_by_the_rule(rule: dict[str, object], row: int):
    assert choose_student(LATENCY_MS, QUALITY, ChoiceRule(**rule)) == row


def test_choose_student__of_equally_quick_the_better():
    assert choose_student(np.array([10.0, 10.0]), np.array([0.79, 0.80]), ChoiceRule(within_points=5)) == 1


def test_choose_student__a_budget_that_none_meets_names_the_quickest():
    with pytest.raises(ConfigError, match=r"budget_ms 9: .* found 10 ms as the quickest"):
        choose_student(LATENCY_MS, QUALITY, ChoiceRule(budget_ms=9))


def test_choose_student__needs_a_student():
    with pytest.raises(ValueError, match="at least one student"):
        choose_student(np.zeros(0), np.zeros(0), ChoiceRule())
