"""A student that became smaller is itself again wherever it is loaded: artifact, next night, other processes, ONNX."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.model import ModelCard, read_model_card, write_model
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.compact import LowRank
from dataset_culling.detectors.export import export_module, export_onnx
from dataset_culling.detectors.exported import load_exported
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.inference.detect import local_weights
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.techniques.low_rank.ranks import factorise
from dataset_culling.training.techniques.pruning.neurons import remove, weakest
from dataset_culling.training.techniques.pruning.wiring import wiring_of
from dataset_culling.types import parse_classes
from squares import Squares

SIDE_PX = 96
STUDENTS = ("tiny", "tiny_1d", "tiny_teacher", "yolox_nano")
EMBEDDED = ("tiny", "tiny_1d", "tiny_teacher")


def compacted(name: str) -> TorchDetector:
    """A third of its parameters gone, kernels held as two; the embedded ones trained for an epoch with both knobs."""
    torch.manual_seed(0)
    whole = load_trainable(DetectorRef(name=name, weights="" if name in EMBEDDED else "none"))
    first, second = whole.class_names[:2]
    detector = whole.specialise(parse_classes([f"a={first}", f"b={second}"]))
    wiring = wiring_of(detector)
    remove(detector, wiring, weakest(detector.module, wiring, round(0.7 * detector.num_parameters())))
    if name == "tiny":
        recipe = Recipe(epochs=1, batch_size=2, prune=0.5, low_rank=1.0, low_rank_energy=0.7)
        train(detector, Squares(2), recipe, side_px=SIDE_PX)
    else:
        factorise(detector, 0.6)
    assert any(isinstance(part, LowRank) for part in detector.module.modules())
    assert detector.num_parameters() < 0.75 * whole.num_parameters()
    return detector


@pytest.fixture(scope="module", params=STUDENTS)
def small(request: pytest.FixtureRequest) -> TorchDetector:
    return compacted(request.param)


def write(detector: TorchDetector, path) -> DetectorRef:
    card = ModelCard(detector.name, detector.class_names, SIDE_PX, {}, detector.layers())
    write_model(path, card, detector.state(), Origin("train-student", {}, {}))
    assert read_model_card(path) == card
    return local_weights(DetectorRef(name=detector.name, weights=str(path)))


def alike(mine: TorchDetector, theirs: TorchDetector) -> None:
    image = Squares()[1].image
    a, b = (one.predict([image], side_px=SIDE_PX, min_score=0.0)[0] for one in (mine, theirs))
    assert len(a) > 0
    np.testing.assert_array_equal(a.boxes_xyxy, b.boxes_xyxy)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_model__loads_as_it_was_written_and_learns_on(small, tmp_path):
    ref = write(small, tmp_path / "model")
    again = load_trainable(ref)
    assert again.layers() == small.layers()
    assert again.num_parameters() == small.num_parameters()
    alike(again, small)
    tonight = again.specialise(parse_classes(["b", "a"]))
    write(tonight, tmp_path / "specialised")
    assert tonight.fingerprint() != again.fingerprint()
    if small.name != "tiny_teacher":
        train(tonight, Squares(2), Recipe(epochs=1, batch_size=2, prune=0.5), side_px=SIDE_PX)
        alike(load_trainable(write(tonight, tmp_path / "tonight")), tonight)


def test_export_onnx__of_a_smaller_student(small, tmp_path):
    image = Squares()[1].image
    detector = copy.deepcopy(small)
    described = export_onnx(detector, tmp_path, height_px=96, width_px=128, side_px=SIDE_PX, min_score=0.0005)
    exported = load_exported(described)
    if detector.name in EMBEDDED:
        (mine,) = detector.predict([image], side_px=SIDE_PX, min_score=0.0005)
        (theirs,) = exported.predict([image], min_score=0.0005)
        assert len(theirs) == len(mine) > 0
        np.testing.assert_allclose(np.sort(theirs.scores), np.sort(mine.scores), atol=1e-4)
        return
    pixels = exported._tensor(exported.prepare(image))  # an untrained YOLOX is sure of nothing: its raw numbers
    (answers,) = exported._runtime.run(iter([pixels]))
    with torch.no_grad():
        wanted = export_module(detector, 0.05)[0].eval()(torch.from_numpy(pixels))
    np.testing.assert_allclose(next(iter(answers.values())), wanted.numpy(), atol=1e-3, rtol=1e-3)
