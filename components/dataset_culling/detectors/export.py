"""Export of a student to one ONNX file and the .yaml that describes it for `detectors.exported`.

A = default boxes or cells of one image; h, w = the network's input size, H, W = the original image's.

The network takes one image, (1, 3, h, w) float32, 0..255. The size is fixed, because a camera needs no other and
runtimes are fastest so.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from dataset_culling.detectors.exported import ExportedDetectorSpec, InputSpec, OutputSpec
from dataset_culling.detectors.runtimes import RuntimeName
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.detectors.torchvision_rcnn import RCNNDetector
from dataset_culling.detectors.torchvision_ssd import MAX_DETECTIONS, RetinaNetDetector, SsdDetector
from dataset_culling.detectors.yolox import NMS_IOU, YoloxDetector
from dataset_culling.errors import ConfigError

OPSET = 17
NETWORK, DESCRIPTION = "student.onnx", "student.yaml"


class _Boxes(nn.Module):
    """R-CNN and RetinaNet, with torchvision's own post-processing."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.module([image[0] / 255])[0]
        return found["boxes"], found["scores"], found["labels"]


class _Ssd(nn.Module):
    """SSD: each default box once for each class; `ExportedDetector` runs non-maximum suppression."""

    def __init__(self, detector: SsdDetector) -> None:
        super().__init__()
        self.module = detector.module
        self._detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, offsets, default_boxes = self._detector.outputs(image)
        scores = logits[0].softmax(1)[:, 1:]
        boxes = self.module.box_coder.decode_single(offsets[0], default_boxes)
        num_boxes, num_classes = scores.shape
        labels = torch.arange(num_classes).repeat(num_boxes)
        return boxes.repeat_interleave(num_classes, dim=0), scores.flatten(), labels


class _Yolox(nn.Module):
    """YOLOX as in Megvii's export: one table of cells, boxes undecoded, scores after the sigmoid."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: Tensor) -> Tensor:
        cells = torch.cat([level.flatten(2) for level in self.module(image)], 2).transpose(1, 2)
        return torch.cat([cells[..., :4], cells[..., 4:].sigmoid()], 2)


def export_onnx(
    detector: TorchDetector,
    folder: Path,
    *,
    height_px: int,
    width_px: int,
    side_px: int = 0,
    min_score: float = 0.05,
    runner: RuntimeName = "onnx",
) -> Path:
    """Write a student as `student.onnx` and `student.yaml` into a folder; arguments as for `export_network`.

    Returns:
        The description, for `load_exported` or --teacher.
    """
    spec = export_network(
        detector, folder / NETWORK, height_px=height_px, width_px=width_px, side_px=side_px, min_score=min_score,
        runner=runner,
    )  # fmt: skip
    text = yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False)
    (folder / DESCRIPTION).write_text(text, encoding="utf-8")
    return folder / DESCRIPTION


def export_network(
    detector: TorchDetector,
    file: Path,
    *,
    height_px: int,
    width_px: int,
    side_px: int = 0,
    min_score: float = 0.05,
    runner: RuntimeName = "onnx",
) -> ExportedDetectorSpec:
    """Write a student's network as one ONNX file and return its description.

    Args:
        detector: The student; only its memory format changes.
        file: The file to write; its folder must exist.
        height_px: H of the camera's frames.
        width_px: W of the camera's frames.
        side_px: Short side of the network's input; 0: the detector's own.
        min_score: The network drops boxes scoring less, if it contains the post-processing.
        runner: Runtime named in the description.

    Returns:
        The description, for a file beside the network.

    Raises:
        ConfigError: If this kind of detector cannot be exported.
    """
    h, w = detector.network_size(height_px, width_px, side_px)
    network, output, changes = export_module(detector, min_score)
    spec = ExportedDetectorSpec(
        name=f"{detector.name}_{w}x{h}",
        format=runner,
        file=file.name,
        input=InputSpec(height_px=h, width_px=w, **changes),
        output=output,
        class_names=detector.class_names,
        nms_iou=_nms_iou(detector),
        max_boxes=MAX_DETECTIONS,
    )
    detector.module.to(memory_format=torch.contiguous_format)
    example = torch.full((1, 3, h, w), 114.0, device=detector.device)
    names = [name for name in (output.boxes, output.scores, output.labels) if name]
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of tracing, which fixes sizes, as intended
            torch.onnx.export(
                network.eval(), (example,), str(file), dynamo=False, opset_version=OPSET,
                input_names=["image"], output_names=names,
            )  # fmt: skip
    finally:
        quiet.setLevel(level)
    return spec


def export_module(detector: TorchDetector, min_score: float) -> tuple[nn.Module, OutputSpec, dict[str, Any]]:
    """Return the module to export, the description of its outputs, and changes to that of its input."""
    named = {"layout": "boxes_scores_labels", "boxes": "boxes", "scores": "scores", "labels": "labels"}
    if isinstance(detector, RCNNDetector):
        detector.module.roi_heads.score_thresh = min_score  # type: ignore[union-attr]
        return _Boxes(detector.module), OutputSpec(**named, label_offset=1), {}
    if isinstance(detector, RetinaNetDetector):
        detector.module.score_thresh = min_score
        return _Boxes(detector.module), OutputSpec(**named), {}
    if isinstance(detector, SsdDetector):
        return _Ssd(detector), OutputSpec(**named), {}
    if isinstance(detector, YoloxDetector):
        changes = {"color": "BGR", "resize": "letterbox"}
        return _Yolox(detector.module), OutputSpec(layout="yolox", boxes="cells"), changes
    raise ConfigError(f"{detector.name}: a {type(detector).__name__} cannot be exported to ONNX.")


def _nms_iou(detector: TorchDetector) -> float:
    if isinstance(detector, YoloxDetector):
        return NMS_IOU
    return float(detector.module.nms_thresh) if isinstance(detector, SsdDetector) else 0.0
