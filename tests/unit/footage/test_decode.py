"""Frames of real files of every kind: the right one at the right time, equal to a decode of everything."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from av.video.reformatter import VideoReformatter

from dataset_culling.footage.decode import DecodeOptions, Picture, VideoFile, yuv_planes
from dataset_culling.footage.index import index_packets
from dataset_culling.footage.probe import open_video
from dataset_culling.footage.sample import choose_samples, plan_runs
from video_files import concatenate, number_of, numbered_picture, overwrite, rotate, truncate, write_video

OPTIONS = DecodeOptions(jpeg_quality=92, max_side_px=0, nvdec=False, strict=True)

FORMATS = [
    pytest.param("a.mp4", {"codec": "libx264", "gop": 25}, id="H.264 in MP4"),
    pytest.param("a.mp4", {"codec": "libx264", "gop": 50, "b_frames": 3}, id="H.264 with B-frames in MP4"),
    pytest.param("a.mkv", {"codec": "libx264", "gop": 50, "b_frames": 3}, id="H.264 with B-frames in MKV"),
    pytest.param("a.ts", {"codec": "libx264", "gop": 30, "b_frames": 2}, id="H.264 with B-frames in MPEG-TS"),
    pytest.param("a.avi", {"codec": "libx264", "gop": 30, "b_frames": 3}, id="H.264 with B-frames in AVI"),
    pytest.param(
        "a.mp4",
        {"codec": "libx264", "gop": 12, "options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}},
        id="H.264 with open groups of pictures",
    ),
    pytest.param(
        "a.mp4", {"codec": "libx264", "gop": 40, "options": {"intra-refresh": "1"}}, id="H.264, intra refresh"
    ),
    pytest.param("a.h264", {"codec": "libx264", "gop": 25}, id="H.264, raw stream"),
    pytest.param("a.mp4", {"codec": "libx265", "gop": 20, "b_frames": 3}, id="H.265 with open groups in MP4"),
    pytest.param("a.mkv", {"codec": "libx265", "gop": 50}, id="H.265 in MKV"),
    pytest.param("a.mp4", {"codec": "mpeg4", "gop": 20, "b_frames": 2}, id="MPEG-4 with B-frames in MP4"),
    pytest.param("a.avi", {"codec": "mpeg4", "gop": 20}, id="MPEG-4 in AVI"),
    pytest.param("a.avi", {"codec": "msmpeg4", "gop": 20}, id="MS MPEG-4 in AVI"),
    pytest.param("a.avi", {"codec": "mjpeg"}, id="MJPEG in AVI"),
    pytest.param("a.mkv", {"codec": "mjpeg"}, id="MJPEG in MKV"),
]


def sample(path: Path, rate: float, options: DecodeOptions = OPTIONS) -> list[tuple[float, Picture]]:
    index = index_packets(path)
    wanted = choose_samples(index, start_s=0, frames_per_second=rate)
    file = VideoFile(path, index, options)
    found = [
        (round(float(index.time_s[picture.packet]), 3), picture)
        for picture in file.pictures(plan_runs(index, np.sort(wanted)))
    ]
    file.close()
    return found


@pytest.mark.parametrize("degrees", [0, 90])
def test_pictures__as_rgb_show_what_the_jpeg_shows(degrees: int, tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", num_frames=50)
    if degrees:
        rotate(path, degrees)
    stored = sample(path, 5)
    seen = sample(path, 5, dataclasses.replace(OPTIONS, rgb=True))
    assert [time_s for time_s, _ in seen] == [time_s for time_s, _ in stored]
    for (_, one), (_, other) in zip(seen, stored, strict=True):
        assert (one.jpeg, one.corrupt) == (b"", other.corrupt)
        wanted = image(other)
        assert one.rgb.shape == wanted.shape
        # Chroma is spread over pixels in two ways, which shows at the edges of blocks, not on the whole.
        assert np.abs(one.rgb.astype(float) - wanted).mean() < 4
        assert np.abs(one.rgb.mean((0, 1)) - wanted.mean((0, 1))).max() < 2.5


def image(picture: Picture) -> np.ndarray[Any, Any]:
    return simplejpeg.decode_jpeg(picture.jpeg)


@pytest.mark.parametrize("rate", [1.0, 5.0, 12.5])
@pytest.mark.parametrize(("name", "how"), FORMATS)
def test_pictures__the_right_frame_at_the_right_time(
    tmp_path: Path, name: str, how: dict[str, Any], rate: float
) -> None:
    path = write_video(tmp_path / name, num_frames=130, **how)
    found = sample(path, rate)
    assert [time_s for time_s, _ in found] == pytest.approx(np.arange(0, 5.2, 1 / rate).tolist(), abs=0.041)
    assert [number_of(image(picture)) for _, picture in found] == [round(time_s * 25) for time_s, _ in found]
    assert not any(picture.corrupt for _, picture in found)


@pytest.mark.parametrize(("name", "how"), FORMATS)
def test_pictures__skipping_changes_no_pixel(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    path = write_video(tmp_path / name, num_frames=110, **how)
    found = sample(path, 5.0)
    with open_video(path) as container:
        frames = {number_of(f.to_ndarray(format="rgb24")): f for f in container.decode(video=0)}
        for time_s, picture in found:
            planes = yuv_planes(frames[round(time_s * 25)], 192, 96, VideoReformatter())
            np.testing.assert_array_equal(image(picture), simplejpeg.decode_jpeg(_jpeg(planes)), str(time_s))


def _jpeg(planes: tuple[np.ndarray[Any, Any], ...]) -> bytes:
    return bytes(simplejpeg.encode_jpeg_yuv_planes(*planes, quality=OPTIONS.jpeg_quality))


def test_pictures__far_fewer_frames_are_decoded_than_there_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=500, gop=50)
    index = index_packets(path)
    runs = plan_runs(index, choose_samples(index, start_s=0, frames_per_second=0.25))
    assert sum(run.stop - run.first for run in runs) == 5
    found = sample(path, 0.25)
    assert [number_of(image(picture)) for _, picture in found] == [0, 100, 200, 300, 400]


def test_pictures__variable_rate_goes_by_time(tmp_path: Path) -> None:
    times_s = np.cumsum([0, 0.04, 0.5, 0.5, 0.04, 1.2, 0.04, 0.3, 2.0, 0.04]).tolist()
    found = sample(write_video(tmp_path / "a.mp4", times_s=times_s, b_frames=2), 1.0)
    # Times 0, .04, .54, 1.04, 1.08, 2.28, 2.32, 2.62, 4.62, 4.66
    assert [(time_s, number_of(image(picture))) for time_s, picture in found] == [
        (0.0, 0),
        (1.04, 3),
        (2.28, 5),
        (4.62, 8),
    ]


def test_pictures__clock_that_restarts(tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.ts", num_frames=50, b_frames=2)
    found = sample(concatenate(tmp_path / "two.ts", [part, part]), 1.0)
    assert [(time_s, number_of(image(picture))) for time_s, picture in found] == [(0, 0), (1, 25), (2, 0), (3, 25)]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures__rotated_stands_upright(tmp_path: Path, degrees: int) -> None:
    def lying(number: int) -> np.ndarray[Any, Any]:
        return np.ascontiguousarray(np.rot90(numbered_picture(number), -degrees // 90))

    size = (192, 96) if degrees == 180 else (96, 192)
    path = rotate(write_video(tmp_path / "a.mp4", size=size, picture=lying), degrees)
    assert [number_of(image(picture)) for _, picture in sample(path, 1.0)] == [0, 25, 50, 75]


def test_pictures__odd_size(tmp_path: Path) -> None:
    found = sample(write_video(tmp_path / "a.mp4", codec="mpeg4", size=(191, 95)), 1.0)
    assert image(found[0][1]).shape == (95, 191, 3)
    assert [number_of(image(picture)) for _, picture in found] == [0, 25, 50, 75]


def test_pictures__anamorphic_gets_square_pixels(tmp_path: Path) -> None:
    found = sample(write_video(tmp_path / "a.mp4", options={"x264-params": "sar=4/3"}), 1.0)
    assert image(found[0][1]).shape == (96, 256, 3)
    assert [number_of(image(picture)) for _, picture in found] == [0, 25, 50, 75]


def test_pictures__longer_side_is_capped(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", size=(384, 192))
    found = sample(path, 1.0, DecodeOptions(jpeg_quality=92, max_side_px=200, nvdec=False, strict=True))
    assert image(found[0][1]).shape == (100, 200, 3)
    assert [number_of(image(picture)) for _, picture in found] == [0, 25, 50, 75]


def test_pictures__colours_are_those_that_were_filmed(tmp_path: Path) -> None:
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (235, 235, 20), (10, 10, 10)]
    bars = np.repeat(np.array(colours, np.uint8), 32, axis=0)[None].repeat(96, axis=0)
    found = sample(write_video(tmp_path / "a.mp4", picture=lambda _: bars, options={"qp": "8"}), 1.0)
    shown = image(found[0][1])
    for place, colour in enumerate(colours):
        np.testing.assert_allclose(shown[48, 32 * place + 16].astype(int), colour, atol=6)


# H.264 in MKV loses whole clusters instead (see the missing stretches); MS MPEG-4 has no checks to fail.
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.ts", "libx264"), ("a.mp4", "libx265"), ("a.avi", "mpeg4"), ("a.avi", "mjpeg")],
)
def test_pictures__overwritten_bytes_are_noticed_and_passed(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(
        tmp_path / name, codec=codec, num_frames=250, gop=25, container_options={"movflags": "faststart"}
    )
    found = sample(overwrite(path, 0.5, 2000), 25.0)
    assert any(picture.corrupt for _, picture in found)
    # Before the damage and after it frames are sound, and none is passed off as another.
    sound = [(time_s, number_of(image(picture))) for time_s, picture in found if not picture.corrupt]
    assert sound[0] == (0.0, 0)
    assert sound[-1][0] > 9
    lost_s = 0.6  # AVI counts frames instead of timing them: what is lost shifts what follows
    assert all(abs(number / 25 - time_s) <= (lost_s if name.endswith("avi") else 0.01) for time_s, number in sound)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4"), ("a.avi", "msmpeg4")],
)
def test_pictures__truncated_is_read_to_its_end(tmp_path: Path, name: str, codec: str) -> None:
    path = write_video(
        tmp_path / name, codec=codec, num_frames=250, gop=25, container_options={"movflags": "faststart"}
    )
    found = sample(truncate(path, 0.6), 5.0)
    sound = [(time_s, number_of(image(picture))) for time_s, picture in found if not picture.corrupt]
    assert 4.0 < sound[-1][0] < 7.5
    assert all(number == round(time_s * 25) for time_s, number in sound)


def test_pictures__lenient_takes_what_the_decoder_conceals(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=250, gop=50, container_options={"movflags": "faststart"})
    overwrite(path, 0.5, 40)
    lenient = DecodeOptions(jpeg_quality=92, max_side_px=0, nvdec=False, strict=False)
    assert sum(p.corrupt for _, p in sample(path, 5.0, lenient)) < sum(p.corrupt for _, p in sample(path, 5.0))
