"""Videos of drawn pictures: as many frames, at their times, whatever their size."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from dataset_culling.errors import OutputError
from dataset_culling.serving.overlay import draw_video
from video_files import number_of, numbered_picture


def test_draw_video__every_picture_at_its_time(tmp_path: Path):
    times = [0.0, 0.04, 0.08, 0.5, 2.0, 2.001]  # uneven, as a variable rate or a pause is
    with draw_video(tmp_path / "a.mp4", frames_per_second=25) as video:
        for number, time_s in enumerate(times):
            video.add(numbered_picture(number, size=(193, 95)), time_s)  # odd sides, which 4:2:0 does not know
    with av.open(str(tmp_path / "a.mp4")) as file:
        shown = list(file.decode(video=0))
    assert [round(frame.time, 3) for frame in shown] == times
    assert [number_of(frame.to_ndarray(format="rgb24")) for frame in shown] == list(range(6))
    assert (shown[0].width, shown[0].height) == (194, 96)


def test_draw_video__pictures_of_another_size_are_fitted_in(tmp_path: Path):
    with draw_video(tmp_path / "a.mp4", frames_per_second=1) as video:
        video.add(np.full((96, 192, 3), 200, np.uint8), 0.0)
        video.add(np.full((192, 192, 3), 200, np.uint8), 1.0)  # twice as high: shown at half its size, at the left
    with av.open(str(tmp_path / "a.mp4")) as file:
        _, second = (frame.to_ndarray(format="rgb24") for frame in file.decode(video=0))
    assert second.shape == (96, 192, 3)
    assert second[:, 8:88].mean() > 180
    assert second[:, 104:].mean() < 20


def test_draw_video__a_place_that_cannot_be_written_is_one_line(tmp_path: Path):
    def write(path: Path) -> None:
        with draw_video(path, frames_per_second=1) as video:
            video.add(np.zeros((96, 192, 3), np.uint8), 0.0)

    with pytest.raises(OutputError, match=r"expected to write a video, found No such file.*--out"):
        write(tmp_path / "nowhere" / "a.mp4")
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match=r"found No space left"):
            write(Path("/dev/full"))
