"""Segments on one time axis: gaps, overlaps, samples."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dataset_culling.footage.index import PacketIndex
from dataset_culling.footage.probe import VideoInfo
from dataset_culling.footage.timeline import choose, lay_out, missing_stretches, overlaps

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)


def index_of(time_s: Sequence[float]) -> PacketIndex:
    count = len(time_s)
    starts = np.arange(0, count, 10)
    return PacketIndex(
        time_s=np.array(time_s, np.float64),
        pts=np.round(np.array(time_s) * 1000).astype(np.int64),
        shown=np.ones(count, np.bool_),
        starts=starts,
        start_position=starts,
        broken=np.zeros(0, np.int64),
        timed=True,
        read_errors=0,
        restarts=0,
    )


def segments(*parts: tuple[float | None, Sequence[float]], promised_s: float = 0):
    """Segments that start at so many seconds after midnight, or right after the one before where that is None."""
    infos = [
        VideoInfo(Path(f"{n}.mp4"), "mp4", "h264", 8, 8, 0, 1.0, 10.0, promised_s, None) for n in range(len(parts))
    ]
    starts = [None if start is None else MIDNIGHT + timedelta(seconds=start) for start, _ in parts]
    return lay_out(infos, [index_of(time_s) for _, time_s in parts], starts)


TEN_S = np.arange(100) / 10


def test_lay_out__by_wall_clock_or_one_after_another() -> None:
    assert [s.start_s for s in segments((100, TEN_S), (130, TEN_S))] == [0, 30]
    assert [s.start_s for s in segments((None, TEN_S), (None, TEN_S))] == [0, pytest.approx(10)]


def test_missing_stretches__between_files_and_inside_one() -> None:
    inside = np.concatenate([TEN_S, TEN_S + 60])
    found = missing_stretches(segments((0, TEN_S), (15, inside)))
    np.testing.assert_allclose(found, [(10, 15), (25, 75)], atol=1e-9)


def test_missing_stretches__slow_cameras_are_not_full_of_holes() -> None:
    assert missing_stretches(segments((0, np.arange(20) * 5.0))) == []


def test_overlaps__found_and_rounding_is_none() -> None:
    found = overlaps(segments((0, TEN_S), (8, TEN_S), (17.95, TEN_S)))
    np.testing.assert_allclose(found, [(8, 10)], atol=1e-9)


def test_choose__one_grid_over_all_files() -> None:
    samples = choose(segments((0, TEN_S), (12.5, TEN_S)), frames_per_second=0.5, keyframe_slack_s=0)
    np.testing.assert_allclose(samples.time_s, [0, 2, 4, 6, 8, 12.5, 14, 16, 18, 20, 22], atol=1e-9)
    assert samples.segment.tolist() == [0] * 5 + [1] * 6


def test_choose__where_files_overlap_the_earlier_one_is_believed() -> None:
    samples = choose(segments((0, TEN_S), (8, TEN_S)), frames_per_second=1, keyframe_slack_s=0)
    np.testing.assert_allclose(samples.time_s, np.arange(18), atol=1e-9)
    assert samples.segment.tolist() == [0] * 10 + [1] * 8


def test_choose__frames_within_a_millisecond_are_one() -> None:
    samples = choose(segments((0, [0, 0.0101, 0.0103, 0.02])), frames_per_second=1000, keyframe_slack_s=0)
    ids = np.rint(samples.time_s * 1000)
    assert np.all(np.diff(ids) > 0)


def test_segment__truncated_by_more_than_a_second() -> None:
    assert segments((0, TEN_S), promised_s=30)[0].truncated_s == pytest.approx(20)
    assert segments((0, TEN_S), promised_s=10.5)[0].truncated_s == 0
