"""The cost model against the paper's Table 1, and plans for a budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_culling.errors import ConfigError
from dataset_culling.planning import (
    PAPER_POOL,
    PAPER_RATES,
    CostRates,
    PlanRequest,
    cost_table,
    culled_cost,
    full_cost,
    plan,
    projected_full_training_seconds,
)

DAY = 86_400
SIMPLE = CostRates(student_s=1, teacher_s=10, step_s=0.5, epochs=10, variants=1)  # 5 s for each frame trained on


@pytest.mark.parametrize(("target", "training_h", "total_h"), [(64, 0.07, 1.9), (128, 0.14, 2.0), (256, 0.28, 2.2)])
def test_culled_cost__reproduces_the_papers_table(target, training_h, total_h):
    training, student, teacher, total = culled_cost(DAY, PAPER_POOL, target, PAPER_RATES).hours()
    assert round(training, 2) == training_h
    assert round(student, 2) == 1.54
    assert round(teacher, 2) == 0.33
    assert total == pytest.approx(total_h, abs=0.06)  # the printed total of n=64, 1.9, is the sum of parts 1.94


def test_full_cost__reproduces_the_papers_full_data_set():
    training, student, teacher, total = full_cost(DAY, PAPER_RATES).hours()
    assert training == pytest.approx(96, rel=0.021)  # 94.1: the rate fits the rows of 64, 128 and 256 exactly
    assert teacher == pytest.approx(8, rel=0.01)
    assert student == 0
    assert total == pytest.approx(104, rel=0.02)


def test_speedup__is_the_papers_47_times():
    (row,) = cost_table(DAY, [256], PAPER_RATES, pool=PAPER_POOL)
    assert row.speedup == pytest.approx(47, abs=1)


def test_speedup__falls_as_the_pool_shrinks():
    day, clip = (cost_table(frames, [256], PAPER_RATES)[0].speedup for frames in (DAY, 3_600))
    assert day > 4 * clip > 4


def test_culled_cost__worked_by_hand():
    cost = culled_cost(100, 20, 4, SIMPLE)
    assert (cost.student_s, cost.teacher_s, cost.training_s, cost.total_s) == (100, 200, 20, 320)
    assert projected_full_training_seconds(100, SIMPLE) == 100 * 10 + 100 * 5
    with pytest.raises(ValueError, match="must fall, got 100, 4 and 20"):
        culled_cost(100, 4, 20, SIMPLE)


def test_cost_table__leaves_out_what_is_larger_than_the_footage():
    assert [(row.target, row.pool) for row in cost_table(100, [10, 50, 200], SIMPLE)] == [(10, 40), (50, 100)]


@pytest.mark.parametrize(
    ("budget_s", "frames", "pool", "target"),
    [
        pytest.param(1_000_000, 1000, 1000, 1000, id="more than enough: everything"),
        pytest.param(1900, 1000, 80, 20, id="1000 to score, 45 for each frame kept"),
        pytest.param(1899, 1000, 76, 19, id="a second less, a frame less"),
        pytest.param(1000, 280, 64, 16, id="too little to score all: score what is left after 16"),
    ],
)
def test_plan__worked_by_hand(budget_s, frames, pool, target):
    made = plan(PlanRequest(frames=1000, budget_s=budget_s), SIMPLE)
    assert (made.frames, made.pool, made.target) == (frames, pool, target)
    assert made.cost.total_s <= budget_s
    assert made.reason


def test_plan__a_hopeless_budget_says_what_would_do():
    # 16 frames: 64 labelled and scored, 64 * 11 + 16 * 5 = 784 s.
    with pytest.raises(ConfigError, match=r"budget of at least 13\.1 minutes to train on 16 frames, found 1\.7"):
        plan(PlanRequest(frames=1000, budget_s=100), SIMPLE)
    assert plan(PlanRequest(frames=1000, budget_s=784), SIMPLE).frames == 64


@given(st.integers(1, 5000), st.floats(1, 1e6), st.floats(1, 8))
def test_plan__never_costs_more_than_the_budget_and_falls(frames, budget_s, pool_factor):
    request = PlanRequest(frames=frames, budget_s=budget_s, pool_factor=pool_factor)
    try:
        made = plan(request, SIMPLE)
    except ConfigError:
        least = min(16, frames)
        pool = min(frames, max(least, round(pool_factor * least)))
        assert culled_cost(pool, pool, least, SIMPLE).total_s > budget_s - SIMPLE.student_s
        return
    assert made.cost.total_s <= budget_s * (1 + 1e-12)
    assert made.frames >= made.pool >= made.target >= 1


def test_plan_request__bounds_in_order():
    with pytest.raises(ValueError, match="least_target must not exceed most_target"):
        PlanRequest(frames=10, budget_s=1, least_target=20, most_target=10)
