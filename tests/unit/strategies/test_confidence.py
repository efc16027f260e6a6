"""The confidence loss, worked by hand (natural logarithm, Q = 3, b = 0.5 unless said)."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from builders import footage, frame, random_truth, scored, shuffled_boxes
from dataset_culling.errors import ConfigError
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.confidence import select
from dataset_culling.strategies.confidence_loss import ConfidenceConfig, confidence_loss, frame_loss
from dataset_culling.strategies.table import choose_frames, parse_options

BY_HAND = {  # score: as printed; as the released code has it (base 10, Q = 4)
    0.0: (1.000000, 1.000000),  # 0 + 1 * 1/2 + 1/2
    0.05: (1.436232, 1.247079),
    0.19: (1.889976, 1.491507),
    0.25: (1.961353, 1.523692),
    0.49: (1.864879, 1.423470),
    0.5: (1.850950, 1.413290),  # 0.5 * 0.693147 * 3 + 0.5 * 0.622459 + 0.5
    0.69: (1.474552, 1.151226),
    0.79: (1.203107, 0.967943),
    0.95: (0.682242, 0.620706),
    1.0: (0.500000, 0.500000),  # 0 + 0 + 1/2
}


@pytest.mark.parametrize(("score", "loss"), [(score, pair[0]) for score, pair in BY_HAND.items()])
def test_confidence_loss__as_printed(score, loss):
    assert confidence_loss(np.array([score]))[0] == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("score", "loss"), [(score, pair[1]) for score, pair in BY_HAND.items()])
def test_confidence_loss__as_released(score, loss):
    assert confidence_loss(np.array([score]), q=4, log_base="10")[0] == pytest.approx(loss, abs=1e-6)


def test_confidence_loss__b_of_minus_a_half_is_what_sets_the_intercept_to_zero():
    assert confidence_loss(np.array([0.0, 1.0]), b=-0.5).tolist() == [0.0, -0.5]
    assert confidence_loss(np.array([0.0, 1.0]), b=0.5).tolist() == [1.0, 0.5]


def test_confidence_loss__q_counts():
    # The released code passes Q past its own formula: every Q ranks alike there.
    low, high = confidence_loss(np.array([0.2]), q=1), confidence_loss(np.array([0.2]), q=9)
    assert high[0] - low[0] == pytest.approx(8 * 0.2 * 1.6094379, abs=1e-6)


def test_confidence_loss__base_two():
    assert confidence_loss(np.array([0.5]), q=1, b=0, log_base="2")[0] == pytest.approx(0.5 + 0.5 * 0.6224593)


@given(hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(0, 1, width=32)))
def test_confidence_loss__is_finite_and_hardest_in_the_middle(scores):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = confidence_loss(scores)
    assert losses.shape == scores.shape
    assert np.isfinite(losses).all()
    assert np.all((losses >= 0.5) & (losses <= confidence_loss(np.array([0.32]))[0] + 1e-4))


@pytest.mark.parametrize("bad", [-0.1, 1.5, np.nan])
def test_confidence_loss__refuses_what_is_no_probability(bad):
    with pytest.raises(ValueError, match=r"scores must lie in 0\.\.1"):
        confidence_loss(np.array([0.5, bad]))


@pytest.mark.parametrize(
    ("aggregation", "losses"),
    [
        pytest.param("sum", [1.864879 + 1.474552 + 1.203107 + 0.5, 0, 1.850950], id="the paper: every box adds"),
        pytest.param("mean", [(1.864879 + 1.474552 + 1.203107 + 0.5) / 4, 0, 1.850950], id="mean"),
        pytest.param("max", [1.864879, 0, 1.850950], id="max"),
    ],
)
def test_frame_loss__the_talks_frame_an_empty_one_and_a_lonely_box(aggregation, losses):
    frames = scored([0.49, 0.69, 0.79, 1.0, 0.19], [], [0.5])  # 0.19 scores below the floor of 0.2
    assert frame_loss(frames, ConfidenceConfig(aggregation=aggregation)) == pytest.approx(losses, abs=1e-5)


def test_frame_loss__floors():
    frames = footage(frame((0, 0.5, 0, 0, 10, 30), (0, 0.5, 0, 0, 30, 9), (0, 0.2, 0, 0, 40, 40)))
    assert frame_loss(frames) == pytest.approx(2 * 1.850950 + 1.905530, abs=1e-5)
    assert frame_loss(frames, ConfidenceConfig(min_side_px=10)) == pytest.approx(1.850950 + 1.905530, abs=1e-5)
    assert frame_loss(frames, ConfidenceConfig(min_side_px=10, min_score=0.3)) == pytest.approx(1.850950, abs=1e-5)
    assert frame_loss(frames, ConfidenceConfig(min_score=0.6)).tolist() == [0.0]


def test_frame_loss__class_weights():
    frames = footage(frame((0, 0.5, 0, 0, 9, 9), (1, 0.5, 0, 0, 9, 9)), frame((1, 0.5, 0, 0, 9, 9)))
    assert frame_loss(frames, ConfidenceConfig(class_weights={"car": 3})) == pytest.approx(
        [4 * 1.850950, 3 * 1.850950], abs=1e-5
    )
    with pytest.raises(ValueError, match="class_weights names bus, known classes are person, car"):
        frame_loss(frames, ConfidenceConfig(class_weights={"bus": 1}))


def test_frame_loss__per_class_divides_by_the_spread_over_frames():
    # person: losses 0.5 and 1 (two sure boxes) -> spread 0.25 -> 2 and 4; car: 0 and 0.5 -> spread 0.25 -> 0 and 2.
    sure = (1.0, 0, 0, 9, 9)
    frames = footage(frame((0, *sure)), frame((0, *sure), (0, *sure), (1, *sure)))
    assert frame_loss(frames, ConfidenceConfig(per_class=True)) == pytest.approx([2, 6])


def test_frame_loss__a_frame_not_scored_is_an_error_not_an_empty_one():
    frames = dataclasses.replace(scored([0.5], []), scored=np.array([True, False]))
    with pytest.raises(ValueError, match=r"frame 1 was not scored \(1 of 2 were not\)"):
        frame_loss(frames)


@given(st.integers(0, 2**32 - 1))
def test_frame_loss__the_order_of_boxes_changes_no_bit(seed):
    rng = np.random.default_rng(seed)
    frames = random_truth(rng, 10)
    for aggregation in ("sum", "mean", "max"):
        losses = frame_loss(frames, ConfidenceConfig(aggregation=aggregation))
        assert np.array_equal(
            losses, frame_loss(shuffled_boxes(rng, frames), ConfidenceConfig(aggregation=aggregation))
        )


@given(st.integers(0, 2**32 - 1), st.floats(-2, 2))
def test_frame_loss__b_counts_boxes_in_a_sum_and_ranks_nothing_in_a_mean(seed, b):
    frames = random_truth(np.random.default_rng(seed), 10)
    count = np.bincount(frames.frame_rows()[frames.scores >= np.float32(0.2)], minlength=10)
    assert frame_loss(frames, ConfidenceConfig(b=b)) == pytest.approx(
        frame_loss(frames, ConfidenceConfig(b=0)) + b * count, abs=1e-9
    )
    mean = frame_loss(frames, ConfidenceConfig(b=0, aggregation="mean"))
    assert frame_loss(frames, ConfidenceConfig(b=b, aggregation="mean")) == pytest.approx(
        mean + b * (count > 0), abs=1e-9
    )


def test_presets__released_and_what_overrides_it():
    released = ConfidenceConfig(preset="released")
    assert (released.q, released.log_base, released.min_score, released.min_side_px) == (4, "10", 0.5, 20)
    assert released.per_class
    assert ConfidenceConfig(preset="released", q=9).q == 9
    assert ConfidenceConfig.model_validate(released.model_dump()) == released
    assert ConfidenceConfig(preset="paper").min_score == 0.2


def test_options__a_typo_names_itself():
    with pytest.raises(
        ConfigError, match=r"options of confidence: 'agregation' is an unknown key. Did you mean 'aggreg"
    ):
        parse_options({"confidence": {"agregation": "sum"}})
    with pytest.raises(ConfigError, match="Did you mean 'confidence'"):
        parse_options({"confidense": {}})


def test_select__says_why():
    pool = CullInput(scored([1.0], [0.5, 0.9], []))
    kept = select(pool, budget=3, rng=np.random.default_rng(0), config=ConfidenceConfig())
    assert kept.frame_ids.tolist() == [1, 0, 2]
    assert kept.reasons == ("unsure: 2 boxes, first person 0.50", "unsure: 1 box, first person 1.00", "unsure: no box")


def test_select__a_crowd_of_sure_boxes_outranks_one_doubt_only_in_the_sum():
    frames = CullInput(scored([1.0] * 5, [0.4]))  # 5 * 0.5 = 2.5 against 1.93
    assert choose_frames("confidence", frames, budget=1).frame_ids.tolist() == [0]
    mean = choose_frames("confidence", frames, budget=1, options={"aggregation": "mean"})
    assert mean.frame_ids.tolist() == [1]
