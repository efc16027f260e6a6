"""Frame extraction on real encoded files: what is written, what is reported, what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from conftest import SHARED
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import HEADER, digest, verify
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, FootageError, OutputError
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig
from dataset_culling.stages.extract_frames.stage import run
from video_files import (
    concatenate,
    number_of,
    numbered_picture,
    overwrite,
    truncate,
    write_audio_only,
    write_text_as_video,
    write_video,
)


class Extracted:
    """A finished extraction."""

    def __init__(self, out: Path, report: StageReport) -> None:
        self.out, self.stage = out, report
        self.pool, self.heldout = FrameReader(out / "pool"), FrameReader(out / "heldout")
        self.report: dict[str, Any] = self.pool.report


def extract(out: Path, *sources: Path | str, **settings: Any) -> Extracted:
    # Pictures of the tests are small and loud: the gate would pass them, but no test should hang on it.
    values = {"gap_s": 0.0, "near_duplicates": "keep", **settings, "sources": [str(source) for source in sources]}
    config = parse_config(ExtractFramesConfig, values, where="test")
    report = run(config, {}, {"pool": out / "pool", "heldout": out / "heldout"}, StageContext("extract-frames"))
    return Extracted(out, report)


def numbers(frames: FrameReader) -> list[int]:
    return [number_of(image) for _, images in frames.iter(16) for image in images]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """20 s at 25 fps, H.264 with B-frames, a keyframe every 2 s."""
    return write_video(tmp_path / "video.mp4", num_frames=500, gop=50, b_frames=2)


def test_run__samples_by_time_and_splits_with_a_gap(tmp_path: Path, video: Path) -> None:
    done = extract(tmp_path / "out", video, gap_s=3.0, max_gap_share=1.0)
    assert numbers(done.pool) == [25 * second for second in range(13)]
    assert numbers(done.heldout) == [25 * second for second in (16, 17, 18, 19)]
    assert done.pool.table.frame_ids.tolist() == [1000 * second for second in range(13)]
    assert done.heldout.table.time_s.tolist() == [16, 17, 18, 19]
    assert done.report["counts"] == {
        "sampled": 20, "gap": 3, "damaged": 0, "near_duplicates": 0, "pool": 13, "heldout": 4,
    }  # fmt: skip
    assert done.report["split"]["closest_s"] == pytest.approx(4.0)
    assert done.heldout.report == done.report
    assert dict(done.stage.counts) == done.report["counts"]
    for part in ("pool", "heldout"):
        verify(tmp_path / "out" / part, "frames/1")


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_run__how_many_workers_changes_no_byte(tmp_path: Path, workers: int) -> None:
    video = write_video(
        tmp_path / "v.mp4", num_frames=1000, gop=25, b_frames=2, container_options={"movflags": "faststart"}
    )
    overwrite(video, 0.5, 400)
    settings = {"frames_per_second": 5.0, "shard_bytes": 100_000, "near_duplicates": "drop"}
    one = extract(tmp_path / "one", video, workers=1, **settings)
    many = extract(tmp_path / "many", video, workers=workers, **settings)
    assert one.report["counts"]["sampled"] == 200
    for part in ("pool", "heldout"):
        assert digest(one.out / part) == digest(many.out / part)


def test_run__segments_of_a_folder_in_the_order_of_their_names_with_a_hole_and_an_overlap(tmp_path: Path) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    for place, name in enumerate(["20261120_100000", "20261120_100008", "20261120_100030"]):
        write_video(
            folder / f"{name}.mp4", num_frames=250, picture=lambda n, place=place: numbered_picture(1000 * place + n)
        )
    write_text_as_video(folder / "broken.mp4")
    done = extract(tmp_path / "out", folder)
    assert numbers(done.pool) + numbers(done.heldout) == (
        [25 * s for s in range(10)] + [1050 + 25 * s for s in range(8)] + [2000 + 25 * s for s in range(10)]
    )
    times = np.concatenate([done.pool.table.time_s, done.heldout.table.time_s])
    assert times.tolist() == [*range(18), *range(30, 40)]
    np.testing.assert_allclose(done.report["overlaps_s"], [[8, 10]], atol=1e-6)
    np.testing.assert_allclose(done.report["missing_stretches_s"], [[18, 30]], atol=1e-6)
    assert done.report["start_utc"] == done.pool.table.start_utc == "2026-11-20T10:00:00.000Z"
    assert any("broken.mp4: expected a video, found a text file" in reason for reason in done.report["left_out"])


def test_run__clock_that_restarts(tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.ts", num_frames=125, b_frames=2)
    done = extract(tmp_path / "out", concatenate(tmp_path / "two.ts", [part, part]))
    assert numbers(done.pool) + numbers(done.heldout) == [0, 25, 50, 75, 100] * 2
    assert done.report["files"][0]["clock_restarts"] == 1


def test_run__sparse_rate_and_keyframes_only(tmp_path: Path, video: Path) -> None:
    assert numbers(extract(tmp_path / "a", video, frames_per_second=0.25).pool) == [0, 100, 200, 300]
    # Cells of 4/3 s open at 0, 1.36, 2.68, 4, ...: with the slack the keyframes at even seconds are near enough.
    loose = extract(tmp_path / "b", video, frames_per_second=0.75, keyframe_slack_s=0.7)
    assert numbers(loose.pool)[:4] == [0, 50, 67, 100]


def test_run__size_cap_and_quality(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", size=(384, 192))
    small = extract(tmp_path / "small", video, max_side_px=128, frames_per_second=5.0)
    assert (small.pool.table.width_px[0], small.pool.table.height_px[0]) == (128, 64)
    assert numbers(small.pool)[:3] == [0, 5, 10]
    rough = extract(tmp_path / "rough", video, jpeg_quality=30, frames_per_second=5.0)
    fine = extract(tmp_path / "fine", video, jpeg_quality=95, frames_per_second=5.0)
    assert len(rough.pool.jpeg(0)) < len(fine.pool.jpeg(0)) / 2


def test_run__still_scene_shrinks_and_says_by_how_much(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    still = numbered_picture(0)

    def night(number: int) -> npt.NDArray[np.uint8]:
        noisy = still + rng.normal(0, 3, still.shape)
        if 200 <= number < 275:  # somebody walks through
            left = (number - 200) * 2
            noisy[60:90, left : left + 12] = 230
        return np.clip(noisy, 0, 255).astype(np.uint8)

    video = write_video(tmp_path / "v.mkv", num_frames=500, picture=night)
    gated = extract(tmp_path / "gated", video, near_duplicates="drop")
    everything = extract(tmp_path / "all", video)
    assert len(everything.pool) == 16
    assert gated.pool.table.time_s.tolist() == [0, 8, 9, 10, 11]
    assert gated.report["counts"]["near_duplicates"] == 11
    assert gated.report["near_duplicates"]["share"] == pytest.approx(11 / 16)
    assert gated.report["near_duplicates"]["bytes"] > 0
    dropped, kept = gated.pool.near_duplicates
    assert set(dropped) | set(gated.pool.table.frame_ids) == set(everything.pool.table.frame_ids)
    assert set(kept) <= set(gated.pool.table.frame_ids)
    assert len(gated.heldout) == len(everything.heldout)  # what is examined is not thinned out
    marked = extract(tmp_path / "marked", video, near_duplicates="mark")
    assert np.array_equal(marked.pool.table.frame_ids, everything.pool.table.frame_ids)
    assert marked.report["counts"]["near_duplicates"] == 0
    assert marked.report["near_duplicates"]["found"] == 11
    assert marked.report["near_duplicates"]["share"] == pytest.approx(11 / 16)
    assert np.array_equal(marked.pool.near_duplicates[0], dropped)


def test_run__frozen_camera(tmp_path: Path) -> None:
    def stuck(number: int) -> npt.NDArray[np.uint8]:
        return numbered_picture(min(number, 150) if number < 400 else number)

    video = write_video(tmp_path / "v.mp4", num_frames=500, picture=stuck, options={"qp": "0"})
    skipped = extract(tmp_path / "skip", video, frozen_min_s=3.0)
    kept = extract(tmp_path / "keep", video, frozen_min_s=3.0, on_frozen="keep")
    assert kept.report["damage"]["frozen"] == skipped.report["damage"]["frozen"] == 7
    assert len(kept.pool) + len(kept.heldout) == len(skipped.pool) + len(skipped.heldout) + 7
    (stretch,) = skipped.report["damaged_stretches"]
    assert (stretch["kind"], stretch["start_s"], stretch["end_s"]) == ("frozen", 9, 15)


@pytest.mark.parametrize("policy", ["skip", "keep"])
def test_run__black_stretch(tmp_path: Path, policy: str) -> None:
    video = write_video(
        tmp_path / "v.mp4",
        num_frames=500,
        picture=lambda n: numbered_picture(n) if not 100 <= n < 200 else np.zeros((96, 192, 3), np.uint8),
    )
    done = extract(tmp_path / "out", video, on_black=policy)
    assert done.report["damage"]["black"] == 4
    assert (4000 in done.pool.table.frame_ids) is (policy == "keep")


def test_run__truncated_is_read_as_far_as_it_goes_and_counted(tmp_path: Path, video: Path) -> None:
    whole = write_video(tmp_path / "v.mkv", num_frames=500, gop=25)
    done = extract(tmp_path / "out", truncate(whole, 0.6))
    read = len(done.pool) + len(done.heldout)
    assert 8 <= read <= 14
    assert done.report["damage"]["truncated"] == pytest.approx(20 - read, abs=1)
    assert any("truncated" in note for note in done.stage.notes)


def test_run__too_much_lost(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "v.mkv", num_frames=500, gop=25)
    with pytest.raises(FootageError, match=r"lose at most 0\.2 of 20 samples, lost \d+ \(\d+ truncated\)") as caught:
        extract(tmp_path / "out", truncate(whole, 0.5), max_lost_share=0.2)
    assert "\n" not in str(caught.value)
    for part in ("pool", "heldout"):
        assert not (tmp_path / "out" / part / HEADER).exists()


def test_run__broken_bytes_cost_their_group_of_pictures_only(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", num_frames=500, gop=25, container_options={"movflags": "faststart"})
    done = extract(tmp_path / "out", overwrite(video, 0.5, 300), frames_per_second=5.0)
    assert 1 <= done.report["damage"]["corrupt"] <= 15
    got = numbers(done.pool) + numbers(done.heldout)
    times = [*done.pool.table.time_s, *done.heldout.table.time_s]
    assert got == [round(25 * time_s) for time_s in times]


@pytest.fixture
def refused(tmp_path: Path, video: Path) -> dict[str, Path]:
    return {
        "nothing": tmp_path / "nope.mp4",
        "text": write_text_as_video(tmp_path / "text.mp4"),
        "audio": write_audio_only(tmp_path / "audio.mp4"),
        "cut": truncate(Path(shutil.copy(video, tmp_path / "cut.mp4")), 0.7),
        "short": write_video(tmp_path / "short.mp4", num_frames=25),
    }


@pytest.mark.parametrize(
    ("which", "says"),
    [
        ("nothing", "found nothing there"),
        ("text", "found a text file"),
        ("audio", "expected a video stream, found only audio"),
        ("cut", "an MP4 without its index"),
        ("short", "held-out part: a share of 0.2 of 1 sampled frames is less than one frame"),
    ],
)
def test_run__refused_in_one_clear_line(tmp_path: Path, refused: dict[str, Path], which: str, says: str) -> None:
    with pytest.raises(FootageError, match=re.escape(says)) as caught:
        extract(tmp_path / "out", refused[which])
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_run__no_source_at_all(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="sources: no video is given"):
        extract(tmp_path / "out")


def test_run__heldout_part_without_a_usable_frame(tmp_path: Path) -> None:
    black = np.zeros((96, 192, 3), np.uint8)
    video = write_video(tmp_path / "v.mp4", num_frames=500, picture=lambda n: numbered_picture(n) if n < 350 else black)
    with pytest.raises(FootageError, match=r"no usable frames in the heldout part \(6 black\)"):
        extract(tmp_path / "out", video)


def test_run__output_that_cannot_be_written(tmp_path: Path, video: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="choose another --out"):
        extract(tmp_path / "out", video)


def test_run__a_stop_in_the_middle_ends_the_workers_and_leaves_no_header(tmp_path: Path, video: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    config = ExtractFramesConfig(sources=(str(video),), gap_s=0, frames_per_second=5.0)
    outputs = {"pool": tmp_path / "pool", "heldout": tmp_path / "heldout"}
    with pytest.raises(KeyboardInterrupt):
        run(config, {}, outputs, StageContext("extract-frames", progress=stop))
    assert not (tmp_path / "pool" / HEADER).exists()
    run(config, {}, outputs, StageContext("extract-frames"))
    fresh = extract(tmp_path / "fresh", video, frames_per_second=5.0, near_duplicates="drop")
    assert digest(tmp_path / "pool") == digest(fresh.out / "pool")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"frames_per_second": 0}, "frames_per_second"),
        ({"heldout_share": 1.0}, "heldout_share"),
        ({"name_time_pattern": "("}, "not a regular expression"),
        ({"name_time_pattern": r"(?P<year>\d+)"}, "must have the groups"),
        ({"name_time_zone": "Mars/Olympus"}, "no time zone"),
        ({"on_grey": "ignore"}, "'skip' or 'keep'"),
        ({"gap": 5}, "an unknown key"),
    ],
)
def test_config__refuses(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        extract(tmp_path / "out", "a.mp4", **settings)


CLIPS = {
    "ahmetozlu-highway.mp4": (38, (640, 352), 0.05),
    "dvrscan-traffic_camera.mp4": (24, (1280, 720), 0.05),
    "dvrscan-traffic_camera_vfr.mp4": (35, (1280, 720), 0.15),
    "intel-one-by-one-person-detection.mp4": (140, (768, 432), 0.11),
}


@pytest.mark.footage
@pytest.mark.parametrize("name", CLIPS)
def test_run__real_clips(tmp_path: Path, name: str) -> None:
    count, size, late_s = CLIPS[name]
    done = extract(tmp_path / "out", SHARED / "footage" / name)
    assert done.report["counts"]["sampled"] == count
    assert not any(done.report["damage"].values())
    times = np.concatenate([done.pool.table.time_s, done.heldout.table.time_s])
    # The first frame of each second, whatever the rate does.
    assert np.all((times - np.round(times - late_s / 2) < late_s + 1e-6) & (times >= 0))
    for image in done.heldout.images(done.heldout.table.frame_ids):
        assert image.shape == (size[1], size[0], 3)
        assert image.std() > 10
