"""YOLOX: a plain torch module whose names are those of the published checkpoints, so that they load as they are.

K = boxes in one image, B = images in a batch, A = predictions of one image (one per cell of every level), C = classes;
h, w = the network's input size.

Source:
    Ge et al., YOLOX: Exceeding YOLO Series in 2021 (arXiv:2107.08430). Layers after the released code (Megvii YOLOX,
    Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms, box_iou

from dataset_culling.detectors.base import NetworkInput
from dataset_culling.detectors.compact import layers_in
from dataset_culling.detectors.simota import assign
from dataset_culling.detectors.torch_base import Target, TorchDetector, running_statistics, summed
from dataset_culling.detectors.torchvision_common import (
    COCO_NAMES,
    IGNORE_IOU,
    mapped_conv,
    usable,
)
from dataset_culling.detectors.weights import class_names_of, load_state, read_weights, weights_path
from dataset_culling.errors import WeightsError
from dataset_culling.types import ImageArray, ImageDetections

STRIDES = (8, 16, 32)
PAD_VALUE = 114
NMS_IOU = 0.65
MAX_CANDIDATES = 1000  # predictions of one image that reach non-maximum suppression
MAX_DETECTIONS = 100
IOU_WEIGHT = 5.0
PRIOR_SCORE = 1e-2  # what an untrained head says of every cell
_MOST_LOG_SIZE = 8.0  # sides of exp(8) strides are beyond any image; without a bound one wild logit is infinity


# -- the network


class BaseConv(nn.Module):
    """Convolution, batch norm, SiLU."""

    def __init__(self, num_in: int, num_out: int, size: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, size, stride, (size - 1) // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(num_out, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h / stride, w / stride)."""
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class DWConv(nn.Module):
    """A depthwise convolution, then a pointwise one."""

    def __init__(self, num_in: int, num_out: int, size: int, stride: int) -> None:
        super().__init__()
        self.dconv = BaseConv(num_in, num_in, size, stride, groups=num_in)
        self.pconv = BaseConv(num_in, num_out, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h / stride, w / stride)."""
        out: Tensor = self.pconv(self.dconv(x))
        return out


Conv = Callable[[int, int, int, int], nn.Module]


class Focus(nn.Module):
    """Every second pixel into channels of its own, then a convolution."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv = BaseConv(num_in * 4, num_out, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h / 2, w / 2)."""
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        out: Tensor = self.conv(torch.cat(parts, 1))
        return out


