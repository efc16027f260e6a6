"""An evaluation as flat metrics: by hour, on empty frames, and with intervals."""

from __future__ import annotations

import numpy as np
import pytest

from builders import footage, frame, random_truth, seen_badly
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.evaluation.flat_metrics import for_serving, intervals, metric_name, quality

HERE, THERE = (0, 1.0, 0, 0, 50, 50), (0, 1.0, 100, 100, 150, 150)


def two_hours():
    """Right in the first hour, wrong in the second, and a false alarm on the empty frame at its end."""
    times = [0.0, 1800.0, 3600.0, 5400.0, 7000.0]
    truth = footage(*(frame(HERE) for _ in range(4)), frame(), time_s=times)
    found = footage(frame(HERE), frame(HERE), frame(THERE), frame(THERE), frame(HERE), time_s=times)
    return found, truth


def test_quality__by_hour_since_the_beginning_where_no_clock_is_known():
    figures = quality(*two_hours(), "trained", start_utc="")
    assert figures["elapsed_hour_00_map_50_trained"] == pytest.approx(1)
    assert figures["elapsed_hour_01_map_50_trained"] == 0
    assert not [name for name in figures if name.startswith("hour_")]


def test_quality__by_hour_of_day_across_midnight():
    figures = quality(*two_hours(), "raw", start_utc="2024-05-01T23:30:00+00:00")
    # 23:30 | 00:00, 00:30 | 01:00, 01:26
    assert figures["hour_23_map_50_raw"] == pytest.approx(1)
    assert 0 < figures["hour_00_map_50_raw"] < 1
    assert figures["hour_01_map_50_raw"] == 0


def test_quality__false_alarms_on_empty_frames():
    figures = quality(*two_hours(), "trained", start_utc="")
    assert figures["false_positives_per_empty_frame_trained"] == 1
    found, truth = footage(frame(HERE)), footage(frame(HERE))
    assert "false_positives_per_empty_frame_trained" not in quality(found, truth, "trained", start_utc="")


def test_intervals__hold_the_figure_and_tell_a_gain_from_none():
    rng = np.random.default_rng(5)
    truth = random_truth(rng, 200, boxes_per_frame=3)
    raw, trained = seen_badly(rng, truth, missed_share=0.6), seen_badly(rng, truth, missed_share=0.1)
    figures = intervals({"raw": raw, "trained": trained, "champion": trained}, truth, resamples=50, suffix="_truth")
    for name, boxes in (("raw", raw), ("trained", trained)):
        assert figures[f"low_95_map_50_{name}_truth"] < evaluate(boxes, truth).map_50
        assert figures[f"high_95_map_50_{name}_truth"] > evaluate(boxes, truth).map_50
    gain = evaluate(trained, truth).map_50 - evaluate(raw, truth).map_50
    assert figures["gain_map_50_truth"] == pytest.approx(gain, abs=1e-9)
    assert 0 < figures["low_95_gain_map_50_truth"] < gain < figures["high_95_gain_map_50_truth"]
    assert figures["gain_over_champion_map_50_truth"] == figures["low_95_gain_over_champion_map_50_truth"] == 0


@pytest.mark.parametrize("resamples", [0, 20])
def test_intervals__only_the_gain_where_nothing_more_can_be_said(resamples):
    one = footage(frame(HERE))
    assert intervals({"raw": one, "trained": one}, one, resamples=resamples) == {"gain_map_50": 0.0}


def test_metric_name__is_lower_case_with_underscores():
    assert metric_name("Traffic light") == "traffic_light"


def test_for_serving__thresholds_and_the_usual_size():
    names = ("pick-up truck", "car")
    truth = footage(*(frame(HERE) for _ in range(10)), class_names=names)
    right = [frame((0, 0.6 + row / 100, *HERE[2:])) for row in range(9)]
    found = footage(*right, frame((0, 0.3, *THERE[2:]), (1, 0.9, *HERE[2:])), class_names=names)
    figures = for_serving(found, truth, np.array([720] * 6 + [480] * 4), np.array([1280] * 6 + [640] * 4), floor=0.05)
    # The nine right ones and not the false one; nothing tells about cars: there are none.
    assert figures == {
        "frame_height_px": 720,
        "frame_width_px": 1280,
        "score_threshold_pick_up_truck": pytest.approx(0.45),
    }
