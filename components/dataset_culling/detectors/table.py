"""Every detector, as one explicit table. Importing it loads no torch; `load_detector` imports the one row it needs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_culling.config import did_you_mean
from dataset_culling.detectors.base import Detector, DetectorRef
from dataset_culling.errors import ConfigError

if TYPE_CHECKING:
    from dataset_culling.detectors.torch_base import TorchDetector


DESCRIBED = Path(__file__).parent / "described"
"""Descriptions of exported networks that come with this package."""


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One row: where the builder is, and what its default weights are."""

    build: str  # "module:function"; function(weights: str) -> Detector
    trainable: bool
    default_weights: str  # what an empty `weights` means
    summary: str


DETECTORS: dict[str, DetectorSpec] = {
    "tiny": DetectorSpec(
        "dataset_culling.detectors.embedded:build_tiny", True, "embedded", "embedded student for simulated cameras"
    ),
    "tiny_teacher": DetectorSpec(
        "dataset_culling.detectors.embedded:build_tiny_teacher", True, "embedded", "embedded teacher, simulated cameras"
    ),
    "fasterrcnn_resnet18_fpn": DetectorSpec(
        "dataset_culling.detectors.torchvision_rcnn:build_resnet18_fpn", True, "", "the paper's student"
    ),
    "fasterrcnn_resnet101_fpn": DetectorSpec(
        "dataset_culling.detectors.torchvision_rcnn:build_resnet101_fpn", True, "", "the paper's teacher"
    ),
    "fasterrcnn_resnet50_fpn_v2": DetectorSpec(
        "dataset_culling.detectors.torchvision_rcnn:build_resnet50_fpn_v2", True, "COCO_V1", "torchvision's best R-CNN"
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": DetectorSpec(
        "dataset_culling.detectors.torchvision_rcnn:build_mobilenet_v3_large_320_fpn", True, "COCO_V1", "small R-CNN"
    ),
    "ssdlite320_mobilenet_v3_large": DetectorSpec(
        "dataset_culling.detectors.torchvision_ssd:build_ssdlite320", True, "COCO_V1", "smallest of torchvision"
    ),
    "yolox_nano": DetectorSpec(
        "dataset_culling.detectors.yolox:build_yolox_nano", True, "", "0.9 M parameters; published weights load"
    ),
}


def load_detector(ref: DetectorRef, *, device: str = "cpu") -> Detector:
    """Build the detector that `ref` names, with its weights, on `device`.

    Raises:
        ConfigError: If there is no such detector.
        WeightsError: If its weights cannot be had or do not fit.
    """
    if ref.name.endswith((".yaml", ".yml")):
        from dataset_culling.detectors.exported import load_exported

        return load_exported(Path(ref.name), ref.weights)
    spec = DETECTORS.get(ref.name)
    if spec is None:
        raise ConfigError(
            f"detector: no detector is called '{ref.name}'.{did_you_mean(ref.name, list(DETECTORS))} "
            f"Known: {', '.join(DETECTORS)}, or a .yaml file that describes an exported network."
        )
    from dataset_culling.detectors.quick_import import import_torchvision

    import_torchvision()
    module, _, function = spec.build.partition(":")
    build: Callable[[str], TorchDetector] = getattr(importlib.import_module(module), function)
    return build(ref.weights or spec.default_weights).to(device)


def load_trainable(ref: DetectorRef, *, device: str = "cpu") -> TorchDetector:
    """Like `load_detector`, for a student.

    Raises:
        ConfigError: Also if the detector cannot learn (an exported network).
    """
    from dataset_culling.detectors.torch_base import TorchDetector

    detector = load_detector(ref, device=device)
    if not isinstance(detector, TorchDetector):
        students = ", ".join(name for name, spec in DETECTORS.items() if spec.trainable)
        raise ConfigError(f"student: {ref.name} is an exported network and cannot learn. Choose one of {students}.")
    return detector