class Bottleneck(nn.Module):
    """Pointwise, then 3x3, beside the identity where `shortcut`."""

    def __init__(self, channels: int, conv: Conv, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = BaseConv(channels, channels, 1, 1)
        self.conv2 = conv(channels, channels, 3, 1)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSPLayer(nn.Module):
    """Half of the channels through `depth` bottlenecks, half past them."""

    def __init__(self, num_in: int, num_out: int, depth: int, conv: Conv, *, shortcut: bool = True) -> None:
        super().__init__()
        hidden = num_out // 2
        self.conv1 = BaseConv(num_in, hidden, 1, 1)
        self.conv2 = BaseConv(num_in, hidden, 1, 1)
        self.conv3 = BaseConv(2 * hidden, num_out, 1, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, conv, shortcut=shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) to (B, out, h, w)."""
        first, second = self.conv1(x), self.conv2(x)  # this order is also that of an exported graph
        out: Tensor = self.conv3(torch.cat([self.m(first), second], 1))
        return out


class SPPBottleneck(nn.Module):
    """Maxima over 5, 9 and 13 cells beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = BaseConv(channels, channels // 2, 1, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.conv2 = BaseConv(channels * 2, channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) to the same shape."""
        x = self.conv1(x)
        out: Tensor = self.conv2(torch.cat([x, *(pool(x) for pool in self.m)], 1))
        return out


class CSPDarknet(nn.Module):
    """The trunk: maps of strides 8, 16 and 32."""

    def __init__(self, base: int, depth: int, conv: Conv) -> None:
        super().__init__()
        self.stem = Focus(3, base)
        self.dark2 = nn.Sequential(conv(base, base * 2, 3, 2), CSPLayer(base * 2, base * 2, depth, conv))
        self.dark3 = nn.Sequential(conv(base * 2, base * 4, 3, 2), CSPLayer(base * 4, base * 4, depth * 3, conv))
        self.dark4 = nn.Sequential(conv(base * 4, base * 8, 3, 2), CSPLayer(base * 8, base * 8, depth * 3, conv))
        self.dark5 = nn.Sequential(
            conv(base * 8, base * 16, 3, 2),
            SPPBottleneck(base * 16),
            CSPLayer(base * 16, base * 16, depth, conv, shortcut=False),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, h, w) to maps of 4, 8 and 16 times the base channels."""
        s8 = self.dark3(self.dark2(self.stem(x)))
        s16 = self.dark4(s8)
        return s8, s16, self.dark5(s16)


class YOLOPAFPN(nn.Module):
    """The trunk with a pyramid down to stride 8 and up again."""

    def __init__(self, base: int, depth: int, conv: Conv) -> None:
        super().__init__()
        c8, c16, c32 = base * 4, base * 8, base * 16
        self.backbone = CSPDarknet(base, depth, conv)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.lateral_conv0 = BaseConv(c32, c16, 1, 1)
        self.C3_p4 = CSPLayer(2 * c16, c16, depth, conv, shortcut=False)
        self.reduce_conv1 = BaseConv(c16, c8, 1, 1)
        self.C3_p3 = CSPLayer(2 * c8, c8, depth, conv, shortcut=False)
        self.bu_conv2 = conv(c8, c8, 3, 2)
        self.C3_n3 = CSPLayer(2 * c8, c16, depth, conv, shortcut=False)
        self.bu_conv1 = conv(c16, c16, 3, 2)
        self.C3_n4 = CSPLayer(2 * c16, c32, depth, conv, shortcut=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, h, w) to maps of strides 8, 16 and 32."""
        s8, s16, s32 = self.backbone(x)
        top = self.lateral_conv0(s32)
        middle = self.reduce_conv1(self.C3_p4(torch.cat([self.upsample(top), s16], 1)))
        out8 = self.C3_p3(torch.cat([self.upsample(middle), s8], 1))
        out16 = self.C3_n3(torch.cat([self.bu_conv2(out8), middle], 1))
        out32 = self.C3_n4(torch.cat([self.bu_conv1(out16), top], 1))
        return out8, out16, out32


class YOLOXHead(nn.Module):
    """Class scores on one branch, box and objectness on the other, for every cell of every level."""

    def __init__(self, num_classes: int, base: int, conv: Conv) -> None:
        super().__init__()
        width = base * 4
        self.cls_convs = nn.ModuleList(
            nn.Sequential(conv(width, width, 3, 1), conv(width, width, 3, 1)) for _ in STRIDES
        )
        self.reg_convs = nn.ModuleList(
            nn.Sequential(conv(width, width, 3, 1), conv(width, width, 3, 1)) for _ in STRIDES
        )
        self.cls_preds = nn.ModuleList(nn.Conv2d(width, num_classes, 1) for _ in STRIDES)
        self.reg_preds = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in STRIDES)
        self.obj_preds = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in STRIDES)
        self.stems = nn.ModuleList(BaseConv(base * times, width, 1, 1) for times in (4, 8, 16))
        for prediction in [*self.cls_preds, *self.obj_preds]:
            nn.init.constant_(prediction.bias, -math.log((1 - PRIOR_SCORE) / PRIOR_SCORE))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of strides 8, 16 and 32 to raw outputs (B, 4 + 1 + C, h / stride, w / stride)."""
        outputs = []
        for level, features in enumerate(maps):
            x = self.stems[level](features)
            scores = self.cls_preds[level](self.cls_convs[level](x))
            boxes = self.reg_convs[level](x)
            outputs.append(torch.cat([self.reg_preds[level](boxes), self.obj_preds[level](boxes), scores], 1))
        return outputs


class YOLOX(nn.Module):
    """Trunk, pyramid and head; its state dict has the names of the published checkpoints."""

    def __init__(self, num_classes: int, *, base: int, depth: int, depthwise: bool) -> None:
        super().__init__()
        conv: Conv = DWConv if depthwise else BaseConv
        self.backbone = YOLOPAFPN(base, depth, conv)
        self.head = YOLOXHead(num_classes, base, conv)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, h, w) float BGR 0..255, sides multiples of 32, to the head's raw outputs."""
        outputs: list[Tensor] = self.head(self.backbone(x))
        return outputs


