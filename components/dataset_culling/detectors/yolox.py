"""YOLOX as a detector: input, boxes, losses, and published weights.

K = boxes in one image, B = images in a batch, A = predictions of one image (one per cell of every level), C = classes;
h, w = the network's input size. The network is in `yolox_network.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from dataset_culling.detectors.base import NetworkInput, resize_image
from dataset_culling.detectors.compact import layers_in
from dataset_culling.detectors.simota import assign
from dataset_culling.detectors.torch_base import Target, TorchDetector, running_statistics, summed, to_numpy
from dataset_culling.detectors.torchvision_common import COCO_NAMES, IGNORE_IOU, mapped_conv, usable
from dataset_culling.detectors.weights import class_names_of, load_state, read_weights, weights_path
from dataset_culling.detectors.yolox_network import YOLOX, BaseConv, Predictions, YOLOXHead, decode
from dataset_culling.errors import WeightsError
from dataset_culling.types import ImageArray, ImageDetections

PAD_VALUE = 114
NMS_IOU = 0.65
MAX_CANDIDATES = 1000  # predictions of one image that reach non-maximum suppression
MAX_DETECTIONS = 100
IOU_WEIGHT = 5.0


class YoloxDetector(TorchDetector):
    """YOLOX as a `TorchDetector`, with label weights and ignore boxes.

    Images keep their aspect and are padded at the right and bottom to multiples of 32. The published exports pad every
    image to one square.
    """

    divisor = 32
    min_side_px = 64
    max_side_px = 1344
    replaced = ("head.cls_preds",)

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `TorchDetector.prepare`; pads with grey 114, as in the published training."""
        height, width = image.shape[:2]
        h, w = self.content_size(height, width, side_px)
        padded = np.full((*self.network_size(height, width, side_px), 3), PAD_VALUE, np.uint8)
        padded[:h, :w] = resize_image(image, h, w)
        return NetworkInput(padded, w / width, h / height, height, width)

    def _predictions(self, batch: Tensor) -> Predictions:
        with torch.autocast(batch.device.type, enabled=False):
            pixels = batch.flip(1).float()  # RGB to BGR
        return decode(self.module(pixels))

    @torch.no_grad()
    def forward(self, batch: Tensor, *, min_score: float) -> list[ImageDetections]:
        """See `TorchDetector.forward`: score = objectness times class score, one class per cell, NMS within classes."""
        found = self._predictions(batch)
        scores, class_ids = (found.class_logits.sigmoid() * found.objectness.sigmoid()[..., None]).max(2)
        scores, cells = scores.topk(min(MAX_CANDIDATES, scores.shape[1]), dim=1)
        boxes = found.boxes_xyxy.gather(1, cells[..., None].expand(-1, -1, 4))
        class_ids = class_ids.gather(1, cells)
        images = []
        for image in range(len(batch)):
            sure = scores[image] >= min_score
            box, score, class_id = boxes[image][sure], scores[image][sure], class_ids[image][sure]
            kept = batched_nms(box, score, class_id, NMS_IOU)[:MAX_DETECTIONS]
            images.append(to_numpy(box[kept], score[kept], class_id[kept]))
        return images

    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """See `TorchDetector.losses`: overlap, objectness and class, by SimOTA's assignment.

        All are sums over predictions, divided by the number of predictions assigned to an object or by the number of
        images, whichever is larger. So a batch of empty images takes no large step.

        Source:
            YOLOX code: 5 (1 - IoU^2) + BCE(objectness) + BCE(class, target = IoU), without its L1 loss. Weights and
            ignore boxes are ours.
        """
        with running_statistics(self.module, when=len(batch) == 1):
            outputs = self._predictions(batch)
        with torch.autocast(batch.device.type, enabled=False):
            return self._losses(outputs, targets)

    def losses_by_image(self, batch: Tensor, targets: Sequence[Target]) -> Tensor:
        """See `TorchDetector.losses_by_image`: the network sees the whole batch."""
        with running_statistics(self.module, when=True):
            outputs = self._predictions(batch)
        with torch.autocast(batch.device.type, enabled=False):
            losses = [summed(self._losses(outputs.image(row), [target])) for row, target in enumerate(targets)]
        return torch.stack(losses)

    def _losses(self, outputs: Predictions, targets: Sequence[Target]) -> dict[str, Tensor]:
        num_images, num_cells, num_classes = outputs.class_logits.shape
        rows, boxes, class_ids, weights, ious = [], [], [], [], []
        matters = torch.ones_like(outputs.objectness)
        for image, target in enumerate(targets):
            sure = ~target.ignore & usable(target.boxes_xyxy)
            truths, truth_ids = target.boxes_xyxy[sure].float(), target.class_ids[sure]
            given = assign(
                outputs.centres_xy, outputs.strides, outputs.boxes_xyxy[image], outputs.objectness[image],
                outputs.class_logits[image], truths, truth_ids,
            )  # fmt: skip
            matters[image] = _counts_as_background(outputs.boxes_xyxy[image], truths, target.boxes_xyxy[target.ignore])
            rows.append(given.prediction + image * num_cells)
            boxes.append(truths[given.truth])
            class_ids.append(truth_ids[given.truth])
            weights.append(target.weights[sure][given.truth].float())
            ious.append(given.iou)
        row, weight = torch.cat(rows), torch.cat(weights)
        wanted = torch.zeros_like(outputs.objectness).flatten().index_fill_(0, row, 1.0)
        matters = matters.flatten().index_copy_(0, row, weight)
        share = 1.0 / max(len(row), num_images)

        overlap = _paired_iou(outputs.boxes_xyxy.flatten(0, 1)[row], torch.cat(boxes))
        objectness = F.binary_cross_entropy_with_logits(outputs.objectness.flatten(), wanted, matters, reduction="sum")
        class_target = F.one_hot(torch.cat(class_ids), num_classes) * torch.cat(ious)[:, None]
        class_loss = F.binary_cross_entropy_with_logits(
            outputs.class_logits.flatten(0, 1)[row], class_target, weight[:, None], reduction="sum"
        )
        return {
            "loss_iou": IOU_WEIGHT * share * (weight * (1 - overlap**2)).sum(),
            "loss_obj": share * objectness,
            "loss_cls": share * class_loss,
        }

    def replace_head(self, sources: Sequence[Sequence[int]]) -> None:
        """See `TorchDetector.replace_head`; box and objectness branches stay as they are."""
        head: YOLOXHead = self.module.head  # type: ignore[assignment]
        head.cls_preds = nn.ModuleList(mapped_conv(old, sources) for old in head.cls_preds)  # type: ignore[arg-type]


