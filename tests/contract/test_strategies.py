"""The contract of every strategy in the table: alone, as the first cull, and as the second."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import dataset_culling.strategies
from builders import footage, frame, random_truth, seen_badly, shuffled_boxes
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.table import STRATEGIES, choose_frames
from dataset_culling.types import Selection

NAMES = list(STRATEGIES)
BUDGETED = [name for name in NAMES if name != "full"]
FOLDER = Path(dataset_culling.strategies.__file__).parent
CARD_SECTIONS = ("## Formula", "## Source", "## Cost", "## When it fails")


def a_pool(seed: int = 0, num_frames: int = 120) -> CullInput:
    """Frames with equal losses among them: coarse scores, empty frames, the same boxes twice."""
    rng = np.random.default_rng(seed)
    teacher = random_truth(rng, num_frames, boxes_per_frame=2, grid=50, ignored_share=0.1)
    return CullInput(seen_badly(rng, teacher, grid=50), teacher)


def same(one: Selection, other: Selection) -> bool:
    return (
        one.frame_ids.tolist() == other.frame_ids.tolist()
        and one.loss.tobytes() == other.loss.tobytes()
        and one.reasons == other.reasons
    )


def test_table__holds_the_ablation():
    ablation = {
        "full", "uniform", "random", "entropy", "least-confidence", "margin", "confidence", "precision",
        "confidence+precision", "top-confidence", "coverage",
    }  # fmt: skip
    assert ablation <= set(STRATEGIES)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_strategy__has_a_folder_with_code_and_a_card(name):
    folder = FOLDER / STRATEGIES[name].folder
    assert (folder / "__init__.py").is_file()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    assert [section for section in CARD_SECTIONS if section not in card] == []


def test_strategy__keeps_the_budget_and_chooses_frames_of_the_pool_once(name):
    pool = a_pool()
    for budget in (1, 7, 119, 120, 500):
        kept = choose_frames(name, pool, budget=budget).frame_ids
        wanted = len(pool) if STRATEGIES[name].keeps_all else min(budget, len(pool))
        assert len(set(kept.tolist())) == len(kept)
        assert set(kept.tolist()) <= set(pool.detections.frame_ids.tolist())
        if name == "coverage":  # frames whose labels are doubtful are left out
            assert len(kept) <= wanted
            assert len(kept) == wanted or budget >= 119
        else:
            assert len(kept) == wanted


def test_strategy__gives_equal_inputs_equal_choices(name):
    first = choose_frames(name, a_pool(), budget=20, min_gap_s=1.5, seed=4)
    assert same(first, choose_frames(name, a_pool(), budget=20, min_gap_s=1.5, seed=4))


def test_strategy__leaves_global_chance_alone(name):
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    choose_frames(name, a_pool(), budget=10)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("seed", range(5))
def test_strategy__forgets_the_order_of_boxes(name, seed):
    pool, rng = a_pool(seed), np.random.default_rng(seed)
    labels = shuffled_boxes(rng, pool.require_labels())
    mixed = CullInput(shuffled_boxes(rng, pool.detections), labels)
    assert same(choose_frames(name, pool, budget=20), choose_frames(name, mixed, budget=20))


@pytest.mark.parametrize("name", BUDGETED)
def test_strategy__keeps_the_gap(name):
    pool = a_pool()
    kept = choose_frames(name, pool, budget=25, min_gap_s=3.0)
    times = np.sort(pool.time_s[pool.detections.rows_of(kept.frame_ids)])
    assert len(kept) > 10
    assert np.diff(times).min() >= 3


def test_strategy__changes_nothing_it_was_given(name):
    pool, untouched = a_pool(), a_pool()
    choose_frames(name, pool, budget=20)
    for boxes, before in ((pool.detections, untouched.detections), (pool.labels, untouched.labels)):
        for field in dataclasses.fields(boxes):
            assert np.array_equal(getattr(boxes, field.name), getattr(before, field.name)), field.name


def test_strategy__losses_fall_along_the_ranking(name):
    kept = choose_frames(name, a_pool(), budget=30)
    assert np.isfinite(kept.loss).all()
    assert np.all(np.diff(kept.loss) <= 0)
    assert all(kept.reasons)


def test_strategy__nothing_to_choose_from(name):
    nothing = footage()
    assert len(choose_frames(name, CullInput(nothing, nothing), budget=5)) == 0


def test_strategy__nothing_in_any_frame(name):
    empty = footage(*[frame()] * 4)
    kept = choose_frames(name, CullInput(empty, empty), budget=3)
    assert len(kept) == (4 if STRATEGIES[name].keeps_all else 3)
    assert kept.loss.tolist() == [0.0] * len(kept)


@pytest.mark.parametrize("name", BUDGETED)
def test_strategy__refuses_a_budget_of_nothing(name):
    with pytest.raises(ValueError, match="budget must be at least 1, got 0"):
        choose_frames(name, a_pool(), budget=0)


def test_strategy__says_that_it_needs_labels(name):
    unlabelled = CullInput(a_pool().detections)
    if STRATEGIES[name].needs_labels:
        with pytest.raises(ValueError, match="the pool has none"):
            choose_frames(name, unlabelled, budget=5)
    else:
        assert len(choose_frames(name, unlabelled, budget=5)) in (5, len(unlabelled))


@pytest.mark.parametrize("first", NAMES)
def test_strategy__can_be_the_second_cull_after_any_first(name, first):
    pool = a_pool()
    wide = choose_frames(first, pool, budget=60)
    rows = np.sort(pool.detections.rows_of(wide.frame_ids))
    kept = choose_frames(name, pool.take(rows), budget=10)
    assert set(kept.frame_ids.tolist()) <= set(wide.frame_ids.tolist())
    assert len(kept) == (len(wide) if STRATEGIES[name].keeps_all else 10)


def test_two_stages__are_one_composition():
    pool = a_pool()
    first = choose_frames("confidence", pool, budget=40)
    rows = np.sort(pool.detections.rows_of(first.frame_ids))
    assert same(
        choose_frames("precision", pool.take(rows), budget=10), choose_frames("confidence+precision", pool, budget=10)
    )
