"""Every detector, as one explicit table. Importing it loads no torch; `load_detector` imports the one row it needs."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_culling.config import did_you_mean, read_yaml
from dataset_culling.detectors.base import Detector, DetectorRef
from dataset_culling.errors import ConfigError, InputError

if TYPE_CHECKING:
    from dataset_culling.detectors.torch_base import TorchDetector


DESCRIBED = Path(__file__).parent / "described"
"""Descriptions of exported networks that come with this package."""


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """One row: where the builder is, what its default weights are, and how large it is.

    Figures are kept, not computed, so that listing detectors loads nothing; tests/contract/test_detector_table.py
    computes them anew.
    """

    build: str  # "module:function" of this package; function(weights: str) -> Detector
    trainable: bool
    default_weights: str  # what an empty `weights` means
    file: str  # under which name the default weights lie in torch's cache; "": any file called like the detector
    million_parameters: float  # with the classes it comes with
    gflops_320: float  # for one 16:9 image with a short side of 320 px, 2 per multiply-add
    summary: str
    detects: bool = True  # False: its default weights are a start for training and no detector


DETECTORS: dict[str, DetectorSpec] = {
    "tiny": DetectorSpec(
        "embedded:build_tiny",
        True,
        "embedded",
        "tiny.safetensors",
        0.43,
        0.64,
        "embedded student for simulated cameras",
    ),
    "tiny_1d": DetectorSpec(
        "embedded:build_tiny_1d",
        True,
        "embedded",
        "tiny.safetensors",
        0.33,
        0.47,
        "tiny with 3x1 and 1x3 filters (DecomposeMe)",
        detects=False,
    ),
    "tiny_teacher": DetectorSpec(
        "embedded:build_tiny_teacher",
        True,
        "embedded",
        "tiny_teacher.safetensors",
        3.15,
        3.75,
        "embedded teacher, simulated cameras",
    ),
    "fasterrcnn_resnet18_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet18_fpn", True, "", "", 28.74, 58.92, "the paper's student"
    ),
    "fasterrcnn_resnet34_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet34_fpn", True, "", "", 38.85, 72.51, "between the paper's two"
    ),
    "fasterrcnn_resnet101_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet101_fpn", True, "", "", 60.80, 96.66, "the paper's teacher"
    ),
    "fasterrcnn_resnet50_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet50_fpn",
        True,
        "COCO_V1",
        "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        41.81,
        97.85,
        "torchvision's first R-CNN",
    ),
    "fasterrcnn_resnet50_fpn_v2": DetectorSpec(
        "torchvision_rcnn:build_resnet50_fpn_v2",
        True,
        "COCO_V1",
        "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
        43.71,
        345.06,
        "torchvision's best R-CNN",
    ),
    "fasterrcnn_mobilenet_v3_large_fpn": DetectorSpec(
        "torchvision_rcnn:build_mobilenet_v3_large_fpn",
        True,
        "COCO_V1",
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
        19.41,
        31.31,
        "small R-CNN, large images",
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": DetectorSpec(
        "torchvision_rcnn:build_mobilenet_v3_large_320_fpn",
        True,
        "COCO_V1",
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
        19.41,
        6.89,
        "small R-CNN",
    ),
    "ssdlite320_mobilenet_v3_large": DetectorSpec(
        "torchvision_ssd:build_ssdlite320",
        True,
        "COCO_V1",
        "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
        3.30,
        1.13,
        "smallest of torchvision",
    ),
    "ssd300_vgg16": DetectorSpec(
        "torchvision_ssd:build_ssd300_vgg16",
        True,
        "COCO_V1",
        "ssd300_vgg16_coco-b556d3b4.pth",
        34.31,
        77.05,
        "SSD as first published",
    ),
    "retinanet_resnet50_fpn": DetectorSpec(
        "torchvision_ssd:build_retinanet_resnet50_fpn",
        True,
        "COCO_V1",
        "retinanet_resnet50_fpn_coco-eeacb38b.pth",
        33.84,
        85.49,
        "one stage, focal loss",
    ),
    "yolox_nano": DetectorSpec("yolox:build_yolox_nano", True, "", "", 0.91, 1.11, "published weights load"),
    "yolox_tiny": DetectorSpec("yolox:build_yolox_tiny", True, "", "", 5.06, 6.83, "published weights load"),
    "yolox_s": DetectorSpec("yolox:build_yolox_s", True, "", "", 8.97, 12.01, "published weights load"),
}


def load_detector(ref: DetectorRef, *, device: str = "cpu") -> Detector:
    """Build the detector that `ref` names, with its weights, on `device`.

    Raises:
        ConfigError: If there is no such detector.
        WeightsError: If its weights cannot be had or do not fit.
    """
    if ref.name.endswith((".yaml", ".yml")):
        return _load_described(_described(ref.name), ref.weights, device=device)
    spec = DETECTORS.get(ref.name)
    if spec is None:
        raise ConfigError(
            f"detector: no detector is called '{ref.name}'.{did_you_mean(ref.name, list(DETECTORS))} "
            f"Known: {', '.join(DETECTORS)}, or a .yaml file that describes an exported network."
        )
    from dataset_culling.detectors.torchvision_import import import_torchvision

    import_torchvision()
    module, _, function = spec.build.partition(":")
    build: Callable[[str], TorchDetector] = getattr(
        importlib.import_module(f"dataset_culling.detectors.{module}"), function
    )
    return build(ref.weights or spec.default_weights).to(device)


def weights_at_hand(name: str) -> str:
    """Where a detector's default weights lie on this machine; "" where they would have to be fetched or given.

    Looks where torch does, without loading it.
    """
    spec = DETECTORS[name]
    if spec.default_weights == "embedded":
        return "embedded"
    cache = torch_home() / "hub" / "checkpoints"
    names = [spec.file] if spec.file else [f"{name}{suffix}" for suffix in (".safetensors", ".pth", ".onnx")]
    return next((str(cache / file) for file in names if (cache / file).is_file()), "")


def torch_home() -> Path:
    """Where torch keeps what it downloads: TORCH_HOME, or below XDG_CACHE_HOME, or below ~/.cache."""
    home = os.environ.get("TORCH_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch")
    return Path(home).expanduser().absolute()


def _described(name: str) -> Path:
    """Where a description lies: at this path, or among those that come with this package."""
    return DESCRIBED / name if not Path(name).is_file() and (DESCRIBED / name).is_file() else Path(name)


def _load_described(path: Path, weights: str, *, device: str) -> Detector:
    from dataset_culling.detectors.ensemble import load_ensemble
    from dataset_culling.detectors.exported import load_exported

    if read_yaml(path).get("format") != "ensemble":
        return load_exported(path, weights)

    def load(member: DetectorRef) -> Detector:
        if member.name.endswith((".yaml", ".yml")) and read_yaml(_described(member.name)).get("format") == "ensemble":
            raise ConfigError(f"{path}: expected detectors as members, found the ensemble {member.name}. List its own.")
        return load_detector(member, device=device)

    return load_ensemble(path, weights, load)


def files_of(ref: DetectorRef) -> tuple[str, ...]:
    """Every file that decides what a detector sees, as paths and URIs; a name that is no path stands for itself."""
    if not ref.name.endswith((".yaml", ".yml")):
        return (ref.weights,) if ref.weights else ()
    path = _described(ref.name)
    found = [str(path), ref.weights]
    try:
        described = read_yaml(path)
    except (ConfigError, InputError):
        described = {}  # the stage that reads it says what is wrong
    file = described.get("file")
    if isinstance(file, str) and not ref.weights:
        found += [str(path.parent / file), str((path.parent / file).with_suffix(".bin"))]
    members = described.get("members")
    for member in members if isinstance(members, list) else []:
        for key in ("name", "weights"):
            value = str(member.get(key, "")) if isinstance(member, dict) else ""
            if value.endswith((".yaml", ".yml")) and value != ref.name:
                beside = path.parent / value
                found += files_of(DetectorRef(name=str(beside if beside.is_file() else value)))
            elif value and key == "weights":
                found.append(str(path.parent / value) if (path.parent / value).exists() else value)
    return tuple(file for file in found if file)


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