@torch.no_grad()
def _counts_as_background(boxes_xyxy: Tensor, truths_xyxy: Tensor, doubtful_xyxy: Tensor) -> Tensor:
    """Weigh predicted boxes (A, 4): 0 for those that overlap a doubtful box more than any sure one, else 1; (A,)."""
    if len(doubtful_xyxy) == 0:
        return boxes_xyxy.new_ones(len(boxes_xyxy))
    doubtful = box_iou(boxes_xyxy, doubtful_xyxy.float()).amax(1)
    sure = box_iou(boxes_xyxy, truths_xyxy).amax(1) if len(truths_xyxy) else torch.zeros_like(doubtful)
    on_doubtful: Tensor = (doubtful > IGNORE_IOU) & (doubtful > sure)
    return (~on_doubtful).float()


def _paired_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Compute the overlap of boxes in equal rows, (P, 4) and (P, 4) to (P,), with gradients."""
    shared = (torch.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - torch.maximum(a_xyxy[:, :2], b_xyxy[:, :2])).clamp(min=0)
    area = shared.prod(1)
    union = (a_xyxy[:, 2:] - a_xyxy[:, :2]).prod(1) + (b_xyxy[:, 2:] - b_xyxy[:, :2]).prod(1) - area
    iou: Tensor = area / union.clamp(min=1e-6)
    return iou


def onnx_state(path: Path, module: YOLOX, *, detector: str) -> dict[str, Tensor]:
    """Read the state dict of a published ONNX export, whose batch norms are folded into the convolutions.

    Convolutions are matched in the order in which they run, which is the order of the exported graph. Their biases
    become batch norms that change nothing else (mean 0, variance 1 - eps, gain 1), so that training can continue.

    Args:
        path: The .onnx file.
        module: A network of the same size; not changed.
        detector: Its name, for errors.

    Raises:
        WeightsError: If the package onnx is missing, or the file is not such an export.
    """
    exported = _onnx_convolutions(path)
    names = {part: name for name, part in module.named_modules()}
    norms = {part.conv: part.bn for part in module.modules() if isinstance(part, BaseConv)}
    order = convolutions_in_order(module)
    if len(exported) != len(order):
        raise WeightsError(
            f"{path}: expected {len(order)} convolutions of {detector}, found {len(exported)}. "
            f"This file belongs to another detector."
        )
    state = {key: value.detach().clone() for key, value in module.state_dict().items()}
    for own, (weight, bias) in zip(order, exported, strict=True):
        if bias is None:
            raise WeightsError(
                f"{path}: a convolution has no bias, so batch norms are not folded into the convolutions. "
                f"Use the published export, or the .pth checkpoint."
            )
        state[f"{names[own]}.weight"] = weight
        norm = norms.get(own)
        if norm is None:
            state[f"{names[own]}.bias"] = bias
            continue
        prefix = names[norm]
        state[f"{prefix}.bias"] = bias
        state[f"{prefix}.weight"] = torch.ones_like(bias)
        state[f"{prefix}.running_mean"] = torch.zeros_like(bias)
        state[f"{prefix}.running_var"] = torch.full_like(bias, 1.0 - norm.eps)
    return state


def _onnx_convolutions(path: Path) -> list[tuple[Tensor, Tensor | None]]:
    """Read weight and bias of each convolution in an ONNX graph, in its order."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError:
        raise WeightsError(
            f"{path}: the Python package onnx, which reads this file, is missing. "
            f"Install it (pip install onnx), or pass the .pth checkpoint."
        ) from None
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file. Check the path.")
    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: expected an ONNX file, found {error}. Fetch the file again.") from None
    arrays = {tensor.name: tensor for tensor in graph.initializer}

    def tensor(name: str) -> Tensor:
        if name not in arrays:
            raise WeightsError(f"{path}: the weights {name} are not in the file. Export it again.")
        return torch.from_numpy(numpy_helper.to_array(arrays[name]).astype(np.float32))

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return [(tensor(node.input[1]), tensor(node.input[2]) if len(node.input) > 2 else None) for node in convolutions]


