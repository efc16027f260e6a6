"""Training by several processes: the launcher, and that two see together what one sees alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError
from dataset_culling.stages.together import LabelledFrames, Lesson, learn, learn_together, num_processes
from dataset_culling.training.loop import TrainingDiverged
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import Detections, ImageDetections, parse_classes

CLASSES = ("person", "car")


def footage(path: Path, num_frames: int) -> LabelledFrames:
    """Frames with a bright square each and its box."""
    found = []
    with FrameWriter(path, origin=Origin("test")) as writer:
        for row in range(num_frames):
            image = np.full((96, 128, 3), 40, np.uint8)
            x = 10 + 12 * row
            image[20:60, x : x + 40] = (250, 200, 60)
            writer.add(row * 1000, float(row), image)
            box = np.array([[x, 20, x + 40, 60]], np.float32)
            found.append(ImageDetections(box, np.ones(1, np.float32), np.array([row % 2])))
    rows = np.arange(num_frames)
    labels = Detections.from_images(found, frame_ids=rows * 1000, time_s=rows.astype(np.float64), class_names=CLASSES)
    return LabelledFrames(FrameReader(path), labels, rows)


def lesson(samples: LabelledFrames, student: DetectorRef, recipe: Recipe) -> Lesson:
    return Lesson(student, CLASSES, DetectorRef(name="tiny_teacher"), recipe, samples, None, 96, None)


def fresh(ref: DetectorRef) -> TorchDetector:
    return load_trainable(ref).specialise(parse_classes(CLASSES))


@pytest.mark.parametrize("selective", [False, True], ids=["whole batches", "selective"])
def test_learn_together__two_processes_learn_what_one_does(tmp_path, selective):
    # RetinaNet's loss is a mean over images and draws no lots, so that the mean of two processes is the whole batch's.
    # Five images in twos: in the last batch nothing is left for the second process.
    samples = footage(tmp_path / "frames", 5)
    state = fresh(DetectorRef(name="retinanet_resnet50_fpn", weights="none")).state()
    file = tmp_path / "start.safetensors"
    save_file(state, file, metadata={"class_names": '["person", "car"]'})
    ref = DetectorRef(name="retinanet_resnet50_fpn", weights=str(file))
    recipe = Recipe(
        epochs=1, batch_size=2, optimizer="sgd", learning_rate=1e-2, warmup_steps=0, ema_decay=0.0, photometric=0.1,
        selective_backprop=selective, selective_start=0.0, selective_interrupt=0,
    )  # fmt: skip
    work, seen = lesson(samples, ref, recipe), []
    alone, together = fresh(ref), fresh(ref)
    record_alone = learn(work, alone, lambda done, total: None)
    record = learn_together(work, together, lambda done, total: seen.append((done, total)), processes=2)
    assert record.steps == record_alone.steps == 3
    assert record.images_backpropagated == record_alone.images_backpropagated == ((3,) if selective else (5,))
    assert seen[-1] == (3, 3)
    assert record.losses[0] == pytest.approx(record_alone.losses[0], rel=1e-3)
    ends = [{k: v for k, v in one.state().items() if v.is_floating_point()} for one in (alone, together)]
    moved = max(float((value - state[key]).abs().max()) for key, value in ends[0].items())
    apart = max(float((value - ends[1][key]).abs().max()) for key, value in ends[0].items())
    assert moved > 1e-3
    assert apart < 0.01 * moved


def test_learn_together__a_student_that_became_smaller_comes_back_so(tmp_path):
    samples = footage(tmp_path / "frames", 2)
    recipe = Recipe(epochs=1, batch_size=2, warmup_steps=0, prune=30.0, low_rank=30.0, low_rank_energy=0.8)
    work = lesson(samples, DetectorRef(name="tiny"), recipe)
    student = fresh(work.student)
    whole = student.num_parameters()
    learn_together(work, student, lambda done, total: None, processes=1)
    assert student.num_parameters() < 0.9 * whole
    assert any(len(sizes) == 3 for sizes in student.layers().values())
    assert len(student.predict([samples[0].image], side_px=96, min_score=0.0)) == 1


def test_learn_together__two_processes_choose_the_subset_that_one_does(tmp_path):
    samples, tiny = footage(tmp_path / "frames", 6), DetectorRef(name="tiny")
    recipe = Recipe(epochs=1, batch_size=2, subset="gradmatch", subset_share=0.6)
    work = lesson(samples, tiny, recipe)
    (alone,) = learn(work, fresh(tiny), lambda done, total: None).subsets
    (together,) = learn_together(work, fresh(tiny), lambda done, total: None, processes=2).subsets
    assert len(alone.groups) == 2
    assert together.groups == alone.groups
    assert together.weights == pytest.approx(alone.weights, rel=1e-3)


def test_learn_together__an_error_of_one_is_told_as_if_alone(tmp_path):
    samples = footage(tmp_path / "frames", 4)
    recipe = Recipe(epochs=3, batch_size=2, learning_rate=1.0, clip_norm=0, optimizer="sgd", warmup_steps=0)
    work = lesson(samples, DetectorRef(name="tiny"), recipe)
    with pytest.raises(TrainingDiverged, match=r"expected a finite (loss|gradient)") as caught:
        learn_together(work, fresh(work.student), lambda done, total: None, processes=2)
    assert "\n" not in str(caught.value)


def test_num_processes__one_for_each_gpu_and_never_more_than_images(monkeypatch):
    assert num_processes(0, "cpu", 8) == 1
    assert num_processes(3, "cpu", 8) == 3
    assert num_processes(3, "cpu", 2) == 2
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert num_processes(0, "cuda", 8) == 4
    assert num_processes(2, "cuda", 8) == 2
    assert num_processes(0, "cuda:1", 8) == 1
    with pytest.raises(ConfigError, match=r"expected at most 4, the number of GPUs .*, found 5"):
        num_processes(5, "cuda", 8)
