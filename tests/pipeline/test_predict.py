"""What a deployed student sees: `culling predict` and bundles, from a simulated camera's footage to files.

Nothing is trained: the embedded student stands for one that was, in a registry with the figures of a real evaluation.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from conftest import REPOSITORY
from dataset_culling.artifacts.bundle import BundleProvenance, load_bundle, write_bundle
from dataset_culling.artifacts.detection_log import LoggedFrame, LogHeader, read_detection_log
from dataset_culling.artifacts.header import digest
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.cli.program import cli, exit_code_of
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.engine.stage_main import run_stage, stage_spec
from dataset_culling.registry.models import Provenance, open_registry
from dataset_culling.simulation import SimulatedCamera, demo_scene, write_video
from dataset_culling.stages.evaluate_student.config import EvaluateStudentConfig
from dataset_culling.types import ImageDetections, parse_classes
from docs_fences import fences

SIDE_PX = 224
"""Not the student's own, as optResolution may choose."""


@dataclass(frozen=True)
class Camera:
    """A camera with an evaluated student, in a run's folder and in a registry."""

    model: Path
    registry: Path
    video: Path
    metrics: dict[str, float]
    student: TorchDetector
    images: list[np.ndarray]  # all frames of the video, RGB

    def thresholds(self) -> dict[str, float]:
        return {name: self.metrics.get(f"score_threshold_{name}", 0.5) for name in CLASSES}

    def seen(self, images: list[np.ndarray]) -> list[ImageDetections]:
        """What the student itself sees, torch and all, above its thresholds."""
        least = np.array(list(self.thresholds().values()), np.float32)
        found = self.student.predict(images, side_px=SIDE_PX)
        return [boxes.rows(boxes.scores >= least[boxes.class_ids]) for boxes in found]


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Camera:
    folder = tmp_path_factory.mktemp("camera")
    tasks = folder / "run" / "tasks"
    student = load_trainable(DetectorRef(name="tiny")).specialise(parse_classes(CLASSES))
    model = tasks / "train-student" / "model"
    write_model(model, ModelCard("tiny", CLASSES, SIDE_PX, {}), student.state(), ORIGIN)
    truth = write_camera_frames(folder / "heldout", [float(time_s) for time_s in range(0, 300, 15)])
    scene = demo_scene("demo")
    sizes = [np.full(len(truth), side) for side in (scene.width_px, scene.height_px)]
    write_labels(folder / "labels", truth, *sizes, ORIGIN)
    judged = tasks / "evaluate-student"
    run_stage(
        stage_spec("evaluate-student"),
        EvaluateStudentConfig(classes=CLASSES, resamples=0),
        {"frames": folder / "heldout", "labels": folder / "labels", "model": model},
        {name: judged / name for name in ("metrics", "raw", "trained")},
        device="cpu",
    )
    metrics = read_metrics(judged / "metrics")
    registry = open_registry(str(folder / "registry"))
    registry.publish("gate", model, metrics, Provenance())
    registry.promote("gate", 1, expected=0, reason="the first")
    video = folder / "street.mp4"
    write_video(SimulatedCamera(scene), video, fps=5, duration_s=3, truth_path=folder / "truth.json")
    with av.open(str(video)) as file:
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    return Camera(model, folder / "registry", video, metrics, student, images)


def typed(*arguments: object) -> None:
    code = exit_code_of(lambda: cli.main(list(map(str, arguments)), prog_name="culling", standalone_mode=False))
    assert code == 0


def read(folder: Path) -> tuple[LogHeader, list[LoggedFrame]]:
    lines = list(read_detection_log(folder / "detections.jsonl"))
    return lines[0][0], [frame for _, frame in lines]


def assert_same(found: ImageDetections, wanted: ImageDetections, *, px: float, score: float) -> None:
    """The same boxes of the same classes, in any order where scores are as good as equal."""
    assert sorted(found.class_ids) == sorted(wanted.class_ids)
    one, other = (boxes.rows(np.lexsort((boxes.boxes_xyxy[:, 0], boxes.class_ids))) for boxes in (found, wanted))
    np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=px)
    np.testing.assert_allclose(one.scores, other.scores, atol=score)


