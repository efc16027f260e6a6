from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dataset_culling.boxes import iou_matrix
from dataset_culling.detectors.simota import assign
from dataset_culling.detectors.torch_base import Target
from dataset_culling.detectors.yolox import YoloxDetector, build_yolox_nano, convolutions_in_order, onnx_state
from dataset_culling.detectors.yolox_network import STRIDES, YOLOX, BaseConv, decode
from dataset_culling.errors import WeightsError
from dataset_culling.training.data import Sample
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import ImageDetections, parse_classes

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
needs_published_nano = pytest.mark.skipif(
    not (SHARED / "models" / "yolox_nano.onnx").is_file(), reason="no shared/models/yolox_nano.onnx beside the checkout"
)
LN2 = float(np.log(2))


def small(num_classes: int = 2) -> YOLOX:
    """The same network with few channels."""
    return YOLOX(num_classes, base=8, depth=1, depthwise=True)


def target(*boxes: tuple[float, ...], ids: list[int] | None = None, weight: float = 1.0, ignore: int = 0) -> Target:
    """Boxes of one image; the last `ignore` of them are doubtful."""
    marks = torch.arange(len(boxes)) >= len(boxes) - ignore
    return Target(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(ids or [0] * len(boxes), dtype=torch.int64),
        torch.full((len(boxes),), weight),
        marks,
    )


# -- assignment


def _assign_by_loops(
    centres: Tensor, strides: Tensor, boxes: Tensor, objectness: Tensor, logits: Tensor, truths: Tensor, ids: Tensor
) -> dict[int, int]:
    """SimOTA one object and one prediction at a time, as the paper tells it: prediction -> object."""
    score = np.sqrt(logits.sigmoid().numpy() * objectness.sigmoid().numpy()[:, None])
    overlap = iou_matrix(truths.numpy(), boxes.numpy())
    middle = (truths[:, :2] + truths[:, 2:]).numpy() / 2
    near = [
        [bool((np.abs(centres[a].numpy() - middle[g]) < 1.5 * float(strides[a])).all()) for a in range(len(boxes))]
        for g in range(len(truths))
    ]
    candidates = [a for a in range(len(boxes)) if any(near[g][a] for g in range(len(truths)))]
    taken: dict[int, tuple[float, int]] = {}
    for g in range(len(truths)):
        costs = []
        for a in candidates:
            hot = np.eye(logits.shape[1])[int(ids[g])]
            entropy = -(hot * np.log(score[a]) + (1 - hot) * np.log(1 - score[a])).sum()
            costs.append((entropy - 3 * np.log(overlap[g, a] + 1e-8), a))
        wanted = max(int(sum(sorted((overlap[g, a] for a in candidates), reverse=True)[:10])), 1)
        for cost, a in sorted((cost, a) for cost, a in costs if near[g][a])[:wanted]:
            if a not in taken or cost < taken[a][0]:
                taken[a] = (cost, g)
    return {a: g for a, (_, g) in taken.items()}


@pytest.mark.parametrize("seed", range(8))
def test_assign__equals_the_loops(seed):
    rng = torch.Generator().manual_seed(seed)
    strides = torch.cat([torch.full((64,), 8.0), torch.full((16,), 16.0), torch.full((4,), 32.0)])
    cells = [torch.cartesian_prod(torch.arange(side), torch.arange(side)).float() for side in (8, 4, 2)]
    centres = (torch.cat(cells) + 0.5) * strides[:, None]
    truths = torch.rand(6, 2, generator=rng) * 40
    truths = torch.cat([truths, truths + 4 + torch.rand(6, 2, generator=rng) * 30], 1)
    near = truths[torch.randint(0, 6, (84,), generator=rng)]
    boxes = near + torch.randn(84, 4, generator=rng) * 3  # predictions close to objects, so that k is more than 1
    boxes = torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)], 1)
    objectness, logits = torch.randn(84, generator=rng), torch.randn(84, 3, generator=rng)
    ids = torch.randint(0, 3, (6,), generator=rng)
    given = assign(centres, strides, boxes, objectness, logits, truths, ids)
    wanted = _assign_by_loops(centres, strides, boxes, objectness, logits, truths, ids)
    assert dict(zip(given.prediction.tolist(), given.truth.tolist(), strict=True)) == wanted
    assert len(wanted) > 6
    overlap = iou_matrix(truths.numpy(), boxes.numpy())[given.truth.numpy(), given.prediction.numpy()]
    np.testing.assert_allclose(given.iou.numpy(), overlap, rtol=1e-5)


