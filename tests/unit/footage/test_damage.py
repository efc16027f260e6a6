"""Damage that pictures show, and its count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from dataset_culling.footage.damage import DamageLog, picture_damage
from dataset_culling.footage.decode import THUMB_PX, DecodeOptions, Picture, VideoFile
from dataset_culling.footage.index import index_packets
from dataset_culling.footage.sample import plan_runs
from video_files import numbered_picture, write_video

WIDTH, HEIGHT = THUMB_PX


def thumb(luma: float, blue: float = 128, red: float = 128) -> npt.NDArray[np.uint8]:
    return np.stack([np.full((HEIGHT, WIDTH), value) for value in (luma, blue, red)]).astype(np.uint8)


def scene() -> npt.NDArray[np.uint8]:
    """Thumbnail of a picture with light, colour and texture."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([60 + x + y // 2, 110 + x // 8, 140 - y // 8]).astype(np.uint8)


def with_part(of: npt.NDArray[np.uint8], rows: int) -> npt.NDArray[np.uint8]:
    """A scene whose lower rows are filled."""
    mixed = scene()
    mixed[:, HEIGHT - rows :] = of[:, HEIGHT - rows :]
    return mixed


def white_noise(luma: float, levels: float) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(7)
    noisy = thumb(luma).astype(float)
    noisy[0] += rng.normal(0, levels, (HEIGHT, WIDTH))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def lamp_in_the_dark() -> npt.NDArray[np.uint8]:
    dark = thumb(3)
    dark[0, 30, 40] = 20
    return dark


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        pytest.param(scene(), "", id="a scene"),
        pytest.param(thumb(0, 0, 0), "green", id="zeros all over"),
        pytest.param(with_part(thumb(0, 0, 0), 8), "green", id="zeros in the lower ninth"),
        pytest.param(thumb(130), "grey", id="mid-grey, limited range"),
        pytest.param(thumb(128), "grey", id="mid-grey, full range"),
        pytest.param(with_part(thumb(130), 36), "grey", id="the lower half never arrived"),
        pytest.param(white_noise(130, 1.5), "", id="a grey wall in front of a live sensor"),
        pytest.param(thumb(180), "", id="fog, evenly bright"),
        pytest.param(thumb(0), "black", id="no light"),
        pytest.param(white_noise(4, 1.0), "black", id="no light, noisy sensor"),
        pytest.param(lamp_in_the_dark(), "", id="night with one lamp far off"),
        pytest.param(thumb(150, 44, 21), "", id="the greenest green that RGB has"),
    ],
)
def test_picture_damage__kinds(picture: npt.NDArray[np.uint8], kind: str) -> None:
    assert picture_damage(picture) == kind


def test_picture_damage__after_real_encoding(tmp_path: Path) -> None:
    """Fill colours survive the encoder: what a recorder wrote into the video is found in the decoded picture."""
    black, grey = np.zeros((96, 192, 3), np.uint8), np.full((96, 192, 3), 130, np.uint8)
    zeros = np.zeros((144, 192), np.uint8)  # in YUV, where they are green
    pictures = [black, grey, zeros, numbered_picture(3)]
    path = write_video(tmp_path / "a.mp4", num_frames=4, picture=lambda n: pictures[n], options={"qp": "10"})
    index = index_packets(path)
    file = VideoFile(path, index, DecodeOptions(jpeg_quality=92, max_side_px=0, nvdec=False, strict=True))
    kinds = [picture_damage(picture.thumb_yuv) for picture in file.pictures(plan_runs(index, np.arange(4)))]
    file.close()
    assert kinds == ["black", "grey", "green", ""]


def picture(crc32: int = 1, *, shows: npt.NDArray[np.uint8] | None = None, corrupt: bool = False) -> Picture:
    return Picture(0, b"jpeg", crc32, scene() if shows is None else shows, corrupt)


def log(*skipped: str, frozen_min_s: float = 10) -> DamageLog:
    return DamageLog(frozenset(skipped), frozen_min_s=frozen_min_s, join_s=2.0)


def test_damage_log__skips_or_keeps_as_told_and_counts_both() -> None:
    told = log("black")
    assert not told.is_usable(picture(1, shows=thumb(0)), 0.0)
    assert told.is_usable(picture(2, shows=thumb(130)), 1.0)
    assert told.is_usable(picture(3), 2.0)
    assert {kind: count for kind, count in told.counts.items() if count} == {"black": 1, "grey": 1}
    assert told.lost == 1
    assert told.summary() == "1 grey, 1 black"


def test_damage_log__a_frame_that_never_came_is_never_usable() -> None:
    lenient = log()
    assert not lenient.is_usable(Picture(0, b"", 0, np.zeros((3, 0, 0), np.uint8), corrupt=True), 0.0)
    assert lenient.is_usable(picture(corrupt=True), 1.0)
    assert lenient.counts["corrupt"] == 2


def test_damage_log__frozen_after_the_time_allowed() -> None:
    watch = log("frozen", frozen_min_s=3)
    usable = [watch.is_usable(picture(crc32), float(at)) for at, crc32 in enumerate([5, 5, 5, 5, 5, 6, 6])]
    assert usable == [True, True, True, False, False, True, True]
    assert watch.counts["frozen"] == 2
    assert watch.lost == 0  # the picture is there, once


def test_damage_log__neighbours_are_one_stretch() -> None:
    told = log("corrupt")
    for at in (5.0, 6.0, 7.0, 30.0):
        told.is_usable(picture(corrupt=True), at)
    told.add("truncated", 40.0, end_s=60.0, samples=20)
    assert told.stretches == [
        {"kind": "corrupt", "start_s": 5.0, "end_s": 7.0, "samples": 3},
        {"kind": "corrupt", "start_s": 30.0, "end_s": 30.0, "samples": 1},
        {"kind": "truncated", "start_s": 40.0, "end_s": 60.0, "samples": 20},
    ]
    assert told.lost == 24
