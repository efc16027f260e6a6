"""The train-student stage on subsets: what it records lies in the model, and the next training goes through it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.model import WEIGHTS
from dataset_culling.artifacts.resolution import Resolution, write_resolution
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.artifacts.subset import FILE, parse_subsets
from dataset_culling.config import parse_config
from dataset_culling.errors import InputError
from dataset_culling.pipeline.graph import external_inputs
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.stages.train_student.stage import run
from dataset_culling.types import Selection

TIMES_S = [40.0 + 9 * k for k in range(6)]
GRADMATCH = {"epochs": 2, "batch_size": 2, "subset": "gradmatch", "subset_share": 0.5, "subset_every": 1}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("camera")
    truth = write_camera_frames(folder / "frames", TIMES_S)
    write_labels(folder / "labels", truth, np.full(6, 512), np.full(6, 288), ORIGIN)
    write_selection(folder / "selection", Selection(truth.frame_ids, np.zeros(6), ("by hand",) * 6), ORIGIN)
    write_resolution(folder / "resolution", Resolution(0.5, 96, 288, 0.05, 1.0, 0.25, "by hand", ()), ORIGIN)
    return {name: folder / name for name in ("frames", "labels", "selection", "resolution")}


def config_of(**recipe: object) -> TrainStudentConfig:
    return parse_config(TrainStudentConfig, {"classes": CLASSES, "recipe": recipe}, where="test")


def trained(inputs: dict[str, Path], out: Path, **recipe: object) -> StageReport:
    return run(config_of(**recipe), inputs, {"model": out}, StageContext("train-student"))


def test_run__records_and_replays(inputs: dict[str, Path], tmp_path: Path):
    report = trained(inputs, tmp_path / "chosen", **GRADMATCH)
    assert report.counts["steps"] == 2 * 2  # two of three batches
    assert report.figures["choosing_s"] > 0
    record = parse_subsets((tmp_path / "chosen" / FILE).read_text().splitlines(), where="here")
    assert (record.chosen_by["method"], record.chosen_by["detector"]) == ("gradmatch", "tiny")
    names = {name for subset in record.subsets for group in subset.groups for name in group}
    assert names <= {f"frame {round(1000 * time_s)}" for time_s in TIMES_S}
    replay = str(tmp_path / "chosen")  # the model's folder names its record
    trained(inputs, tmp_path / "replayed", epochs=2, batch_size=2, subset_replay=replay)
    again = parse_subsets((tmp_path / "replayed" / FILE).read_text().splitlines(), where="here")
    assert again.subsets == record.subsets
    weights = [(tmp_path / name / WEIGHTS).read_bytes() for name in ("chosen", "replayed")]
    assert weights[0] == weights[1]


def test_run__a_record_that_is_not_there_is_one_line(inputs: dict[str, Path], tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.jsonl: expected recorded subsets, found No such file") as caught:
        trained(inputs, tmp_path / "model", subset_replay=str(tmp_path / "none.jsonl"))
    assert "\n" not in str(caught.value)


def test_external_inputs__a_replayed_record_is_one():
    assert "r.jsonl" in external_inputs(config_of(subset_replay="r.jsonl"))
