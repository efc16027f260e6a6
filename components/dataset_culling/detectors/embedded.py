"""The embedded detectors: a small student and a larger teacher for simulated cameras, shipped with their weights.

Both are Faster R-CNN with a small trunk: few channels, a pyramid from stride 8 on, few proposals. They train in a
minute on a laptop's CPU, where a ResNet would need an hour. See `weights/README.md`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from dataset_culling.detectors.decompose import decompose
from dataset_culling.detectors.torchvision_rcnn import RCNNDetector
from dataset_culling.detectors.weights import detector_state

EMBEDDED = Path(__file__).parent / "weights"
CLASS_NAMES = ("person", "bicycle", "car", "truck", "dog")
"""The simulated world's classes, named as in COCO."""


@dataclass(frozen=True, slots=True)
class TinySpec:
    """The size of an embedded detector."""

    channels: tuple[int, int, int, int, int]  # of strides 2, 4, 8, 16, 32
    blocks: int  # residual blocks per stride from 8 on
    pyramid: int  # channels of the pyramid's levels
    head: int  # width of the box head
    proposals: int  # kept for the box head at inference
    side_px: int


STUDENT = TinySpec(channels=(8, 16, 32, 56, 80), blocks=1, pyramid=40, head=96, proposals=60, side_px=288)
TEACHER = TinySpec(channels=(16, 32, 64, 128, 192), blocks=2, pyramid=72, head=256, proposals=150, side_px=288)


class ConvBlock(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, num_in: int, num_out: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False), nn.BatchNorm2d(num_out), nn.ReLU(inplace=True)
        )


class Residual(nn.Module):
    """Two 3x3 convolutions, added to the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvBlock(channels, channels),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(x + self.body(x))
        return out


class TinyBackbone(nn.Module):
    """A small residual trunk and a pyramid over strides 8, 16 and 32."""

    def __init__(self, spec: TinySpec) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = spec.channels
        self.stem = nn.Sequential(ConvBlock(3, c2, 2), ConvBlock(c2, c4, 2), ConvBlock(c4, c4))
        self.stages = nn.ModuleList(
            nn.Sequential(ConvBlock(num_in, num_out, 2), *(Residual(num_out) for _ in range(spec.blocks)))
            for num_in, num_out in ((c4, c8), (c8, c16), (c16, c32))
        )
        self.pyramid = FeaturePyramidNetwork([c8, c16, c32], spec.pyramid)
        self.out_channels = spec.pyramid

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, h, w) to three maps of `pyramid` channels, strides 8, 16, 32."""
        x = self.stem(x)
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for level, stage in enumerate(self.stages):
            x = stage(x)
            maps[str(level)] = x
        out: dict[str, Tensor] = self.pyramid(maps)
        return out


def build_spec(name: str, spec: TinySpec, class_names: Sequence[str]) -> RCNNDetector:
    """Build a detector of this size with random weights."""
    sizes = ((12, 24), (40, 64), (96, 160))
    num_classes = len(class_names) + 1
    module = detection.FasterRCNN(
        TinyBackbone(spec),
        rpn_anchor_generator=AnchorGenerator(sizes, ((0.4, 1.0, 2.0),) * len(sizes)),
        box_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], output_size=5, sampling_ratio=2, canonical_scale=80),
        box_head=TwoMLPHead(spec.pyramid * 25, spec.head),
        box_predictor=FastRCNNPredictor(spec.head, num_classes),
        rpn_pre_nms_top_n_train=400,
        rpn_post_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_test=spec.proposals,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=64,
        box_nms_thresh=0.5,
        box_detections_per_img=50,
    )
    module.transform.size_divisible = 8
    return RCNNDetector(name, module, class_names, full_side_px=spec.side_px)


def _build(name: str, spec: TinySpec, weights: str, *, separable: bool = False) -> RCNNDetector:
    source = str(EMBEDDED / f"{name}.safetensors") if weights == "embedded" else weights
    found = detector_state(name, source, None)
    detector = build_spec(name, spec, found.class_names or CLASS_NAMES)
    if separable:
        decompose(detector.module)
    if found.state is not None:
        detector.load_state(found.state, where=f"{name} ({weights})", layers=found.layers)
    return detector


def build_tiny(weights: str) -> RCNNDetector:
    """Build the embedded student; weights: 'embedded', a file, or 'none' for random ones."""
    return _build("tiny", STUDENT, weights)


def build_tiny_teacher(weights: str) -> RCNNDetector:
    """Build the embedded teacher; weights: 'embedded', a file, or 'none' for random ones."""
    return _build("tiny_teacher", TEACHER, weights)


def build_tiny_1d(weights: str) -> RCNNDetector:
    """Build the embedded student with its 3x3 filters as 3x1 and 1x3 (DecomposeMe).

    Args:
        weights: 'embedded' splits the student's own filters, which loses accuracy in every layer: a start for training,
            not a detector to deploy; a file; or 'none' for random ones.
    """
    if weights != "embedded":
        return _build("tiny_1d", STUDENT, weights, separable=True)
    detector = build_tiny(weights)
    detector.name = "tiny_1d"
    decompose(detector.module)
    return detector
