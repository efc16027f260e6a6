"""optResolution's arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame
from dataset_culling.resolution.scale import (
    choose_scale,
    choose_scale_by_ap,
    choose_scale_per_bucket,
    hour_buckets,
    relative_change,
    scale_steps,
    sides_to_try,
    size_buckets,
    squared_change,
)

FULL = np.array([3.0, 4.0])
LOSSES = {1.0: FULL, 0.9: np.array([3.0, 3.0]), 0.81: np.array([1.0, 4.0]), 0.729: np.array([3.0, 4.0])}
# changes: 0, 1 / 25, 4 / 25, 0


class Tried:
    """Losses at a scale, and which scales were asked for."""

    def __init__(self) -> None:
        self.scales: list[float] = []

    def __call__(self, scale: float) -> np.ndarray:
        self.scales.append(scale)
        return LOSSES[scale]


def test_squared_change__is_the_sum_that_the_paper_prints_as_mse():
    assert squared_change(FULL, np.array([1.0, 1.0])) == 2**2 + 3**2
    assert squared_change(np.tile(FULL, 10), np.tile([1.0, 1.0], 10)) == 130  # it grows with the number of frames


def test_relative_change__has_no_scale():
    for times, frames in ((1, 1), (7, 1), (1, 10), (7, 10)):
        full, loss = times * np.tile(FULL, frames), times * np.tile([3.0, 3.0], frames)
        assert relative_change(full, loss) == pytest.approx(1 / 25)


def test_relative_change__nothing_to_be_unsure_of():
    assert relative_change(np.zeros(2), np.zeros(2)) == 0
    assert relative_change(np.zeros(2), np.ones(2)) > 1e300
    assert relative_change(np.zeros(0), np.zeros(0)) == 0


def test_relative_change__other_frames_are_refused():
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(1,\)"):
        relative_change(FULL, np.zeros(1))


@pytest.mark.parametrize(
    ("threshold", "chosen", "tried"),
    [
        pytest.param(0.0, 1.0, [1.0, 0.9], id="stops at the first above"),
        pytest.param(0.05, 0.9, [1.0, 0.9, 0.81], id="and looks no further, though 0.729 would do"),
        pytest.param(4 / 25, 0.729, [1.0, 0.9, 0.81, 0.729], id="a change equal to the threshold does not exceed it"),
    ],
)
def test_choose_scale__recursion(threshold, chosen, tried):
    asked = Tried()
    choice = choose_scale(asked, list(LOSSES), threshold=threshold)
    assert choice.scale == chosen
    assert asked.scales == list(choice.scales) == tried
    assert choice.changes == pytest.approx([0, 1 / 25, 4 / 25, 0][: len(tried)])


def test_choose_scale__the_whole_curve_changes_the_choice_not():
    choice = choose_scale(Tried(), list(LOSSES), threshold=0.05, whole_curve=True)
    assert (choice.scale, choice.scales) == (0.9, tuple(LOSSES))


@pytest.mark.parametrize("scales", [[], [1.0, 1.0], [0.9, 1.0]])
def test_choose_scale__scales_must_fall(scales):
    with pytest.raises(ValueError, match="scales must fall"):
        choose_scale(Tried(), scales, threshold=0.1)


def test_scale_steps__both_ways():
    assert scale_steps(0.5, down=2, up=1) == [2, 1, 0.5, 0.25]
    assert scale_steps(0.9, down=7)[-1] == pytest.approx(0.4783, abs=1e-4)
    with pytest.raises(ValueError, match="factor"):
        scale_steps(1.0, down=1)
    with pytest.raises(ValueError, match="not be negative"):
        scale_steps(0.9, down=-1)


@pytest.mark.parametrize(
    ("ap", "tolerance", "chosen"),
    [
        pytest.param([0.5, 0.5, 0.5, 0.5], 0.01, 0.5, id="all alike: the smallest"),
        pytest.param([0.5, 0.7, 0.69, 0.6], 0.01, 0.8, id="within the tolerance of the best"),
        pytest.param([0.5, 0.7, 0.69, 0.6], 0.0, 1.0, id="the best alone"),
        pytest.param([0.8, 0.7, 0.69, 0.6], 0.05, 1.25, id="a larger image can be better"),
        pytest.param([0.5, 0.6, 0.5, 0.9], 0.05, 0.5, id="and so can a smaller one"),
    ],
)
def test_choose_scale_by_ap__looks_both_ways(ap, tolerance, chosen):
    assert choose_scale_by_ap([1.25, 1.0, 0.8, 0.5], np.array(ap), tolerance=tolerance) == chosen


def test_choose_scale_by_ap__minus_one_is_no_ap():
    with pytest.raises(ValueError, match=r"ap must lie in 0\.\.1"):
        choose_scale_by_ap([1.0, 0.9], np.array([0.5, -1.0]))
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        choose_scale_by_ap([1.0, 0.9], np.array([0.5]))


def test_choose_scale_per_bucket__night_and_day_differ():
    losses = np.array([[2.0, 2.0, 5.0], [2.0, 2.0, 1.0], [2.1, 2.0, 0.0]])
    chosen = choose_scale_per_bucket(losses, [1.0, 0.9, 0.81], np.array([0, 0, 7]), threshold=0.05)
    assert chosen == {0: 0.81, 7: 1.0}
    with pytest.raises(ValueError, match=r"losses must have shape \(2, 3\)"):
        choose_scale_per_bucket(losses, [1.0, 0.9], np.array([0, 0, 7]), threshold=0.05)


def test_sides_to_try__limits_of_the_detector():
    def multiples_of_32_from_64_to_352(side: int) -> int:
        return min(max(-(-side // 32) * 32, 64), 352)

    sides = sides_to_try(288, 0.9, multiples_of_32_from_64_to_352, down=4, up=3)
    # wanted 395, 356, 320; 259, 233, 210, 189: 259 becomes 288 again, which is no step
    assert sides == {1.222222: 352, 1.111111: 320, 1.0: 288, 0.888889: 256, 0.777778: 224, 0.666667: 192}
    assert sides_to_try(288, 0.9, lambda side: 288, down=4, up=3) == {1.0: 288}  # a fixed input
    assert sides_to_try(288, 0.9, lambda side: side, down=0) == {1.0: 288}


def test_hour_buckets__hours_of_the_footage():
    bucket, names = hour_buckets(np.array([0.0, 3599.9, 3600.0, 86400.0 + 7200.0]))
    assert [names[one] for one in bucket] == ["hour 00", "hour 00", "hour 01", "hour 02"]


def test_size_buckets__median_side_against_coco_bounds():
    small, exactly, large = (0, 0.9, 0, 0, 31, 31), (0, 0.9, 0, 0, 32, 32), (0, 0.9, 0, 0, 96, 96)
    unsure = (0, 0.1, 0, 0, 500, 500)
    boxes = footage(frame(), frame(small, unsure), frame(exactly), frame(large), frame(small, large, small))
    bucket, names = size_buckets(boxes, min_score=0.2)
    assert [names[one].split()[0] for one in bucket] == ["empty", "small", "medium", "large", "small"]
