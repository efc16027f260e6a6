"""Coverage: each of its rules alone, then the strategy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import footage, frame, random_truth, seen_badly
from dataset_culling.errors import ConfigError
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.coverage import embed, layout_embedding, share_out
from dataset_culling.strategies.table import choose_frames
from dataset_culling.types import Detections, ImageDetections

ALONE = {"random_share": 0.0, "empty_share": 0.0, "rare_share": 0.0, "hardest_tail_share": 0.0}


def person(x: float, score: float = 0.5) -> ImageDetections:
    return frame((0, score, x, 0, x + 10, 10))


def kept(pool: CullInput, budget: int, *, min_gap_s: float = 0.0, **options: object) -> list[int]:
    chosen = choose_frames("coverage", pool, budget=budget, min_gap_s=min_gap_s, options={**ALONE, **options})
    return sorted(chosen.frame_ids.tolist())


@pytest.mark.parametrize(
    ("have", "most", "places"),
    [
        pytest.param([10, 10], 4, [2, 2], id="evenly"),
        pytest.param([1, 10], 6, [1, 5], id="what one cannot use goes to the others"),
        pytest.param([3, 9, 5], 2, [0, 1, 1], id="too few for all: to those that have most"),
        pytest.param([2, 1], 9, [2, 1], id="never more than there is"),
        pytest.param([0, 4], 2, [0, 2], id="nothing to an empty stratum"),
    ],
)
def test_share_out__worked_by_hand(have, most, places):
    assert share_out(np.array(have), most).tolist() == places


@given(st.lists(st.integers(0, 50), min_size=1, max_size=24), st.integers(0, 200))
def test_share_out__adds_up_and_is_fair(have, most):
    places = share_out(np.array(have), most)
    assert places.sum() == min(most, sum(have))
    assert np.all(places <= have)
    open_still = places < np.array(have)
    assert not open_still.any() or places.max() - places[open_still].min() <= 1


def test_covering__takes_what_is_unlike_before_what_is_alike():
    # Frames 0..3 show the hard thing at the left, frame 4 an easier one at the right.
    pool = CullInput(footage(*[person(0, 0.4)] * 4, person(500, 0.9)))
    assert kept(pool, 2) == [0, 4]
    assert choose_frames("confidence", pool, budget=2).frame_ids.tolist() == [0, 1]


def test_covering__uses_the_students_features():
    alike = footage(*[person(0)] * 4)
    pool = CullInput(dataclasses.replace(alike, features=np.array([[1.0, 0], [1, 0], [0, 1], [1, 0]])))
    assert kept(pool, 2) == [0, 2]


def test_strata__every_hour_has_its_share():
    # Ten hard frames in the first hour, two easier ones in the fourth.
    times = [float(k) for k in range(10)] + [4 * 3600.0, 4 * 3600.0 + 1]
    pool = CullInput(footage(*[person(0, 0.4)] * 10, *[person(0, 0.9)] * 2, time_s=times))
    assert sum(frame_id >= 10 for frame_id in kept(pool, 4)) == 2


def test_trust__frames_whose_teacher_doubts_are_left_out():
    student = footage(*[frame()] * 3)
    teacher = footage(*[frame((0, 0.9, 0, 0, 9, 9), (0, 0.4, 20, 0, 29, 9))] * 3, ignore=[0, 1, 3])
    pool = CullInput(student, teacher)
    assert kept(pool, 3) == [1, 2]  # both boxes of frame 0 are doubtful, one of frame 1
    assert kept(pool, 3, max_doubtful_share=0.4) == [2]


def test_tail__the_hardest_come_last():
    pool = CullInput(footage(*[person(0, score) for score in (0.32, 0.6, 0.7, 0.8)]))
    assert kept(pool, 1) == [0]
    assert kept(pool, 1, hardest_tail_share=0.25) == [1]
    assert kept(pool, 4, hardest_tail_share=0.25) == [0, 1, 2, 3]  # but they do come


def test_quotas__empty_random_and_rare():
    empty, car = frame(), frame((1, 0.99, 0, 0, 10, 10))
    pool = CullInput(footage(*[person(0)] * 30, car, *[empty] * 9))
    chosen = choose_frames(
        "coverage", pool, budget=10, seed=3, options={"rare_share": 0.1, "empty_share": 0.2, "random_share": 0.2}
    )
    reasons = dict(zip(chosen.frame_ids.tolist(), chosen.reasons, strict=True))
    assert reasons[30] == "rare class car"
    assert sum(reason == "empty, random" for reason in reasons.values()) == 2
    assert sum(reason == "random" for reason in reasons.values()) == 2
    assert len(chosen) == 10


def test_quotas__more_than_everything_is_refused():
    with pytest.raises(ConfigError, match=r"must add up to 1 at most, found 1\.3"):
        choose_frames("coverage", CullInput(footage(person(0))), budget=1, options={"random_share": 0.9,
                      "rare_share": 0.4, "empty_share": 0.0})  # fmt: skip


def test_gap__holds_across_all_rules():
    rng = np.random.default_rng(0)
    teacher = random_truth(rng, 200, boxes_per_frame=1.5)
    pool = CullInput(seen_badly(rng, teacher), teacher)
    chosen = choose_frames("coverage", pool, budget=30, min_gap_s=3.0)
    times = np.sort(pool.time_s[pool.detections.rows_of(chosen.frame_ids)])
    assert len(chosen) == 30
    assert np.diff(times).min() >= 3


def test_hardness__as_asked():
    # The student is unsure of frame 0 and right; sure of frame 1 and wrong.
    student, teacher = footage(person(0, 0.4), person(0, 1.0)), footage(person(0), person(300))
    pool = CullInput(student, teacher)
    assert kept(pool, 1) == kept(pool, 1, hardness="precision") == [1]
    assert kept(pool, 1, hardness="confidence") == [0]
    with pytest.raises(ValueError, match="the pool has none"):
        kept(CullInput(student), 1, hardness="precision")


def test_layout_embedding__tells_class_place_and_size():
    def apart(first: ImageDetections, second: ImageDetections) -> float:
        corners = frame((0, 0.1, -200, -200, -190, -190), (0, 0.1, 800, 800, 810, 810))
        one, other, _ = layout_embedding(footage(first, second, corners))
        return float(np.abs(one - other).sum())

    here = frame((0, 0.5, 0, 0, 20, 20))
    assert apart(here, frame((0, 0.5, 1, 1, 21, 21))) == 0
    assert apart(here, frame((1, 0.5, 0, 0, 20, 20))) > 1
    assert apart(here, frame((0, 0.5, 500, 0, 520, 20))) > 1
    assert apart(here, frame((0, 0.5, -40, -40, 60, 60))) > 1
    assert layout_embedding(footage(frame(), frame())).shape == (2, 2 * 48)


def test_embed__has_length_one_or_nothing():
    features = embed(CullInput(footage(person(0), frame(), person(400))))
    assert np.linalg.norm(features, axis=1) == pytest.approx([1, 0, 1])


def test_cull_input__refuses_what_does_not_belong_together():
    two: Detections = footage(person(0), frame())
    with pytest.raises(ValueError, match=r"features must have shape \(2, 4\), got \(3, 4\)"):
        dataclasses.replace(two, features=np.zeros((3, 4)))
    with pytest.raises(ValueError, match="same frames, got 2 and 1"):
        CullInput(two, footage(person(0)))
    with pytest.raises(ValueError, match="frame 1 was not scored"):
        CullInput(dataclasses.replace(two, scored=np.array([True, False])))
