"""The contract of every trainable detector in the table, with random weights on small images."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.errors import WeightsError
from dataset_culling.types import ImageArray, ImageDetections, parse_classes
from detector_rows import trainable_rows

TRAINABLE = trainable_rows()
SIDE_PX = 96
CLASSES = ("person", "car")


def photos(num_images: int, height: int = 96, width: int = 128) -> list[ImageArray]:
    """Noise with a bright rectangle in it."""
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 120, (height, width, 3)).astype(np.uint8) for _ in range(num_images)]
    for image in images:
        image[height // 4 : height // 2, width // 4 : width // 2] = 230
    return images


def batch_of(detector: TorchDetector, images: list[ImageArray]) -> tuple[torch.Tensor, list[Target]]:
    """The images as training sees them, each with its rectangle as a box of class 1."""
    prepared = [detector.prepare(image, SIDE_PX) for image in images]
    targets = []
    for image, network in zip(images, prepared, strict=True):
        height, width = image.shape[:2]
        scale = torch.tensor([network.scale_x, network.scale_y] * 2, dtype=torch.float32)
        box = torch.tensor([[width / 4, height / 4, width / 2, height / 2]]) * scale
        targets.append(Target(box, torch.tensor([1]), torch.ones(1), torch.zeros(1, dtype=torch.bool)))
    return torch.from_numpy(np.stack([network.image for network in prepared])).permute(0, 3, 1, 2), targets


def without(target: Target) -> Target:
    """The same image without a box."""
    return Target(target.boxes_xyxy[:0], target.class_ids[:0], target.weights[:0], target.ignore[:0])


def doubtful(target: Target) -> Target:
    """The same image whose box is doubtful."""
    return Target(target.boxes_xyxy, target.class_ids, target.weights, torch.ones_like(target.ignore))


def training(detector: TorchDetector) -> TorchDetector:
    """In training mode with batch norms frozen, as the loop trains by default."""
    detector.module.train()
    for part in detector.module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
    return detector


@pytest.fixture(scope="module", params=TRAINABLE)
def built(request: pytest.FixtureRequest) -> TorchDetector:
    """The row's detector with random weights, for two classes, its batch norms fitted to noise. Not to be changed."""
    torch.manual_seed(0)
    detector = load_trainable(DetectorRef(name=request.param, weights="none"))
    names = detector.class_names
    detector = detector.specialise(parse_classes([f"{CLASSES[0]}={names[0]}", f"{CLASSES[1]}={names[1]}"]))
    norms = [part for part in detector.module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    detector.module.train()
    with torch.no_grad():
        detector.losses(*batch_of(detector, photos(3)))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    detector.module.eval()
    return detector


@pytest.fixture
def detector(built: TorchDetector) -> TorchDetector:
    """A copy of it that a test may change."""
    return copy.deepcopy(built)


def _check(found: ImageDetections, image: ImageArray, num_classes: int) -> None:
    assert (found.boxes_xyxy.shape, found.boxes_xyxy.dtype) == ((len(found), 4), np.float32)
    assert (found.scores.shape, found.scores.dtype) == ((len(found),), np.float32)
    assert (found.class_ids.shape, found.class_ids.dtype) == ((len(found),), np.int64)
    assert (np.diff(found.scores) <= 0).all()
    assert ((found.boxes_xyxy >= 0) & (found.boxes_xyxy <= [image.shape[1], image.shape[0]] * 2)).all()
    assert (found.boxes_xyxy[:, 2:] >= found.boxes_xyxy[:, :2]).all()
    assert ((found.class_ids >= 0) & (found.class_ids < num_classes)).all()


def test_predict__shapes_order_and_clipping(built):
    images = [*photos(2), *photos(1, 128, 96)]
    found = built.predict(images, side_px=SIDE_PX, min_score=0.0, batch_size=2)
    assert len(found) == 3
    assert sum(len(image) for image in found) > 0
    for image, boxes in zip(images, found, strict=True):
        _check(boxes, image, len(CLASSES))


def test_predict__nothing_below_the_least_score(built):
    (everything,) = built.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    middle = float(np.median(everything.scores))
    (better,) = built.predict(photos(1), side_px=SIDE_PX, min_score=middle)
    assert (better.scores >= middle).all()
    assert not built.module.training


def test_predict__one_by_one_as_together(built):
    images = photos(3)
    together = built.predict(images, side_px=SIDE_PX, min_score=0.0, batch_size=3)
    for image, boxes in zip(images, together, strict=True):
        (alone,) = built.predict([image], side_px=SIDE_PX, min_score=0.0)
        assert len(alone) == len(boxes)
        np.testing.assert_allclose(alone.scores, boxes.scores, atol=1e-3)


def test_predict__no_images(built):
    assert built.predict([]) == []


def test_predict__blank_image(built):
    blank = np.zeros((96, 128, 3), np.uint8)
    (found,) = built.predict([blank], side_px=SIDE_PX, min_score=0.0)
    _check(found, blank, len(CLASSES))
    assert np.isfinite(found.scores).all()


@pytest.mark.parametrize("shape", [(720, 1280), (96, 128), (1, 1), (50, 4000), (1080, 40)])
@pytest.mark.parametrize("side_px", [0, 1, 100, 100_000])
def test_network_size__within_its_limits(built, shape, side_px):
    height, width = built.network_size(*shape, side_px)
    largest = -(-built.max_side_px // built.divisor) * built.divisor
    assert height % built.divisor == width % built.divisor == 0
    assert 1 <= min(height, width) <= max(height, width) <= largest
    if max(shape) < 2 * min(shape):
        assert min(height, width) >= built.min_side_px


def test_prepare__as_network_size_says(built):
    for height, width in ((96, 128), (61, 47)):
        prepared = built.prepare(np.zeros((height, width, 3), np.uint8), SIDE_PX)
        assert prepared.image.shape == (*built.network_size(height, width, SIDE_PX), 3)
        assert prepared.image.dtype == np.uint8
        assert prepared.scale_x * width <= prepared.image.shape[1] + 0.5
        assert prepared.scale_y * height <= prepared.image.shape[0] + 0.5


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda targets: targets, id="a box in each image"),
        pytest.param(lambda targets: [without(target) for target in targets], id="no boxes at all"),
        pytest.param(lambda targets: [without(targets[0]), *targets[1:]], id="one image without"),
        pytest.param(lambda targets: [doubtful(target) for target in targets], id="only doubtful boxes"),
        pytest.param(lambda targets: [doubtful(targets[0]), *targets[1:]], id="one doubtful"),
    ],
)
def test_losses__finite_scalars(detector, change):
    batch, targets = batch_of(detector, photos(2))
    losses = training(detector).losses(batch, change(targets))
    assert losses
    assert all(loss.ndim == 0 for loss in losses.values())
    total = torch.stack(list(losses.values())).sum()
    assert torch.isfinite(total)
    total.backward()
    gradients = [p.grad for p in detector.module.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_losses__a_batch_of_one_trains_its_batch_norms_too(detector):
    batch, targets = batch_of(detector, photos(1))
    detector.module.train()
    assert torch.isfinite(torch.stack(list(detector.losses(batch, targets).values())).sum())
    assert detector.module.training


def test_losses__gradient_reaches_the_first_and_the_last_layer(detector):
    batch, targets = batch_of(detector, photos(2))
    torch.stack(list(training(detector).losses(batch, targets).values())).sum().backward()
    trained = [(name, p) for name, p in detector.module.named_parameters() if p.requires_grad and p.ndim > 1]
    reached = {name for name, p in trained if p.grad is not None and bool((p.grad != 0).any())}
    assert trained[0][0] in reached
    last = trained[-1][0].split(".")[0]  # not the last weight: of the coarsest map's there may be no anchor in use
    assert any(name.startswith(f"{last}.") for name in reached)
    assert len(reached) > 0.5 * len(trained)  # an SSD has heads for every map, and boxes of one size use few of them


def test_losses_by_image__as_each_image_alone(detector):
    batch, targets = batch_of(detector, photos(4))
    targets = [targets[0], without(targets[1]), doubtful(targets[2]), targets[3]]
    targets[3].weights.fill_(0.5)
    training(detector)
    torch.manual_seed(0)  # R-CNNs draw their samples
    with torch.no_grad():
        alone = [sum(detector.losses(batch[row : row + 1], [targets[row]]).values()) for row in range(4)]
    detector.module.train()
    before = detector.state()
    torch.manual_seed(0)
    with torch.inference_mode():
        together = detector.losses_by_image(batch, targets)
    assert (together.shape, together.dtype) == ((4,), torch.float32)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-3, atol=1e-4)
    assert len(set(together.tolist())) == 4
    assert all(torch.equal(value, before[key]) for key, value in detector.state().items())
    assert all(part.training for part in detector.module.modules())
    torch.stack(list(training(detector).losses(batch, targets).values())).sum().backward()  # nothing is left behind


