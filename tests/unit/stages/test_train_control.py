"""The control arm as a stage: nothing unless asked for; else as many frames by lot, taught as the culled ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.control import control_weights, read_control
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import digest
from dataset_culling.artifacts.resolution import Resolution, write_resolution
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.artifacts.subset import SubsetRecord, subset_lines
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError
from dataset_culling.pipeline.graph import PipelineConfig, external_inputs
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stages.train_control.config import TrainControlConfig
from dataset_culling.stages.train_control.stage import draw, run
from dataset_culling.types import Selection, Subset

TIMES_S = [40.0 + 9 * k for k in range(12)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("camera")
    truth = write_camera_frames(folder / "frames", TIMES_S)
    kept = Selection(truth.frame_ids[:3], np.zeros(3), ("by hand",) * 3)
    write_selection(folder / "selection", kept, ORIGIN)
    write_resolution(folder / "resolution", Resolution(0.5, 144, 288, 0.05, 1.0, 0.25, "by hand", ()), ORIGIN)
    return {name: folder / name for name in ("frames", "selection", "resolution")}


def control(inputs: dict[str, Path], out: Path, **over: object) -> StageReport:
    settings = {"classes": CLASSES, "train_student": {"recipe": {"epochs": 1}}, **over}
    config = parse_config(PipelineConfig, settings, where="test").stage_config("train-control")
    return run(config, inputs, {"control": out}, StageContext("train-control"))


def test_run__off_does_nothing(inputs: dict[str, Path], tmp_path: Path):
    assert control(inputs, tmp_path / "out").counts == {"frames": 0}
    assert read_control(tmp_path / "out") is None


def test_run__as_many_frames_by_lot_at_the_same_side(inputs: dict[str, Path], tmp_path: Path):
    report = control(inputs, tmp_path / "out", control_arm=True)
    found = read_control(tmp_path / "out")
    assert found is not None
    assert found.frame_ids == tuple(draw(FrameReader(inputs["frames"]), num=3, seed=0).tolist())
    assert report.counts == {"frames": 3, "teacher_boxes": found.num_boxes, "steps": 1}
    assert (found.card.side_px, found.card.class_names) == (144, CLASSES)
    assert found.card.training["frames"] == 3
    assert control_weights(tmp_path / "out").stat().st_size > 100_000
    control(inputs, tmp_path / "again", control_arm=True)
    assert digest(tmp_path / "again") == digest(tmp_path / "out")


def test_run__a_replayed_record_is_as_many_batches_by_lot(inputs: dict[str, Path], tmp_path: Path):
    record = tmp_path / "subset.jsonl"
    how = {"method": "gradmatch", "share": 0.5, "every": 2, "warm": 0.9}
    record.write_text(subset_lines(SubsetRecord(how, (Subset(0, (("frame 5",),), (1.0,), True),))))
    recipe = {"epochs": 5, "batch_size": 1, "subset_replay": str(record), "subset_share": 0.1, "subset_warm": 0.2}
    report = control(inputs, tmp_path / "out", control_arm=True, train_student={"recipe": recipe})
    assert report.counts["steps"] == 3 + 4 * 2  # the recipe's warm epoch, then two of three batches
    assert "it trained on 0.5 of its batches at random, drawn anew every 2 epochs" in report.notes[0]
    record.write_text(record.read_text().replace('"share": 0.5', '"share": 7'))
    wrong = r"subset\.jsonl: 'techniques\.random_pb\.share': wanted less than or equal to 1, found 7"
    with pytest.raises(ConfigError, match=wrong):
        control(inputs, tmp_path / "no", control_arm=True, train_student={"recipe": recipe})


def test_draw__by_lot_from_the_whole_pool(inputs: dict[str, Path]):
    frames = FrameReader(inputs["frames"])
    lots = [draw(frames, num=3, seed=seed) for seed in range(40)]
    assert all(np.array_equal(lot, np.sort(lot)) and len(set(lot.tolist())) == 3 for lot in lots)
    assert np.array_equal(np.unique(np.concatenate(lots)), frames.table.frame_ids)  # culled frames among them
    assert draw(frames, num=99, seed=0).tolist() == frames.table.frame_ids.tolist()


def test_stage_config__both_arms_are_told_the_same():
    settings = {
        "classes": ["person"],
        "teacher": {"name": "tiny_teacher", "weights": "t.safetensors"},
        "student": {"name": "tiny", "weights": "s.safetensors"},
        "label_frames": {"min_score": 0.6, "trust": "flip"},
        "train_student": {"recipe": {"epochs": 3, "learning_rate": 0.5}},
        "train_control": {"seed": 4, "labelling": {"min_score": 0.9}},
    }
    config = parse_config(PipelineConfig, settings, where="test")
    found = config.stage_config("train-control")
    assert isinstance(found, TrainControlConfig)
    assert (found.seed, found.control_arm) == (4, False)
    assert found.labelling.model_dump() == config.stage_config("label-frames").model_dump()
    assert found.training.model_dump() == config.stage_config("train-student").model_dump()
    assert set(external_inputs(found)) == {"t.safetensors", "s.safetensors"}  # other weights there, another task
