"""Times, keyframes and clocks of real files, without decoding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_culling.footage.index import index_packets
from video_files import concatenate, truncate, write_video


def test_index_packets__constant_rate(tmp_path: Path) -> None:
    index = index_packets(write_video(tmp_path / "a.mp4", num_frames=60, gop=20))
    np.testing.assert_allclose(index.time_s, np.arange(60) / 25, atol=1e-4)
    assert index.starts.tolist() == [0, 20, 40]
    assert index.timed
    assert (index.restarts, index.read_errors) == (0, 0)


def test_index_packets__b_frames_are_in_decode_order_with_presentation_times(tmp_path: Path) -> None:
    index = index_packets(write_video(tmp_path / "a.mp4", num_frames=60, b_frames=2))
    assert np.any(np.diff(index.time_s) < 0)
    np.testing.assert_allclose(np.sort(index.time_s), np.arange(60) / 25, atol=1e-4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_index_packets__variable_rate(tmp_path: Path, suffix: str) -> None:
    times_s = np.cumsum([0, 0.04, 0.5, 0.04, 1.2, 0.04, 0.3, 2.0, 0.04])
    index = index_packets(write_video(tmp_path / f"a{suffix}", times_s=times_s.tolist(), b_frames=1))
    np.testing.assert_allclose(np.sort(index.time_s), times_s, atol=1e-3)
    assert index.restarts == 0


def test_index_packets__clock_that_restarts_runs_on(tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.ts", num_frames=50, b_frames=2)
    index = index_packets(concatenate(tmp_path / "two.ts", [part, part]))
    assert index.restarts == 1
    np.testing.assert_allclose(np.sort(index.time_s), np.arange(100) / 25, atol=1e-3)


def test_index_packets__avi_that_lost_its_index_has_one_sure_keyframe(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.avi", codec="msmpeg4", num_frames=100, gop=20)
    assert len(index_packets(whole).starts) == 5
    assert index_packets(truncate(whole, 0.6)).starts.tolist() == [0]


def test_index_packets__raw_stream_has_the_nominal_rate(tmp_path: Path) -> None:
    index = index_packets(write_video(tmp_path / "a.h264", num_frames=50))
    assert not index.timed
    np.testing.assert_allclose(index.time_s, np.arange(50) / 25, atol=1e-6)
