"""optResolution as a stage: the embedded student on frames of the simulated camera."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.header import digest
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.resolution import Resolution, read_buckets, read_resolution
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.resolution.scale import choose_scale_by_ap
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stages.choose_resolution.config import ChooseResolutionConfig
from dataset_culling.stages.choose_resolution.stage import frames_to_judge, run
from dataset_culling.types import Detections, Selection

TIMES_S = [40.0, 49.0, 58.0, 67.0, 76.0, 85.0, 3700.0, 3709.0]


@dataclasses.dataclass(frozen=True)
class Camera:
    """Frames, true boxes as labels, and a selection of the first four frames."""

    folder: Path
    truth: Detections

    def choose(self, out: Path, labels: Path | None = None, **config: object) -> tuple[Resolution, StageReport]:
        report = run(
            ChooseResolutionConfig(classes=CLASSES, **config),
            {
                "frames": self.folder / "frames",
                "selection": self.folder / "selection",
                "labels": labels or self.folder / "labels",
            },
            {"resolution": out},
            StageContext("choose-resolution"),
        )
        return read_resolution(out), report


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    folder = tmp_path_factory.mktemp("camera")
    truth = write_camera_frames(folder / "frames", TIMES_S)
    size = np.full(len(truth), 512), np.full(len(truth), 288)
    write_labels(folder / "labels", truth, *size, ORIGIN)
    first = Selection(truth.frame_ids[:4], np.zeros(4), ("by hand",) * 4)
    write_selection(folder / "selection", first, ORIGIN)
    return Camera(folder, truth)


def test_run__loss_looks_down_from_full_size(camera: Camera, tmp_path: Path):
    found, report = camera.choose(tmp_path / "out", mode="curve", max_steps=2, threshold=1e9)
    assert (found.judge, found.scale, found.full_side_px) == ("loss", found.curve[-1].scale, 288)
    assert (found.curve[0].scale, found.curve[0].loss_change) == (1.0, 0)
    assert report.counts["frames"] == 4
    assert read_buckets(tmp_path / "out") == ()


def test_run__ap_looks_both_ways_on_the_labelled_pool(camera: Camera, tmp_path: Path):
    found, report = camera.choose(tmp_path / "out", judge="ap", max_steps=2, max_steps_up=2, tolerance=0.0)
    sides = [point.side_px for point in found.curve]
    assert sides == sorted(sides, reverse=True)
    assert (sides.index(288), len(sides)) == (2, 5)  # two above the full side, two below
    assert report.counts["frames"] == len(TIMES_S)  # not only the four that were culled
    ap = np.array([point.map_50 for point in found.curve])
    assert found.scale == choose_scale_by_ap([point.scale for point in found.curve], ap, tolerance=0.0)
    assert found.side_px == sides[int(np.flatnonzero(ap == ap.max())[-1])]
    assert found.gflops_full == next(point.gflops for point in found.curve if point.scale == 1.0)
    assert "agrees with the teacher" in found.reason


def test_run__tolerance_of_everything_takes_the_smallest(camera: Camera, tmp_path: Path):
    found, _ = camera.choose(tmp_path / "out", judge="ap", max_steps=2, max_steps_up=1, tolerance=1.0)
    assert found.side_px == min(point.side_px for point in found.curve)
    assert found.scale < 1


@pytest.mark.parametrize(("judge", "up"), [("loss", 0), ("ap", 1)])
def test_run__buckets_are_reported_and_change_no_choice(camera: Camera, tmp_path: Path, judge: str, up: int):
    settings = {"judge": judge, "max_steps": 2, "max_steps_up": up, "mode": "curve", "max_frames": 8}
    plain, _ = camera.choose(tmp_path / "plain", **settings)
    found, report = camera.choose(tmp_path / "out", **settings, buckets="hour")
    assert found == plain
    table = read_buckets(tmp_path / "out")
    assert [(one.bucket, one.num_frames) for one in table] == (
        [("hour 00", 4)] if judge == "loss" else [("hour 00", 6), ("hour 01", 2)]
    )
    by_scale = {point.scale: point for point in found.curve}
    assert all((one.side_px, one.gflops) == (by_scale[one.scale].side_px, by_scale[one.scale].gflops) for one in table)
    assert len(report.notes) == len(table)
    camera.choose(tmp_path / "out", **settings)  # into the same directory: the table goes
    assert read_buckets(tmp_path / "out") == ()
    assert digest(tmp_path / "out") == digest(tmp_path / "plain")


def test_run__off_is_full_size_whoever_judges(camera: Camera, tmp_path: Path):
    for judge in ("loss", "ap"):
        found, _ = camera.choose(tmp_path / judge, judge=judge, mode="off")
        assert (found.scale, len(found.curve), found.reason) == (1.0, 1, "full size, as configured")


def test_run__nothing_to_judge_ap_by_is_one_line(camera: Camera, tmp_path: Path):
    doubted = dataclasses.replace(camera.truth, ignore=np.ones(len(camera.truth.scores), np.bool_))
    size = np.full(len(doubted), 512), np.full(len(doubted), 288)
    write_labels(tmp_path / "labels", doubted, *size, ORIGIN)
    with pytest.raises(
        InputError, match=r"the 8 frames that sizes are judged on hold no object.* choose_resolution\.judge to loss"
    ):
        camera.choose(tmp_path / "out", labels=tmp_path / "labels", judge="ap")
    assert not (tmp_path / "out").exists()


def test_config__the_loss_cannot_look_up():
    with pytest.raises(ConfigError, match="max_steps_up needs judge 'ap', found judge 'loss'"):
        parse_config(ChooseResolutionConfig, {"max_steps_up": 1}, where="test")


def test_frames_to_judge__hardest_culled_or_spread_over_the_pool(camera: Camera):
    culled = Selection(camera.truth.frame_ids[[3, 0, 2]], np.zeros(3), ("",) * 3)
    by_loss = frames_to_judge(ChooseResolutionConfig(max_frames=2), culled, camera.truth)
    assert by_loss.tolist() == camera.truth.frame_ids[[0, 3]].tolist()
    by_ap = frames_to_judge(ChooseResolutionConfig(max_frames=3, judge="ap"), culled, camera.truth)
    assert by_ap.tolist() == camera.truth.frame_ids[[0, 4, 7]].tolist()  # 3.5 rounds to the even row
