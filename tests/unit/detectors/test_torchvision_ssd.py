from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection

from dataset_culling.detectors.torch_base import Target, running_statistics
from dataset_culling.detectors.torchvision_common import COCO_IDS, COCO_NAMES, mapped_conv
from dataset_culling.detectors.torchvision_ssd import (
    NUM_PUBLISHED_COLUMNS,
    Ssd300Detector,
    SsdDetector,
    build_retinanet_resnet50_fpn,
    build_ssd300_vgg16,
    build_ssdlite320,
)
from dataset_culling.errors import WeightsError


def target(*boxes: tuple[float, ...], ids: list[int] | None = None, weight: float = 1.0, ignore: int = 0) -> Target:
    """Boxes of one image; the last `ignore` of them are doubtful."""
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(ids or [0] * len(boxes), dtype=torch.int64),
        torch.full((len(boxes),), weight),
        torch.arange(len(boxes)) >= len(boxes) - ignore,
    )


def photos(num_images: int, side_px: int) -> Tensor:
    """Noise (B, 3, side, side) uint8."""
    rng = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (num_images, 3, side_px, side_px), dtype=torch.uint8, generator=rng)


@pytest.fixture(scope="module")
def ssdlite() -> SsdDetector:
    """An untrained SSDlite for three classes whose batch norms have seen noise, so that its scores differ."""
    torch.manual_seed(0)
    module = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)
    module.train()
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.momentum = 1.0
        module.head(list(module.backbone(photos(2, 320).float() / 128 - 1).values()))
        for part in module.head.modules():
            if isinstance(part, nn.Conv2d) and part.groups == 1:
                nn.init.normal_(part.weight, 0, 0.1)
    return SsdDetector("ssdlite", module, ("a", "b", "c"), full_side_px=320)


def test_coco_names__eighty_in_order():
    assert len(COCO_NAMES) == len(COCO_IDS) == 80
    assert (COCO_IDS[0], COCO_NAMES[0]) == (1, "person")
    assert (COCO_IDS[11], COCO_NAMES[11]) == (13, "stop sign")  # 12 means nothing
    assert (COCO_IDS[-1], COCO_NAMES[-1]) == (90, "toothbrush")


def test_mapped_conv__worked_by_hand():
    """Two anchors, three old classes, two new ones: the last old class, and the mean of the first two."""
    old = nn.Conv2d(1, 6, 1)
    with torch.no_grad():
        old.weight.copy_(torch.tensor([1.0, 2, 3, 10, 20, 30]).reshape(6, 1, 1, 1))
        old.bias.copy_(torch.tensor([0.0, 1, 2, 3, 4, 5]))
    new = mapped_conv(old, [[2], [0, 1]], anchors=2)
    assert new.weight.flatten().tolist() == [3, 1.5, 30, 15]
    assert new.bias.tolist() == [2, 0.5, 5, 3.5]  # type: ignore[union-attr]


def test_running_statistics__a_map_of_one_cell_can_be_trained_on():
    norm = nn.BatchNorm2d(2).train()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm(torch.ones(1, 2, 1, 1))
    with running_statistics(norm, when=True):
        norm(torch.ones(1, 2, 1, 1))
    assert norm.training


@pytest.mark.parametrize("min_score", [0.02, 0.3])
def test_forward__equals_torchvision(ssdlite, min_score):
    """torchvision goes class by class; the one pass here must keep the same boxes."""
    batch = photos(2, 320)
    module = copy.deepcopy(ssdlite.module)
    module.score_thresh, module.detections_per_img = min_score, 100
    with torch.inference_mode():
        theirs = module(list(batch.float() / 255))
    for mine, image in zip(ssdlite.forward(batch, min_score=min_score), theirs, strict=True):
        assert len(mine) > 10
        assert len(np.unique(mine.scores)) == len(mine)
        np.testing.assert_allclose(mine.scores, image["scores"].numpy(), rtol=1e-5)
        np.testing.assert_allclose(mine.boxes_xyxy, image["boxes"].numpy(), rtol=1e-4, atol=1e-3)
        assert mine.class_ids.tolist() == (image["labels"] - 1).tolist()


def test_losses__equal_torchvision(ssdlite):
    """On images that all have objects, none doubtful, all of full weight."""
    batch = photos(2, 320)
    boxes = [[(20.0, 30.0, 120.0, 200.0), (200.0, 40.0, 300.0, 140.0)], [(5.0, 5.0, 310.0, 300.0)]]
    module = copy.deepcopy(ssdlite.module).train()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    wanted = [
        {"boxes": torch.tensor(boxes[0]), "labels": torch.tensor([1, 3])},
        {"boxes": torch.tensor(boxes[1]), "labels": torch.tensor([2])},
    ]
    theirs = module(list(batch.float() / 255), wanted)
    mine = ssdlite.losses(batch, [target(*boxes[0], ids=[0, 2]), target(*boxes[1], ids=[1])])
    assert mine.keys() == theirs.keys()
    for name in mine:
        assert mine[name].item() == pytest.approx(theirs[name].item(), rel=1e-4)