def test_predict__from_the_registry_all_that_the_student_sees(camera: Camera, tmp_path: Path, capfd):
    typed("predict", f"{camera.registry}#gate", camera.video, "--out", tmp_path, "--device", "cpu")
    assert "15 frames of 3.0 s" in capfd.readouterr().out
    header, frames = read(tmp_path)
    assert (header.model.camera, header.model.version) == ("gate", 1)
    assert header.model.model_digest == digest(camera.model)
    assert header.score_thresholds == pytest.approx(camera.thresholds())
    assert header.side_px == SIDE_PX
    assert 0.05 < camera.metrics["score_threshold_person"] < 1  # tuned; of dogs or trucks there are too few
    assert header.score_thresholds["truck"] == 0.5
    assert [frame.frame_id for frame in frames] == [200 * number for number in range(15)]
    wanted = camera.seen(camera.images)
    assert sum(map(len, wanted)) > 10
    for frame, boxes in zip(frames, wanted, strict=True):
        assert_same(frame.found, boxes, px=0.05, score=1e-3)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "detections.coco.json"))
    assert len(coco.imgs) == 15
    assert len(coco.anns) == sum(map(len, wanted))
    for frame in frames:
        boxes = np.array([box["bbox"] for box in coco.imgToAnns[frame.frame_id]]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        np.testing.assert_allclose(boxes, frame.found.boxes_xyxy, atol=0.02)
    with av.open(str(tmp_path / "detections.mp4")) as file:
        drawn = list(file.decode(video=0))
    assert [round(frame.time, 3) for frame in drawn] == [frame.time_s for frame in frames]
    for picture, image, boxes in zip(drawn, camera.images, wanted, strict=True):
        change = np.abs(picture.to_ndarray(format="rgb24").astype(int) - image).mean(2)
        assert change.mean() < 6  # the encoder's loss, and a few lines
        for x1, y1, x2, y2 in np.rint(boxes.boxes_xyxy).astype(int):
            assert change[y1:y2, max(x1 - 1, 0) : x1 + 2].max() > 30, "no line at the left of a box"
            assert change[max(y1 - 1, 0) : y1 + 2, x1:x2].max() > 30, "no line at the top of a box"


def test_predict__fewer_frames_fewer_files_another_threshold(camera: Camera, tmp_path: Path, capfd):
    (tmp_path / "detections.mp4").write_bytes(b"of an earlier call")
    typed(
        "predict", "--registry", camera.registry, "--camera", "gate", camera.video, "--out", tmp_path, "--fps", "1",
        "--no-draw", "--format", "jsonl", "--threshold", "0.2", "--json", "--device", "cpu",
    )  # fmt: skip
    said = json.loads(capfd.readouterr().out)
    assert (said["frames"], said["camera"], said["version"]) == (3, "gate", 1)
    assert said["footage_s"] == pytest.approx(3)
    assert [file.name for file in tmp_path.iterdir()] == ["detections.jsonl"]
    header, frames = read(tmp_path)
    assert header.score_thresholds == dict.fromkeys(CLASSES, 0.2)
    assert [frame.time_s for frame in frames] == [0, 1, 2]
    wanted = camera.student.predict(camera.images[::5], side_px=SIDE_PX, min_score=0.2)
    for frame, boxes in zip(frames, wanted, strict=True):
        assert_same(frame.found, boxes, px=0.05, score=1e-3)


WITHOUT_TORCH = """
import sys
from dataset_culling.cli.program import cli
cli.main(sys.argv[1:], prog_name="culling", standalone_mode=False)
assert "torch" not in sys.modules, "torch was loaded"
"""
WITHOUT_US = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"dataset_culling", "torch", "pydantic"}, loaded
"""


def ran(code: str, *arguments: object, alone: bool = False) -> str:
    """What Python code in a process of its own prints; alone: without PYTHONPATH."""
    done = subprocess.run(
        [sys.executable, *(["-I"] if alone else []), "-c", code, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_bundle__predicts_without_torch_and_is_read_without_us(camera: Camera, tmp_path: Path, capfd):
    bundle = tmp_path / "bundles" / "gate"
    typed("models", "--registry", camera.registry, "export", "gate", "--to", bundle)
    assert sorted(file.name for file in bundle.iterdir()) == ["bundle.json", "model.onnx"]
    card = json.loads((bundle / "bundle.json").read_text())
    assert card["score_thresholds"] == pytest.approx(camera.thresholds())
    assert card["provenance"]["model_digest"] == digest(camera.model)
    assert (card["provenance"]["camera"], card["provenance"]["version"]) == ("gate", 1)
    height_px, width_px = camera.images[0].shape[:2]
    assert (card["frame_height_px"], card["frame_width_px"]) == (height_px, width_px)

    ran(WITHOUT_TORCH, "predict", bundle, camera.video, "--out", tmp_path / "seen", "--no-draw")
    _, frames = read(tmp_path / "seen")
    wanted = camera.seen(camera.images)
    for frame, boxes in zip(frames, wanted, strict=True):
        assert_same(frame.found, boxes, px=0.2, score=2e-3)

    (reader,) = (one for one in fences(REPOSITORY / "docs" / "serving.md") if one.mark == "file=read_bundle.py")
    (tmp_path / "read_bundle.py").write_text(reader.text)
    pictures = [tmp_path / f"{number}.png" for number in (0, 7, 14)]
    for picture, image in zip(pictures, camera.images[::7], strict=True):
        cv2.imwrite(str(picture), image[..., ::-1])
    lines = ran(WITHOUT_US, tmp_path / "read_bundle.py", bundle, *pictures, alone=True).splitlines()
    assert len(lines) == 3
    for line, boxes in zip(map(json.loads, lines), wanted[::7], strict=True):
        theirs = ImageDetections(
            np.array(line["boxes_xyxy"], np.float32).reshape(-1, 4),
            np.array(line["scores"], np.float32),
            np.array([CLASSES.index(name) for name in line["classes"]], np.int64),
        )
        assert_same(theirs, boxes, px=0.2, score=2e-3)


def test_export__again_over_an_older_bundle_but_over_nothing_else(camera: Camera, tmp_path: Path, capfd):
    own = camera.model.parent.parent.parent.parent / "run"  # the model of a run, whose evaluation lies beside it
    model = own / "tasks" / "train-student" / "model"
    for side in ("320x180", "512x288"):
        typed("models", "export", "--model", model, "--to", tmp_path / "b", "--frame-size", side, "--json")
        card = json.loads(capfd.readouterr().out)
        assert f"{card['frame_width_px']}x{card['frame_height_px']}" == side
        assert card == json.loads((tmp_path / "b" / "bundle.json").read_text())
    assert [file.name for file in tmp_path.iterdir()] == ["b"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code = exit_code_of(
        lambda: cli.main(
            ["models", "export", "--model", str(model), "--to", str(tmp_path / "mine")], standalone_mode=False
        )
    )
    assert code == 5
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["yolox_nano", "ssdlite320_mobilenet_v3_large"])
def test_bundle__of_other_families_is_read_without_us_too(name: str, tmp_path: Path):
    torch.manual_seed(0)
    student = load_trainable(DetectorRef(name=name, weights="none")).specialise(parse_classes(["person", "car"]))
    spec = write_bundle(
        tmp_path / "bundle", student, height_px=180, width_px=320, score_thresholds={"person": 0.0, "car": 0.0},
        untuned=(), provenance=BundleProvenance(detector=name, side_px=160, model_digest="", code_version=""),
        min_score=0.0,
    )  # fmt: skip
    image = np.random.default_rng(1).integers(0, 255, (180, 320, 3)).astype(np.uint8)
    (wanted,) = load_bundle(tmp_path / "bundle", spec, runner="onnx").predict([image], min_score=0.0)
    (reader,) = (one for one in fences(REPOSITORY / "docs" / "serving.md") if one.mark == "file=read_bundle.py")
    names: dict[str, Any] = {"__name__": "reader"}
    exec(reader.text, names)
    boxes, scores, classes = names["Bundle"](tmp_path / "bundle").look(image)
    assert len(scores) == len(wanted) > 20
    np.testing.assert_allclose(scores, wanted.scores, atol=1e-6)
    np.testing.assert_allclose(boxes, wanted.boxes_xyxy, atol=0.01)
    assert classes == [spec.class_names[class_id] for class_id in wanted.class_ids]