class Predictions(NamedTuple):
    """The head's outputs in network px; float32."""

    boxes_xyxy: Tensor  # (B, A, 4)
    objectness: Tensor  # (B, A) logits
    class_logits: Tensor  # (B, A, C)
    centres_xy: Tensor  # (A, 2) middles of the cells
    strides: Tensor  # (A,)

    def image(self, row: int) -> Predictions:
        """One image's, as a batch of its own."""
        one = slice(row, row + 1)
        return self._replace(
            boxes_xyxy=self.boxes_xyxy[one], objectness=self.objectness[one], class_logits=self.class_logits[one]
        )


def decode(outputs: Sequence[Tensor]) -> Predictions:
    """Turn the head's raw outputs, (B, 5 + C, h / stride, w / stride) by level, into boxes.

    Source:
        YOLOX code: centre = (raw + cell) * stride, side = exp(raw) * stride; cells are counted from their corners.
    """
    device = outputs[0].device
    cells, strides = [], []
    for raw, stride in zip(outputs, STRIDES, strict=True):
        h, w = raw.shape[2:]
        y, x = torch.meshgrid(torch.arange(h, device=device), torch.arange(w, device=device), indexing="ij")
        cells.append(torch.stack([x, y], -1).reshape(-1, 2).float())
        strides.append(torch.full((h * w,), float(stride), device=device))
    cell, step = torch.cat(cells), torch.cat(strides)
    flat = torch.cat([raw.float().flatten(2) for raw in outputs], 2).transpose(1, 2)
    centre = (flat[..., :2] + cell) * step[:, None]
    half = flat[..., 2:4].clamp(max=_MOST_LOG_SIZE).exp() * step[:, None] / 2
    boxes = torch.cat([centre - half, centre + half], -1)
    return Predictions(boxes, flat[..., 4], flat[..., 5:], (cell + 0.5) * step[:, None], step)


# -- the detector


class YoloxDetector(TorchDetector):
    """YOLOX behind `TorchDetector`: label weights and ignore boxes are honoured.

    Images keep their shape and are padded at the right and bottom to multiples of 32, so that the network works on
    any size; the published exports pad every image to one square.
    """

    divisor = 32
    min_side_px = 64
    max_side_px = 1344
    replaced = ("head.cls_preds",)

    def _content_size(self, height_px: int, width_px: int, side_px: int) -> tuple[int, int]:
        side = min(max(side_px or self.full_side_px, self.min_side_px), self.max_side_px)
        scale = min(side / min(height_px, width_px), self.max_side_px / max(height_px, width_px))
        return max(round(height_px * scale), 1), max(round(width_px * scale), 1)

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `TorchDetector.prepare`; what the image does not fill is grey 114, as in the published training."""
        height, width = image.shape[:2]
        h, w = self._content_size(height, width, side_px)
        if (h, w) != (height, width):
            how = cv2.INTER_AREA if h < height else cv2.INTER_LINEAR
            image = cv2.resize(image, (w, h), interpolation=how).astype(np.uint8, copy=False)
        padded = np.full((*self.network_size(height, width, side_px), 3), PAD_VALUE, np.uint8)
        padded[:h, :w] = image
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
            images.append(
                ImageDetections(box[kept].cpu().numpy(), score[kept].cpu().numpy(), class_id[kept].cpu().numpy())
            )
        return images

    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """See `TorchDetector.losses`: overlap, objectness and class, by SimOTA's assignment.

        All are sums over predictions divided by the number of predictions that answer for an object, and by the
        number of images where that is larger, so that a batch of empty images takes no leap.

        Source:
            YOLOX code: 5 (1 - IoU^2) + BCE(objectness) + BCE(class, target = IoU); its L1 loss is left off. Weights
            and ignore boxes are ours.
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
            return torch.stack(
                [summed(self._losses(outputs.image(row), [target])) for row, target in enumerate(targets)]
            )

    def _losses(self, outputs: Predictions, targets: Sequence[Target]) -> dict[str, Tensor]:
        num_images, num_cells, num_classes = outputs.class_logits.shape
        rows, boxes, class_ids, weights, ious = [], [], [], [], []
        matters = torch.ones_like(outputs.objectness)
        for image, target in enumerate(targets):
            sure = ~target.ignore & usable(target.boxes_xyxy)
            truths, truth_ids = target.boxes_xyxy[sure].float(), target.class_ids[sure]
            given = assign(
                outputs.centres_xy,
                outputs.strides,
                outputs.boxes_xyxy[image],
                outputs.objectness[image],
                outputs.class_logits[image],
                truths,
                truth_ids,
            )
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
    """1 for each predicted box (A, 4), 0 where it lies on a doubtful one more than on any sure one; shape (A,)."""
    if len(doubtful_xyxy) == 0:
        return boxes_xyxy.new_ones(len(boxes_xyxy))
    doubtful = box_iou(boxes_xyxy, doubtful_xyxy.float()).amax(1)
    sure = box_iou(boxes_xyxy, truths_xyxy).amax(1) if len(truths_xyxy) else torch.zeros_like(doubtful)
    on_doubtful: Tensor = (doubtful > IGNORE_IOU) & (doubtful > sure)
    return (~on_doubtful).float()