def convolutions_in_order(module: nn.Module) -> list[nn.Conv2d]:
    """List the convolutions in the order in which they run."""
    order: list[nn.Conv2d] = []
    hooks = [
        part.register_forward_pre_hook(lambda own, _: order.append(own))
        for part in module.modules()
        if isinstance(part, nn.Conv2d)
    ]
    was_training = module.training
    try:
        module.eval()
        with torch.no_grad():
            module(torch.zeros(1, 3, 64, 64, device=next(module.parameters()).device))
    finally:
        module.train(was_training)
        for hook in hooks:
            hook.remove()
    return order


@dataclass(frozen=True, slots=True)
class YoloxSize:
    """One of the published sizes."""

    base: int  # channels of the stem
    depth: int  # bottlenecks in the first stage
    depthwise: bool
    side_px: int


NANO = YoloxSize(base=16, depth=1, depthwise=True, side_px=416)
TINY = YoloxSize(base=24, depth=1, depthwise=False, side_px=416)
SMALL = YoloxSize(base=32, depth=1, depthwise=False, side_px=640)


def _build(name: str, size: YoloxSize, weights: str) -> YoloxDetector:
    def network(num_classes: int) -> YOLOX:
        return YOLOX(num_classes, base=size.base, depth=size.depth, depthwise=size.depthwise)

    def detector(class_names: Sequence[str]) -> YoloxDetector:
        return YoloxDetector(name, network(len(class_names)), class_names, full_side_px=size.side_px)

    if weights == "none":
        return detector(COCO_NAMES)
    path = weights_path(name, weights, suffixes=(".safetensors", ".pth", ".onnx"))
    if path.suffix == ".onnx":
        built = detector(COCO_NAMES)
        load_state(built.module, onnx_state(path, built.module, detector=name), where=f"{name} ({path})")  # type: ignore[arg-type]
        return built
    state, metadata = read_weights(path)
    built = detector(class_names_of(metadata) or COCO_NAMES)
    built.load_state(state, where=f"{name} ({path})", layers=layers_in(metadata, where=str(path)))
    return built


def build_yolox_nano(weights: str) -> YoloxDetector:
    """Build YOLOX-nano, 0.9 M parameters.

    Args:
        weights: A published file (.onnx with batch norms folded, or a .pth checkpoint), a .safetensors of ours, 'none'
            for random weights; empty: yolox_nano.safetensors, .pth or .onnx in torch's cache.

    Raises:
        WeightsError: If they are missing or do not fit.
    """
    return _build("yolox_nano", NANO, weights)


def build_yolox_tiny(weights: str) -> YoloxDetector:
    """Build YOLOX-tiny, 5.1 M parameters; weights as for `build_yolox_nano`."""
    return _build("yolox_tiny", TINY, weights)


def build_yolox_s(weights: str) -> YoloxDetector:
    """Build YOLOX-s, 9.0 M parameters; weights as for `build_yolox_nano`."""
    return _build("yolox_s", SMALL, weights)