def test_assign__worked_by_hand():
    """Two cells of 8 px side by side; an object on each; every prediction sees the left object perfectly."""
    centres, strides = torch.tensor([[4.0, 4.0], [12.0, 4.0]]), torch.tensor([8.0, 8.0])
    left, right = [0.0, 0.0, 8.0, 8.0], [8.0, 0.0, 16.0, 8.0]
    given = assign(
        centres, strides, torch.tensor([left, left]), torch.zeros(2), torch.tensor([[0.0], [1.0]]),
        torch.tensor([left, right]), torch.tensor([0, 0]),
    )  # fmt: skip
    # Left wants two (its overlaps add up to 2), right wants one at least and finds only bad ones: it takes the
    # prediction that is surer of the class, and loses it to left, for which it is cheaper.
    assert given.prediction.tolist() == [0, 1]
    assert given.truth.tolist() == [0, 0]
    assert given.iou.tolist() == [1, 1]


@pytest.mark.parametrize(
    "truths", [pytest.param([], id="no object"), pytest.param([[90.0, 90.0, 99.0, 99.0]], id="object outside")]
)
def test_assign__nothing_to_give(truths):
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]])
    given = assign(
        torch.tensor([[4.0, 4.0]]), torch.tensor([8.0]), boxes, torch.zeros(1), torch.zeros(1, 2),
        torch.tensor(truths).reshape(-1, 4), torch.zeros(len(truths), dtype=torch.int64),
    )  # fmt: skip
    assert [len(part) for part in given] == [0, 0, 0]


# -- decoding and losses


class FreeNumbers(nn.Module):
    """A network that says what its parameters say, whatever it sees: the head's raw outputs, learnt directly."""

    def __init__(self, num_images: int, num_classes: int, side_px: int) -> None:
        super().__init__()
        self.raw = nn.ParameterList(
            torch.zeros(num_images, 5 + num_classes, side_px // stride, side_px // stride) for stride in STRIDES
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [raw[: len(x)] for raw in self.raw]


def free(num_images: int = 1, num_classes: int = 2, side_px: int = 64) -> YoloxDetector:
    module = FreeNumbers(num_images, num_classes, side_px)
    return YoloxDetector("free", module, [str(row) for row in range(num_classes)], full_side_px=side_px)


def test_decode__worked_by_hand():
    raw = [torch.zeros(1, 6, side, side) for side in (4, 2, 1)]
    raw[0][0, :, 1, 2] = torch.tensor([0.5, 0.25, LN2, 0.0, 3.0, -3.0])
    found = decode(raw)
    # Cell (x=2, y=1) of stride 8 is row 1 * 4 + 2: centre (2.5, 1.25) cells, 2 x 1 cells large.
    assert found.boxes_xyxy[0, 6].tolist() == pytest.approx([12.0, 6.0, 28.0, 14.0])
    assert (found.objectness[0, 6].item(), found.class_logits[0, 6].tolist()) == (3.0, [-3.0])
    assert found.centres_xy[6].tolist() == [20, 12]
    assert found.strides.tolist() == [8] * 16 + [16] * 4 + [32]
    assert found.centres_xy[-1].tolist() == [16, 16]


def test_decode__a_wild_size_stays_finite():
    raw = [torch.full((1, 6, side, side), 1e4) for side in (4, 2, 1)]
    assert torch.isfinite(decode(raw).boxes_xyxy).all()


def test_losses__no_objects_worked_by_hand():
    """All logits 0: each of the 64 + 16 + 4 cells costs ln 2; divided by the two images, as no cell has an object."""
    losses = free(num_images=2).losses(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), [target(), target()])
    assert losses["loss_obj"].item() == pytest.approx(2 * 84 * LN2 / 2, rel=1e-6)
    assert (losses["loss_iou"].item(), losses["loss_cls"].item()) == (0, 0)


def test_losses__one_object_worked_by_hand():
    """An object that covers exactly what cell (0, 0) of stride 32 says when all its numbers are 0."""
    detector = free()
    losses = detector.losses(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), [target((-16.0, -16.0, 16.0, 16.0))])
    sum(losses.values()).backward()  # type: ignore[union-attr]
    # Overlap 1, so no overlap loss; its class target is (1, 0): ln 2 twice; others' objectness costs as ever.
    assert losses["loss_iou"].item() == pytest.approx(0, abs=1e-6)
    assert losses["loss_obj"].item() == pytest.approx(84 * LN2, rel=1e-6)
    assert losses["loss_cls"].item() == pytest.approx(2 * LN2, rel=1e-6)
    told_yes = torch.cat([raw.grad[0, 4].flatten() for raw in detector.module.raw]) < 0  # type: ignore[union-attr]
    assert told_yes.nonzero().flatten().tolist() == [80]


