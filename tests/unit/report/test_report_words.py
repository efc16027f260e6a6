"""Figures as people read them."""

from __future__ import annotations

import pytest

from dataset_culling.report import words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1 min"), (155, "2 min 35 s"), (3600, "1 h"),
     (5000, "1 h 23 min"), (7199, "2 h"), (172_800, "2.0 days")],
)  # fmt: skip
def test_duration__two_units_at_most(seconds, text):
    assert words.duration(seconds) == text


def test_clock__wall_clock_where_the_start_is_known():
    assert words.clock(3725.4) == "1:02:05"
    assert words.clock(3725.4, "2026-11-20T22:59:00Z") == "00:01:05"
    assert words.clock(5, "yesterday") == "0:00:05"


def test_signed_points__says_the_direction():
    assert words.signed_points(0.307) == "+30.7"
    assert words.signed_points(-0.0123) == "−1.2"


def test_times__fewer_digits_for_larger_ratios():
    assert [words.times(ratio) for ratio in (0.613, 3.21, 47.3, 1234.0)] == ["0.61×", "3.2×", "47×", "1,234×"]


def test_counted__one_is_singular():
    assert (words.counted(1, "shards"), words.counted(1200, "teacher_boxes")) == ("1 shard", "1,200 teacher boxes")