def test_load_state__round_trip_through_a_file(built, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(built.state(), path, metadata={"class_names": json.dumps(list(CLASSES))})
    again = load_trainable(DetectorRef(name=built.name, weights=str(path)))
    assert again.class_names == CLASSES
    (mine,) = built.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    (theirs,) = again.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    np.testing.assert_array_equal(mine.boxes_xyxy, theirs.boxes_xyxy)
    np.testing.assert_array_equal(mine.scores, theirs.scores)

    save_file(built.state(), path, metadata={"class_names": json.dumps([*CLASSES, "dog"])})
    with pytest.raises(WeightsError, match="another number of classes") as caught:
        load_trainable(DetectorRef(name=built.name, weights=str(path)))
    assert "\n" not in str(caught.value)


def test_state__is_a_copy_on_the_cpu(built):
    state = built.state()
    assert set(state) == set(built.module.state_dict())
    assert all(value.is_contiguous() and value.device.type == "cpu" for value in state.values())
    key = next(key for key, value in state.items() if value.is_floating_point())
    state[key].add_(1)
    assert not torch.equal(state[key], built.module.state_dict()[key])


def test_replace_head__same_classes_same_boxes(built, detector):
    detector.replace_head([[0], [1]])
    (mine,) = built.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    (theirs,) = detector.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-6)
    np.testing.assert_allclose(mine.boxes_xyxy, theirs.boxes_xyxy, atol=1e-3)
    assert mine.class_ids.tolist() == theirs.class_ids.tolist()