def test_losses__weight_of_a_box():
    batch, box = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), (4.0, 4.0, 30.0, 26.0)
    full, half, none = (free().losses(batch, [target(box, weight=weight)]) for weight in (1.0, 0.5, 0.0))
    for name in ("loss_iou", "loss_cls"):
        assert full[name].item() > 0
        assert half[name].item() == pytest.approx(full[name].item() / 2)
        assert none[name].item() == 0
    cells = 84 * LN2 - full["loss_obj"].item()
    assert cells == pytest.approx(0, abs=1e-4)  # every cell costs ln 2, with one object or without
    assert none["loss_obj"].item() == pytest.approx(83 * LN2, rel=1e-5)


def test_losses__doubtful_boxes_are_neither_object_nor_background():
    batch, box = torch.zeros(1, 3, 64, 64, dtype=torch.uint8), (-16.0, -16.0, 16.0, 16.0)
    detector = free()
    losses = detector.losses(batch, [target(box, ignore=1)])
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert (losses["loss_iou"].item(), losses["loss_cls"].item()) == (0, 0)
    assert losses["loss_obj"].item() == pytest.approx(83 * LN2, rel=1e-6)
    gradients = torch.cat([raw.grad[0, 4].flatten() for raw in detector.module.raw])  # type: ignore[union-attr]
    assert (gradients == 0).nonzero().flatten().tolist() == [80]
    both = free().losses(batch, [target(box, box, ignore=1)])  # a sure box in the same place wins
    sure = free().losses(batch, [target(box)])
    assert both["loss_obj"].item() == pytest.approx(sure["loss_obj"].item())


def test_losses__boxes_without_area_do_not_count():
    batch = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    losses = free().losses(batch, [target((10.0, 10.0, 10.0, 40.0))])
    assert losses["loss_iou"].item() == 0
    assert torch.isfinite(torch.stack(list(losses.values()))).all()


def _found_all(found: list[ImageDetections], samples: list[Sample], *, min_score: float = 0.5) -> tuple[int, int, int]:
    """Objects, objects found at IoU 0.5 with their class, detections of nothing."""
    objects = hits = false = 0
    for image, sample in zip(found, samples, strict=True):
        sure = image.rows(image.scores >= min_score)
        match = iou_matrix(sure.boxes_xyxy, sample.boxes_xyxy) > 0.5
        match &= sure.class_ids[:, None] == sample.class_ids
        objects, hits, false = (
            objects + len(sample.class_ids), hits + int(match.any(0).sum()), false + int((~match.any(1)).sum()),
        )  # fmt: skip
    return objects, hits, false


class Samples(list[Sample]):
    """A training set in memory."""

    def name(self, row: int) -> str:
        return str(row)


