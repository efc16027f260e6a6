"""Block bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame, random_truth, seen_badly
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.evaluation.interval import (
    _weighted_map,
    map_50_gain_interval,
    map_50_interval,
    match_all,
    suggest_block_s,
)
from dataset_culling.types import Detections


@pytest.fixture
def seen() -> tuple[Detections, Detections]:
    rng = np.random.default_rng(1)
    truth = random_truth(rng, 200, boxes_per_frame=3, ignored_share=0.1)
    return seen_badly(rng, truth), truth


def test_map_50_interval__its_value_is_the_map_itself(seen):
    found, truth = seen
    interval = map_50_interval(found, truth, block_s=10, rng=np.random.default_rng(0), resamples=50)
    assert interval.value == pytest.approx(evaluate(found, truth).map_50, abs=1e-12)
    assert interval.low < interval.value < interval.high
    assert interval.num_blocks == 20


def test_map_50_interval__equal_seeds_give_equal_intervals(seen):
    one, other = (map_50_interval(*seen, block_s=10, rng=np.random.default_rng(3), resamples=20) for _ in range(2))
    assert one == other


def repeated(boxes: Detections, times: np.ndarray) -> Detections:
    """Frame n of `boxes`, `times[n]` times."""
    rows = np.repeat(np.arange(len(boxes)), times)
    return Detections.from_images(
        [boxes.image(int(row)) for row in rows],
        frame_ids=np.arange(len(rows)),
        time_s=np.arange(float(len(rows))),
        class_names=boxes.class_names,
    )


def test_weighted_map__is_that_of_frames_really_repeated():
    rng = np.random.default_rng(2)
    truth = random_truth(rng, 40, boxes_per_frame=3)
    found = seen_badly(rng, truth)
    times = rng.integers(0, 4, 40)
    half = np.array([0.5])
    weighted = _weighted_map(match_all(found, truth, ious=half, areas=("all",)), times, len(truth.class_names))
    assert weighted == pytest.approx(evaluate(repeated(found, times), repeated(truth, times)).map_50, abs=1e-12)


def test_map_50_interval__frames_of_one_block_are_one_draw():
    # Two scenes of 50 equal frames, one all right, one all wrong: certain by frames, by blocks anything but.
    box, empty = frame((0, 0.9, 0, 0, 9, 9)), frame()
    truth, found = footage(*[box] * 100), footage(*[box] * 50, *[empty] * 50)
    as_frames, as_blocks = (
        map_50_interval(found, truth, block_s=block_s, rng=np.random.default_rng(0)) for block_s in (1, 50)
    )
    assert as_frames.high - as_frames.low < 0.25
    assert (as_blocks.low, as_blocks.high) == (0, pytest.approx(1))


def test_map_50_gain_interval__is_sharper_than_two_intervals(seen):
    found, truth = seen
    better = truth.keep_boxes(~truth.ignore)
    gain = map_50_gain_interval(found, better, truth, block_s=10, rng=np.random.default_rng(0), resamples=50)
    assert gain.value == pytest.approx(1 - evaluate(found, truth).map_50, abs=1e-9)
    assert gain.low > 0.2
    none = map_50_gain_interval(found, found, truth, block_s=10, rng=np.random.default_rng(0), resamples=50)
    assert (none.value, none.low, none.high) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"block_s": 1e6}, "at least two blocks of 1e\\+06 s are needed, got 1", id="one block"),
        pytest.param({"block_s": 0.0}, "block_s must be above 0", id="no length"),
        pytest.param({"block_s": 10.0, "confidence": 1.0}, "confidence must lie between 0 and 1", id="certainty"),
        pytest.param({"block_s": 10.0, "resamples": 0}, "resamples must be at least 1", id="no draw"),
    ],
)
def test_map_50_interval__refuses(seen, arguments, message):
    with pytest.raises(ValueError, match=message):
        map_50_interval(*seen, rng=np.random.default_rng(0), **arguments)


def test_suggest_block_s__about_twenty_blocks():
    assert suggest_block_s(np.arange(0.0, 201)) == 10
    assert suggest_block_s(np.zeros(1)) == suggest_block_s(np.zeros(0)) == 1
