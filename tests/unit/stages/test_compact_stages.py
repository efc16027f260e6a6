"""A student that became smaller goes the whole way: trained, judged, exported, registered, served, trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.model import read_model_card, weights_file
from dataset_culling.artifacts.resolution import Resolution, write_resolution
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.engine.stage_main import run_stage, stage_spec
from dataset_culling.registry.models import Provenance, open_registry
from dataset_culling.serving.bundle import registered_model
from dataset_culling.simulation import demo_scene
from dataset_culling.stages.evaluate_student.config import EvaluateStudentConfig
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import Selection

WHOLE = 430_000
RECIPE = Recipe(epochs=2, batch_size=2, warmup_steps=0, prune=12.0, low_rank=60.0, low_rank_energy=0.8)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Inputs of the training, and its model."""
    folder = tmp_path_factory.mktemp("camera")
    truth = write_camera_frames(folder / "frames", [40.0 + 9 * k for k in range(4)])
    scene = demo_scene("demo")
    sizes = [np.full(len(truth), side) for side in (scene.width_px, scene.height_px)]
    write_labels(folder / "labels", truth, *sizes, ORIGIN)
    write_selection(folder / "selection", Selection(truth.frame_ids, np.zeros(4), ("by hand",) * 4), ORIGIN)
    write_resolution(folder / "resolution", Resolution(0.5, 144, 288, 0.05, 1.0, 0.25, "by hand", ()), ORIGIN)
    inputs = {name: folder / name for name in ("frames", "labels", "selection", "resolution")}
    return {**inputs, "model": taught(inputs, folder / "model", DetectorRef(name="tiny"))}


def taught(inputs: dict[str, Path], out: Path, student: DetectorRef) -> Path:
    config = TrainStudentConfig(classes=CLASSES, student=student, recipe=RECIPE)
    read = {name: path for name, path in inputs.items() if name != "model"}
    run_stage(stage_spec("train-student"), config, read, {"model": out}, device="cpu")
    return out


def test_train_student__the_model_says_its_sizes(night: dict[str, Path]):
    card = read_model_card(night["model"])
    student = load_trainable(DetectorRef(name="tiny", weights=str(weights_file(night["model"]))))
    assert card.layers == student.layers()
    assert student.num_parameters() < 0.9 * WHOLE
    assert weights_file(night["model"]).stat().st_size < 0.9 * 4 * WHOLE


def test_evaluate_student__judges_and_exports_it(night: dict[str, Path], tmp_path: Path):
    run_stage(
        stage_spec("evaluate-student"),
        EvaluateStudentConfig(classes=CLASSES, resamples=0, export="onnx", export_max_loss=0.02),
        {name: night[name] for name in ("frames", "labels", "model")},
        {name: tmp_path / name for name in ("metrics", "raw", "trained")},
        device="cpu",
    )
    figures = read_metrics(tmp_path / "metrics")
    assert figures["exported_mib"] < 0.9 * 4 * WHOLE / 2**20


def test_registry__serves_it_as_it_was_trained(night: dict[str, Path], tmp_path: Path):
    registry = open_registry(str(tmp_path / "registry"))
    registry.publish("gate", night["model"], {}, Provenance())
    registry.promote("gate", 1, expected=0, reason="the first")
    frames = FrameReader(night["frames"])
    image = frames.image(int(frames.table.frame_ids[0]))
    trained = load_trainable(DetectorRef(name="tiny", weights=str(weights_file(night["model"]))))
    with registered_model(registry, "gate") as served:
        (mine,) = served.load().predict([image], side_px=144, min_score=0.0)
    (theirs,) = trained.predict([image], side_px=144, min_score=0.0)
    np.testing.assert_array_equal(mine.scores, theirs.scores)
    np.testing.assert_array_equal(mine.boxes_xyxy, theirs.boxes_xyxy)


def test_train_student__the_next_night_goes_on_from_it(night: dict[str, Path], tmp_path: Path):
    ref = DetectorRef(name="tiny", weights=str(night["model"]))
    first = load_trainable(DetectorRef(name="tiny", weights=str(weights_file(night["model"]))))
    second = weights_file(taught(night, tmp_path / "model", ref))
    found = load_trainable(DetectorRef(name="tiny", weights=str(second)))
    assert found.num_parameters() < first.num_parameters()
    assert set(found.layers()) >= {name for name, sizes in first.layers().items() if len(sizes) == 3}