def scenes(num_images: int, height: int, width: int, *, columns: int) -> Samples:
    """Red (class 0) and blue (class 1) rectangles on grey noise, one in each column of the image."""
    rng = np.random.default_rng(7)
    found = Samples()
    for _ in range(num_images):
        image = rng.integers(80, 110, (height, width, 3)).astype(np.uint8)
        boxes, ids = [], rng.integers(0, 2, columns)
        for column, class_id in enumerate(ids):
            w, h = rng.integers(16, width // columns - 4), rng.integers(16, height // 2)
            x = column * width // columns + int(rng.integers(0, width // columns - w))
            y = int(rng.integers(0, height - h))
            image[y : y + h, x : x + w] = (220, 40, 40) if class_id == 0 else (40, 60, 220)
            boxes.append([x, y, x + w, y + h])
        found.append(Sample(image, np.array(boxes, np.float32), ids.astype(np.int64), np.zeros(columns, np.bool_)))
    return found


def test_losses__lead_free_numbers_to_every_object():
    """Loss, assignment, decoding and suppression must agree on what a box is: then descent finds eight images whole."""
    samples = scenes(8, 64, 64, columns=2)
    detector = free(num_images=8)
    optimizer = torch.optim.Adam(detector.module.parameters(), lr=0.1)
    batch = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    targets = [target(*map(tuple, sample.boxes_xyxy.tolist()), ids=sample.class_ids.tolist()) for sample in samples]
    for _ in range(150):
        optimizer.zero_grad()
        sum(detector.losses(batch, targets).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    assert _found_all(detector.forward(batch, min_score=0.05), samples) == (16, 16, 0)


def test_train__overfits_eight_images():
    samples = scenes(8, 64, 96, columns=2)
    torch.manual_seed(0)
    detector = YoloxDetector("small", YOLOX(2, base=8, depth=1, depthwise=False), ("red", "blue"), full_side_px=64)
    for part in detector.module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 0.1  # 0.03, as published, follows too slowly for a hundred steps
    recipe = Recipe(
        epochs=150, batch_size=8, learning_rate=5e-3, batch_norm="train", flip=False, photometric=0.0, ema_decay=0.0
    )
    train(detector, samples, recipe)
    objects, hits, false = _found_all(detector.predict([sample.image for sample in samples]), samples, min_score=0.3)
    assert (objects, hits) == (16, 16)
    assert false <= 1


# -- the detector


@pytest.mark.parametrize(
    ("shape", "side_px", "content", "padded"),
    [
        pytest.param((352, 640), 0, (416, 756), (416, 768), id="its own side"),
        pytest.param((352, 640), 160, (160, 291), (160, 320), id="smaller"),
        pytest.param((64, 64), 64, (64, 64), (64, 64), id="as it is"),
        pytest.param((20, 1344), 64, (20, 1344), (32, 1344), id="the longest side is the limit"),
        pytest.param((100, 100), 1, (64, 64), (64, 64), id="the least side"),
    ],
)
def test_prepare__pads_to_multiples_of_32(shape, side_px, content, padded):
    detector = YoloxDetector("small", small(), ("a", "b"), full_side_px=416)
    image = np.full((*shape, 3), 7, np.uint8)
    prepared = detector.prepare(image, side_px)
    assert prepared.image.shape[:2] == padded == detector.network_size(*shape, side_px)
    assert (prepared.image[: content[0], : content[1]] == 7).all()
    assert (prepared.image[content[0] :] == 114).all()
    assert (prepared.image[:, content[1] :] == 114).all()
    assert (prepared.scale_x, prepared.scale_y) == (content[1] / shape[1], content[0] / shape[0])


def test_predict__boxes_in_px_of_the_original():
    detector = free(side_px=64)
    with torch.no_grad():
        detector.module.raw[0][:, 4:] = -9  # type: ignore[index]
        detector.module.raw[1][:, 4:] = -9  # type: ignore[index]
        detector.module.raw[2][:, 4:] = -9  # type: ignore[index]
        detector.module.raw[2][0, :, 0, 1] = torch.tensor([-0.5, 0.5, -LN2, -LN2, 9.0, -9.0, 9.0])  # type: ignore[index]
    (found,) = detector.predict([np.zeros((128, 128, 3), np.uint8)], min_score=0.5)
    assert found.class_ids.tolist() == [1]
    # Cell (x=1, y=0) of stride 32: centre (16, 16), 16 x 16 network px; the original is twice as large.
    np.testing.assert_allclose(found.boxes_xyxy, [[16, 16, 48, 48]], atol=1e-4)


def test_forward__suppresses_within_a_class_only():
    detector = free(side_px=64)
    with torch.no_grad():
        for raw in detector.module.raw:  # type: ignore[union-attr]
            raw[:, 4:] = -9
        for column, logits in ((0, (9.0, -9.0)), (1, (8.0, -9.0)), (2, (-9.0, 7.0))):
            offset = float(1 - column)
            detector.module.raw[0][0, :, 3, column] = torch.tensor([offset, 0.0, 1.0, 1.0, 9.0, *logits])  # type: ignore[index]
    (found,) = detector.forward(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), min_score=0.5)
    assert found.class_ids.tolist() == [0, 1]
    assert found.scores[0] > found.scores[1]


def test_replace_head__mean_of_the_old_logits():
    detector = YoloxDetector("small", small(4), tuple("abcd"), full_side_px=64)
    x = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        before = decode(detector.module(x)).class_logits
        detector.replace_head([[2], [0, 3]])
        after = decode(detector.module(x)).class_logits
    torch.testing.assert_close(after, torch.stack([before[..., 2], before[..., [0, 3]].mean(-1)], -1))


# -- weights


def _randomised(module: YOLOX) -> YOLOX:
    """Batch norms that do something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.3)
    return module.eval()


def _write_folded(module: YOLOX, path: Path, *, with_bias: bool = True) -> None:
    """The convolutions of a network with batch norms folded in, as a published export has them."""
    import onnx
    from onnx import helper, numpy_helper

    norms = {part.conv: part.bn for part in module.modules() if isinstance(part, BaseConv)}
    nodes, arrays = [], []
    for row, part in enumerate(convolutions_in_order(module)):
        weight, norm = part.weight.detach(), norms.get(part)
        if norm is None:
            assert part.bias is not None
            bias = part.bias.detach()
        else:
            gain = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
            weight, bias = weight * gain[:, None, None, None], norm.bias.detach() - norm.running_mean * gain  # type: ignore[operator]
        arrays += [numpy_helper.from_array(weight.numpy(), f"w{row}"), numpy_helper.from_array(bias.numpy(), f"b{row}")]
        inputs = [f"x{row}", f"w{row}", *([f"b{row}"] if with_bias else [])]
        nodes.append(helper.make_node("Conv", inputs, [f"x{row + 1}"]))
    onnx.save(helper.make_model(helper.make_graph(nodes, "folded", [], [], arrays)), str(path))


def test_onnx_state__folded_export_says_the_same(tmp_path):
    torch.manual_seed(0)
    original, copy = _randomised(small()), small().eval()
    _write_folded(original, tmp_path / "net.onnx")
    copy.load_state_dict(onnx_state(tmp_path / "net.onnx", copy, detector="small"))
    x = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        for mine, theirs in zip(copy(x), original(x), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_onnx_state__what_does_not_fit_is_explained(tmp_path, monkeypatch):
    _write_folded(small(), tmp_path / "small.onnx", with_bias=False)
    with pytest.raises(WeightsError, match="a convolution has no bias"):
        onnx_state(tmp_path / "small.onnx", small(), detector="small")
    deeper = YOLOX(2, base=8, depth=2, depthwise=True)
    with pytest.raises(WeightsError, match=r"expected \d+ convolutions of deeper, found \d+"):
        onnx_state(tmp_path / "small.onnx", deeper, detector="deeper")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(WeightsError, match=r"text\.onnx: expected an ONNX file"):
        onnx_state(tmp_path / "text.onnx", small(), detector="small")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(WeightsError, match="the Python package onnx, which reads this file, is missing"):
        onnx_state(tmp_path / "small.onnx", small(), detector="small")


def test_build_yolox_nano__published_checkpoint(tmp_path):
    torch.manual_seed(0)
    original = _randomised(build_yolox_nano("none").module)  # type: ignore[arg-type]
    state = original.state_dict()
    for name in ("backbone.backbone.dark3.1.m.2.conv2.dconv.bn.running_var", "backbone.C3_p4.conv3.conv.weight",
                 "backbone.bu_conv1.pconv.bn.bias", "head.cls_convs.2.1.dconv.conv.weight", "head.stems.0.conv.weight",
                 "head.obj_preds.1.bias"):  # fmt: skip
        assert name in state  # as in the published checkpoints
    torch.save({"start_epoch": 300, "model": state, "optimizer": {}}, tmp_path / "yolox_nano.pth")
    detector = build_yolox_nano(str(tmp_path / "yolox_nano.pth"))
    assert detector.num_parameters() == 912_159
    assert len(detector.class_names) == 80
    x = torch.rand(1, 3, 64, 64) * 255
    with torch.no_grad():
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(detector.module(x), original(x), strict=True))


def test_build_yolox_nano__another_size_is_explained(tmp_path):
    torch.save(small(80).state_dict(), tmp_path / "small.pth")
    with pytest.raises(WeightsError, match="belong to another detector or another number of classes"):
        build_yolox_nano(str(tmp_path / "small.pth"))


# -- the published weights


def _frame(name: str, row: int) -> np.ndarray:
    video = cv2.VideoCapture(str(SHARED / "footage" / name))
    video.set(cv2.CAP_PROP_POS_FRAMES, row)
    ok, frame = video.read()
    video.release()
    assert ok, f"{name} has no frame {row}"
    return np.ascontiguousarray(frame[:, :, ::-1])


@pytest.mark.footage
@needs_published_nano
def test_build_yolox_nano__agrees_with_onnxruntime():
    import onnxruntime

    path = str(SHARED / "models" / "yolox_nano.onnx")
    frame = _frame("ahmetozlu-highway.mp4", 200)
    letterboxed = np.full((416, 416, 3), 114, np.uint8)
    small_frame = cv2.resize(frame, (416, 416 * frame.shape[0] // frame.shape[1]))
    letterboxed[: len(small_frame)] = small_frame
    pixels = np.ascontiguousarray(letterboxed[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)
    (theirs,) = onnxruntime.InferenceSession(path).run(None, {"images": pixels})
    with torch.no_grad():
        raw = build_yolox_nano(path).module(torch.from_numpy(pixels))
    ours = torch.cat([torch.cat([part[:, :4], part[:, 4:].sigmoid()], 1).flatten(2) for part in raw], 2)
    error = np.abs(ours.transpose(1, 2).numpy() - theirs)
    assert error[..., 4:].max() < 1e-4  # scores
    # Boxes are logits of any size. Float32 itself moves them by 2e-4 (onnxruntime against float64), so they are
    # compared with the largest there is.
    assert error[..., :4].max() < 1e-4 * np.abs(theirs[..., :4]).max()
    assert np.mean(error) < 1e-5


@pytest.mark.footage
@needs_published_nano
@pytest.mark.parametrize(
    ("clip", "row", "side_px", "class_name", "least"),
    [
        pytest.param("ahmetozlu-highway.mp4", 200, 416, "car", 6, id="cars"),
        pytest.param("ahmetozlu-highway.mp4", 200, 224, "car", 5, id="cars at half the side"),
    ],
)
def test_build_yolox_nano__sees_real_objects(clip, row, side_px, class_name, least):
    detector = build_yolox_nano(str(SHARED / "models" / "yolox_nano.onnx"))
    (found,) = detector.predict([_frame(clip, row)], side_px=side_px, min_score=0.4)
    assert [detector.class_names[c] for c in found.class_ids].count(class_name) >= least


@pytest.mark.footage
@needs_published_nano
def test_train__published_weights_overfit_eight_images():
    samples = scenes(8, 96, 128, columns=3)
    detector = build_yolox_nano(str(SHARED / "models" / "yolox_nano.onnx"))
    detector = detector.specialise(parse_classes(["red=person", "blue=car"]))
    recipe = Recipe(epochs=50, batch_size=8, learning_rate=1e-3, flip=False, photometric=0.0, ema_decay=0.0)
    train(detector, samples, recipe, side_px=96)
    found = detector.predict([sample.image for sample in samples], side_px=96)
    assert _found_all(found, samples) == (24, 24, 0)
