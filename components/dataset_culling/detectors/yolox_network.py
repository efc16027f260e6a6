"""The YOLOX network: a plain torch module with the layer names of the published checkpoints.

B = images in a batch, A = predictions of one image (one per cell of every level), C = classes; h, w = input size.

Source:
    Ge et al., YOLOX: Exceeding YOLO Series in 2021 (arXiv:2107.08430). Layers after the released code (Megvii YOLOX,
    Apache-2.0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
PRIOR_SCORE = 1e-2  # score of every cell in an untrained head
_MOST_LOG_SIZE = 8.0  # sides of exp(8) strides are beyond any image; without a bound one large logit gives infinity


class BaseConv(nn.Module):
    """Convolution, batch norm, SiLU: (B, in, h, w) to (B, out, h / stride, w / stride)."""

    def __init__(self, num_in: int, num_out: int, size: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_in, num_out, size, stride, (size - 1) // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(num_out, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.bn(self.conv(x)))
        return out


class DWConv(nn.Module):
    """A depthwise convolution, then a pointwise one; shapes as of `BaseConv`."""

    def __init__(self, num_in: int, num_out: int, size: int, stride: int) -> None:
        super().__init__()
        self.dconv = BaseConv(num_in, num_in, size, stride, groups=num_in)
        self.pconv = BaseConv(num_in, num_out, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pconv(self.dconv(x))
        return out


Conv = Callable[[int, int, int, int], nn.Module]


class Focus(nn.Module):
    """Every second pixel into channels of its own, then a convolution; halves both sides."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.conv = BaseConv(num_in * 4, num_out, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]]
        out: Tensor = self.conv(torch.cat(parts, 1))
        return out


class Bottleneck(nn.Module):
    """Pointwise, then 3x3; with `shortcut` added to the identity."""

    def __init__(self, channels: int, conv: Conv, *, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = BaseConv(channels, channels, 1, 1)
        self.conv2 = conv(channels, channels, 3, 1)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class CSPLayer(nn.Module):
    """Half of the channels through `depth` bottlenecks, half around them."""

    def __init__(self, num_in: int, num_out: int, depth: int, conv: Conv, *, shortcut: bool = True) -> None:
        super().__init__()
        hidden = num_out // 2
        self.conv1 = BaseConv(num_in, hidden, 1, 1)
        self.conv2 = BaseConv(num_in, hidden, 1, 1)
        self.conv3 = BaseConv(2 * hidden, num_out, 1, 1)
        self.m = nn.Sequential(*(Bottleneck(hidden, conv, shortcut=shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.conv1(x), self.conv2(x)  # this order is also that of an exported graph
        out: Tensor = self.conv3(torch.cat([self.m(first), second], 1))
        return out


class SPPBottleneck(nn.Module):
    """Maxima over 5, 9 and 13 cells, stacked on the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = BaseConv(channels, channels // 2, 1, 1)
        self.m = nn.ModuleList(nn.MaxPool2d(size, 1, size // 2) for size in (5, 9, 13))
        self.conv2 = BaseConv(channels * 2, channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
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

        def branch() -> nn.ModuleList:
            return nn.ModuleList(nn.Sequential(conv(width, width, 3, 1), conv(width, width, 3, 1)) for _ in STRIDES)

        self.cls_convs, self.reg_convs = branch(), branch()
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
        out: list[Tensor] = self.head(self.backbone(x))
        return out


class Predictions(NamedTuple):
    """The decoded outputs of the head in network px; float32."""

    boxes_xyxy: Tensor  # (B, A, 4)
    objectness: Tensor  # (B, A) logits
    class_logits: Tensor  # (B, A, C)
    centres_xy: Tensor  # (A, 2) middles of the cells
    strides: Tensor  # (A,)

    def image(self, row: int) -> Predictions:
        """Return one image's, as a batch of one."""
        one = slice(row, row + 1)
        return self._replace(
            boxes_xyxy=self.boxes_xyxy[one], objectness=self.objectness[one], class_logits=self.class_logits[one]
        )


def decode(outputs: Sequence[Tensor]) -> Predictions:
    """Decode the head's raw outputs, (B, 5 + C, h / stride, w / stride) by level, into boxes.

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