def test_replace_head__classes_change_places(built, detector):
    detector.replace_head([[1], [0]])
    (mine,) = built.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    (theirs,) = detector.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
    np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-6)
    per_class = [[found.scores[found.class_ids == c] for c in (0, 1)] for found in (mine, theirs)]
    for class_id in (0, 1):
        np.testing.assert_allclose(per_class[0][class_id], per_class[1][1 - class_id], atol=1e-6)


def test_replace_head__more_and_fewer_classes_train(detector):
    for sources in ([[0], [1], [0, 1]], [[0, 1]]):
        own = copy.deepcopy(detector)
        own.replace_head(sources)
        own.class_names = tuple(f"class {row}" for row in range(len(sources)))
        (found,) = own.predict(photos(1), side_px=SIDE_PX, min_score=0.0)
        _check(found, photos(1)[0], len(sources))
        batch, targets = batch_of(own, photos(2))
        last = [
            Target(t.boxes_xyxy, torch.full_like(t.class_ids, len(sources) - 1), t.weights, t.ignore) for t in targets
        ]
        losses = training(own).losses(batch, last)
        assert torch.isfinite(torch.stack(list(losses.values())).sum())


def test_gflops__grow_with_the_side(built):
    largest = built.max_side_px if built.full_side_px < 2 * built.min_side_px else 2 * built.min_side_px
    small, large = built.gflops(96, 128, built.min_side_px), built.gflops(96, 128, min(largest, 320))
    assert 0 < small < large


class Hostile:
    """A pickle that makes a folder when it is loaded carelessly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("name", TRAINABLE)
def test_load_detector__code_in_weights_is_refused_and_not_run(name, tmp_path):
    made = tmp_path / "made by the pickle"
    torch.save({"model": Hostile(made)}, tmp_path / "hostile.pth")
    with pytest.raises(WeightsError, match="this pickle runs code when loaded, which is refused"):
        load_trainable(DetectorRef(name=name, weights=str(tmp_path / "hostile.pth")))
    assert not made.exists()


@pytest.mark.parametrize("name", TRAINABLE)
def test_load_detector__a_mistyped_weights_name_is_explained(name):
    with pytest.raises(WeightsError, match="COCO_V9") as caught:
        load_trainable(DetectorRef(name=name, weights="COCO_V9"))
    assert "\n" not in str(caught.value)


def test_detect__features_are_of_the_image_and_change_no_box(built):
    images = photos(3)
    images[1] = np.full_like(images[1], 40)
    batch = [built.prepare(image, SIDE_PX) for image in images]
    plain, seen = (built.detect(batch, min_score=0.0, features=features) for features in (False, True))
    assert [len(one) for one in seen] == [len(one) for one in plain]
    assert all(one.features is None for one in plain)
    looks = [one.features for one in seen]
    assert looks[0].ndim == 1
    assert len(looks[0]) > 10
    for image, look in zip(batch, looks, strict=True):
        alone = built.detect([image], min_score=0.0, features=True)[0].features
        assert np.abs(look - alone).max() < 1e-3 * np.abs(alone).max()
    assert np.abs(looks[0] - looks[1]).max() > 1e-2 * np.abs(looks[0]).max()


def test_last_layers__are_the_heads_predictors_and_all_have_gradients(detector):
    batch, targets = batch_of(training(detector), photos(2))
    found = detector.last_layers(batch, targets)
    head = dict(detector.module.named_modules())
    if "roi_heads" in head:
        wanted = {"rpn.head.cls_logits", "rpn.head.bbox_pred"}
        wanted |= {f"roi_heads.box_predictor.{name}" for name in ("cls_score", "bbox_pred")}
    elif "head.cls_preds" in head:
        wanted = {f"head.{kind}_preds.{level}" for kind in ("cls", "reg", "obj") for level in range(3)}
    elif "head.classification_head.cls_logits" in head:
        wanted = {"head.classification_head.cls_logits", "head.regression_head.bbox_reg"}
    else:  # SSD: one for each map; in SSDlite behind a depthwise convolution
        lite = ".1" if "head.classification_head.module_list.0.1" in head else ""
        wanted = {f"head.{kind}_head.module_list.{level}{lite}" for kind in ("classification", "regression")
                  for level in range(6)}  # fmt: skip
    assert set(found) == wanted
    sum(detector.losses(batch, targets).values()).backward()
    gradients = [layer.weight.grad for layer in found.values()]
    assert all(one is not None for one in gradients)
    assert sum(float(one.abs().sum()) for one in gradients) > 0