def test_losses__weight_of_a_box(ssdlite):
    batch, box = photos(1, 128), (20.0, 20.0, 100.0, 110.0)
    full, half, none = (ssdlite.losses(batch, [target(box, weight=weight)]) for weight in (1.0, 0.5, 0.0))
    assert half["bbox_regression"].item() == pytest.approx(full["bbox_regression"].item() / 2)
    assert none["bbox_regression"].item() == 0
    negatives = none["classification"].item()
    assert half["classification"].item() - negatives == pytest.approx(
        (full["classification"].item() - negatives) / 2, rel=1e-4
    )


def test_losses__images_without_objects_teach_what_background_is(ssdlite):
    losses = ssdlite.losses(photos(1, 128), [target()])
    assert losses["bbox_regression"].item() == 0
    assert losses["classification"].item() > 0


def test_losses__doubtful_boxes_are_neither_object_nor_background(ssdlite):
    """With a doubtful box on every default box nothing is left to be background."""
    batch = photos(1, 128)
    *_, default_boxes = ssdlite.outputs(batch)
    everywhere = target(*map(tuple, default_boxes.tolist()), ignore=len(default_boxes))
    losses = ssdlite.losses(batch, [everywhere])
    assert sum(loss.item() for loss in losses.values()) == 0
    box = (20.0, 20.0, 100.0, 110.0)
    beside = ssdlite.losses(batch, [target(box, box, ignore=1)])
    alone = ssdlite.losses(batch, [target(box)])
    assert beside["bbox_regression"].item() == pytest.approx(alone["bbox_regression"].item())


@pytest.mark.parametrize(
    ("build", "state_key", "per_place"),
    [
        pytest.param(build_ssdlite320, "head.classification_head.module_list.0.1.weight", 6, id="SSDlite"),
        pytest.param(build_retinanet_resnet50_fpn, "head.classification_head.cls_logits.weight", 9, id="RetinaNet"),
    ],
)
def test_build__published_files_have_91_columns_of_which_80_are_kept(tmp_path, build, state_key, per_place):
    torch.manual_seed(0)
    name = build("none").name
    module = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=NUM_PUBLISHED_COLUMNS)
    torch.save(module.state_dict(), tmp_path / "published.pth")
    detector = build(str(tmp_path / "published.pth"))
    assert detector.class_names == COCO_NAMES
    old = module.state_dict()[state_key].reshape(per_place, 91, -1)
    columns = [*([0] if detector.background_columns else []), *COCO_IDS]
    new = detector.state()[state_key].reshape(per_place, len(columns), -1)
    torch.testing.assert_close(new, old[:, columns])
    torch.save(detector.state(), tmp_path / "ours.pth")  # 80 classes, no names: read as they are
    again = build(str(tmp_path / "ours.pth"))
    assert torch.equal(again.state()[state_key], detector.state()[state_key])


def test_build__another_number_of_classes_is_explained(tmp_path):
    detector = build_ssdlite320("none")
    detector.replace_head([[0], [1]])
    torch.save(detector.state(), tmp_path / "two.pth")
    with pytest.raises(WeightsError, match="another number of classes"):
        build_ssdlite320(str(tmp_path / "two.pth"))


def test_network_size__ssd_is_square_within_its_limits(ssdlite):
    assert ssdlite.network_size(720, 1280) == (320, 320)
    assert ssdlite.network_size(720, 1280, 160) == (160, 160)
    assert ssdlite.network_size(720, 1280, 1) == (64, 64)
    prepared = ssdlite.prepare(np.zeros((720, 1280, 3), np.uint8), 160)
    assert (prepared.scale_x, prepared.scale_y) == (160 / 1280, 160 / 720)


def test_ssd300__works_from_its_least_side():
    detector = build_ssd300_vgg16("none")
    detector.replace_head([[0], [1]])
    (found,) = detector.predict([np.zeros((90, 120, 3), np.uint8)], side_px=1, min_score=0.0)
    assert len(found) > 0
    with pytest.raises(RuntimeError, match="Kernel size"), torch.no_grad():
        detector.module.backbone(torch.zeros(1, 3, Ssd300Detector.min_side_px - 8, 300))
