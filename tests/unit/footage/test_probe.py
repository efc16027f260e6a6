"""What a file says about itself, and what is said where it is none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataset_culling.errors import FootageError
from dataset_culling.footage.probe import open_video, probe
from video_files import rotate, truncate, write_audio_only, write_text_as_video, write_video


def test_probe__reads_size_rate_duration_and_creation_time(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mp4", metadata={"creation_time": "2026-11-20T14:30:00.000000Z"}))
    assert (info.codec, info.width_px, info.height_px, info.rotation_deg) == ("h264", 192, 96, 0)
    assert info.frames_per_second == pytest.approx(25)
    assert info.duration_s == pytest.approx(4.0)
    assert info.created_utc == datetime(2026, 11, 20, 14, 30, tzinfo=UTC)


def test_probe__anamorphic_is_shown_with_square_pixels(tmp_path: Path) -> None:
    info = probe(write_video(tmp_path / "a.mp4", options={"x264-params": "sar=4/3"}))
    assert (info.width_px, info.height_px, info.pixel_aspect) == (256, 96, pytest.approx(4 / 3))


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_probe__rotated_is_shown_upright(tmp_path: Path, degrees: int) -> None:
    info = probe(rotate(write_video(tmp_path / "a.mp4"), degrees))
    assert info.rotation_deg == degrees
    assert (info.width_px, info.height_px) == ((192, 96) if degrees == 180 else (96, 192))


def test_probe__nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match=r"nope\.mp4: expected a video file, found nothing there"):
        probe(tmp_path / "nope.mp4")


def test_probe__folder(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="expected a video file, found a folder"):
        probe(tmp_path)


def test_probe__empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(FootageError, match="found an empty file"):
        probe(tmp_path / "a.mp4")


def test_probe__text_file(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match=r"a\.mp4: expected a video, found a text file"):
        probe(write_text_as_video(tmp_path / "a.mp4"))


def test_probe__text_file_with_a_name_that_ffmpeg_draws(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="expected a video, found"):
        probe(write_text_as_video(tmp_path / "a.txt"))


def test_probe__audio_only(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="expected a video stream, found only audio"):
        probe(write_audio_only(tmp_path / "a.mp4"))


def test_probe__mp4_cut_off_before_its_index(tmp_path: Path) -> None:
    cut = truncate(write_video(tmp_path / "a.mp4"), 0.6)
    with pytest.raises(FootageError, match="an MP4 without its index \\(no moov box\\)"):
        probe(cut)


def test_probe__errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(FootageError) as caught:
        probe(write_text_as_video(tmp_path / "a.mp4"))
    assert "\n" not in str(caught.value)


def test_open_video__nvdec_without_a_gpu_says_so(tmp_path: Path) -> None:
    if Path("/dev/nvidia0").exists():
        pytest.skip("this machine has an NVIDIA GPU")
    with pytest.raises(FootageError, match=r"expected NVDEC .* Set extract_frames\.decoder to cpu"):
        open_video(write_video(tmp_path / "a.mp4"), nvdec=True)