def _paired_iou(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Overlap of boxes in equal rows, (P, 4) and (P, 4) to (P,), with gradients."""
    shared = (torch.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - torch.maximum(a_xyxy[:, :2], b_xyxy[:, :2])).clamp(min=0)
    area = shared.prod(1)
    union = (a_xyxy[:, 2:] - a_xyxy[:, :2]).prod(1) + (b_xyxy[:, 2:] - b_xyxy[:, :2]).prod(1) - area
    iou: Tensor = area / union.clamp(min=1e-6)
    return iou


# -- weights


def onnx_state(path: Path, module: YOLOX, *, detector: str) -> dict[str, Tensor]:
    """The state dict in a published ONNX export, whose batch norms are folded into the convolutions.

    Convolutions are matched in the order in which they run, which is the order of the exported graph. Their biases
    become batch norms that change nothing else (mean 0, variance 1 - eps, gain 1), so that training can go on.

    Args:
        path: The .onnx file.
        module: A network of the same size; not changed.
        detector: Its name, for errors.

    Raises:
        WeightsError: If the package onnx is missing, or the file is no such export.
    """
    exported = _onnx_convolutions(path)
    names = {part: name for name, part in module.named_modules()}
    norms = {part.conv: part.bn for part in module.modules() if isinstance(part, BaseConv)}
    order = _convolutions_in_order(module)
    if len(exported) != len(order):
        raise WeightsError(
            f"{path}: expected {len(order)} convolutions of {detector}, found {len(exported)}. "
            f"This file belongs to another detector."
        )
    state = {key: value.detach().clone() for key, value in module.state_dict().items()}
    for own, (weight, bias) in zip(order, exported, strict=True):
        if bias is None:
            raise WeightsError(
                f"{path}: expected batch norms folded into the convolutions, found a convolution without bias. "
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
    """Weight and bias of each convolution in an ONNX graph, in its order."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError:
        raise WeightsError(
            f"{path}: expected the Python package onnx to read this file, found none. "
            f"Install it (pip install onnx), or pass the .pth checkpoint."
        ) from None
    if not path.is_file():
        raise WeightsError(f"{path}: expected a weights file, found nothing. Check the path.")
    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: expected an ONNX file, found {error}. Fetch the file again.") from None
    arrays = {tensor.name: tensor for tensor in graph.initializer}

    def tensor(name: str) -> Tensor:
        if name not in arrays:
            raise WeightsError(f"{path}: expected the weights in the file, found none for {name}. Export it again.")
        return torch.from_numpy(numpy_helper.to_array(arrays[name]).astype(np.float32))

    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    return [(tensor(node.input[1]), tensor(node.input[2]) if len(node.input) > 2 else None) for node in convolutions]


def _convolutions_in_order(module: nn.Module) -> list[nn.Conv2d]:
    """The convolutions in the order in which they run."""
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
    """YOLOX-nano, 0.9 M parameters.

    Args:
        weights: A published file (.onnx with batch norms folded, or a .pth checkpoint), a .safetensors of ours, 'none'
            for random weights; empty: yolox_nano.safetensors, .pth or .onnx in torch's cache.

    Raises:
        WeightsError: If they cannot be had or do not fit.
    """
    return _build("yolox_nano", NANO, weights)


def build_yolox_tiny(weights: str) -> YoloxDetector:
    """YOLOX-tiny, 5.1 M parameters; weights as for `build_yolox_nano`."""
    return _build("yolox_tiny", TINY, weights)


def build_yolox_s(weights: str) -> YoloxDetector:
    """YOLOX-s, 9.0 M parameters; weights as for `build_yolox_nano`."""
    return _build("yolox_s", SMALL, weights)
