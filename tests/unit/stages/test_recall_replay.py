"""Tonight is told from earlier nights by its frames, whatever they were extracted with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.replay import read_replay
from dataset_culling.registry.models import open_registry
from dataset_culling.registry.nights import Nights
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.recall_replay.config import RecallReplayConfig
from dataset_culling.stages.recall_replay.stage import is_of_tonight, run

EARLIER_S, TONIGHT_S, HELDOUT_S = [40.0, 50.0, 60.0], [400.0, 410.0, 420.0, 430.0], [500.0, 510.0]


@pytest.mark.parametrize(
    ("kept", "same"),
    [([1, 2], True), ([1, 9], True), ([1, 8, 9], False), ([8, 9], False), ([], False)],
)
def test_is_of_tonight__half_of_its_frames(kept: list[int], same: bool):
    assert is_of_tonight(np.array(kept, np.uint64), np.array([1, 2, 3], np.uint64)) is same


def keep(folder: Path, name: str, times_s: list[float]) -> None:
    truth = write_camera_frames(folder / name, times_s)
    num = len(times_s)
    write_labels(folder / f"{name}-labels", truth, np.full(num, 512), np.full(num, 288), ORIGIN)
    ids = truth.frame_ids.tolist()
    Nights(open_registry(str(folder / "registry"))).keep(
        "door", folder / name, folder / f"{name}-labels", night_id=name, start_utc="", train=ids[:1], heldout=ids[1:],
        class_names=truth.class_names, look=(), version=1,
    )  # fmt: skip


def test_run__the_same_footage_extracted_otherwise_is_left_out(tmp_path: Path):
    keep(tmp_path, "aa", EARLIER_S)
    keep(tmp_path, "bb", [410.0, 420.0, 505.0])  # of tonight: another run has sampled and cut it in another way
    write_camera_frames(tmp_path / "pool", TONIGHT_S)
    write_camera_frames(tmp_path / "heldout", HELDOUT_S)
    outputs = {name: tmp_path / "out" / name for name in ("replay", "frames", "labels")}
    config = RecallReplayConfig(camera="door", registry=str(tmp_path / "registry"), classes=CLASSES)
    inputs = {name: tmp_path / name for name in ("pool", "heldout")}
    report = run(config, inputs, outputs, StageContext("recall-replay"))
    (night,) = read_replay(outputs["replay"]).slices
    frames = FrameReader(outputs["frames"])
    assert (len(night.train), len(night.heldout), len(frames)) == (1, 2, 3)
    assert np.array_equal(frames.image(night.train[0]), FrameReader(tmp_path / "aa").image(40_000))
    assert "it is tonight's footage, extracted with other settings" in report.notes[0]
