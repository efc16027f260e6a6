"""The list of detectors: one row each in `DETECTORS`. Importing it loads no torch; `load_detector` imports one row."""

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
    """One row of the table.

    The figures are constants, so that listing detectors loads nothing; tests/contract/test_detector_table.py checks
    them.
    """

    build: str  # "module:function" of this package; function(weights: str) -> Detector
    million_parameters: float  # with its default classes
    gflops_320: float  # for one 16:9 image with a short side of 320 px, 2 per multiply-add
    summary: str
    default_weights: str = ""  # meaning of an empty `weights`; "": none, a file must be given
    file: str = ""  # default weights' name in torch's cache; "": a file with the detector's name
    detects: bool = True  # False: the default weights are a start for training and detect nothing
    trainable: bool = True


DETECTORS: dict[str, DetectorSpec] = {
    "tiny": DetectorSpec(
        "embedded:build_tiny", 0.43, 0.64, "embedded student for simulated cameras", "embedded", "tiny.safetensors"
    ),
    "tiny_1d": DetectorSpec(
        "embedded:build_tiny_1d", 0.33, 0.47, "tiny with 3x1 and 1x3 filters (DecomposeMe)",
        "embedded", "tiny.safetensors", detects=False,
    ),
    "tiny_teacher": DetectorSpec(
        "embedded:build_tiny_teacher", 3.15, 3.75, "embedded teacher, simulated cameras",
        "embedded", "tiny_teacher.safetensors",
    ),
    "fasterrcnn_resnet18_fpn": DetectorSpec("torchvision_rcnn:build_resnet18_fpn", 28.74, 58.92, "the paper's student"),
    "fasterrcnn_resnet34_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet34_fpn", 38.85, 72.51, "between the paper's two"
    ),
    "fasterrcnn_resnet101_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet101_fpn", 60.80, 96.66, "the paper's teacher"
    ),
    "fasterrcnn_resnet50_fpn": DetectorSpec(
        "torchvision_rcnn:build_resnet50_fpn", 41.81, 97.85, "torchvision's first R-CNN",
        "COCO_V1", "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
    ),
    "fasterrcnn_resnet50_fpn_v2": DetectorSpec(
        "torchvision_rcnn:build_resnet50_fpn_v2", 43.71, 345.06, "torchvision's best R-CNN",
        "COCO_V1", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    ),
    "fasterrcnn_mobilenet_v3_large_fpn": DetectorSpec(
        "torchvision_rcnn:build_mobilenet_v3_large_fpn", 19.41, 31.31, "small R-CNN, large images",
        "COCO_V1", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": DetectorSpec(
        "torchvision_rcnn:build_mobilenet_v3_large_320_fpn", 19.41, 6.89, "small R-CNN",
        "COCO_V1", "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
    ),
    "ssdlite320_mobilenet_v3_large": DetectorSpec(
        "torchvision_ssd:build_ssdlite320", 3.30, 1.13, "smallest of torchvision",
        "COCO_V1", "ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
    ),
    "ssd300_vgg16": DetectorSpec(
        "torchvision_ssd:build_ssd300_vgg16", 34.31, 77.05, "SSD as first published",
        "COCO_V1", "ssd300_vgg16_coco-b556d3b4.pth",
    ),
    "retinanet_resnet50_fpn": DetectorSpec(
        "torchvision_ssd:build_retinanet_resnet50_fpn", 33.84, 85.49, "one stage, focal loss",
        "COCO_V1", "retinanet_resnet50_fpn_coco-eeacb38b.pth",
    ),
    "yolox_nano": DetectorSpec("yolox:build_yolox_nano", 0.91, 1.11, "published weights load"),
    "yolox_tiny": DetectorSpec("yolox:build_yolox_tiny", 5.06, 6.83, "published weights load"),
    "yolox_s": DetectorSpec("yolox:build_yolox_s", 8.97, 12.01, "published weights load"),
}  # fmt: skip


def load_detector(ref: DetectorRef, *, device: str = "cpu") -> Detector:
    """Build the detector that `ref` names, with its weights, on `device`.

    Raises:
        ConfigError: If the name is unknown or its description invalid.
        WeightsError: If its weights are missing or do not fit.
    """
    if _is_description(ref.name):
        return _load_described(_described(ref.name), ref.weights, device=device)
    spec = DETECTORS.get(ref.name)
    if spec is None:
        raise ConfigError(
            f"detector: '{ref.name}' is unknown.{did_you_mean(ref.name, list(DETECTORS))} "
            f"Known: {', '.join(DETECTORS)}, or a .yaml file that describes an exported network."
        )
    from dataset_culling.detectors.torchvision_import import import_torchvision

    import_torchvision()
    module, _, function = spec.build.partition(":")
    build: Callable[[str], TorchDetector] = getattr(
        importlib.import_module(f"dataset_culling.detectors.{module}"), function
    )
    return build(ref.weights or spec.default_weights).to(device)


def load_trainable(ref: DetectorRef, *, device: str = "cpu") -> TorchDetector:
    """Build a student as `load_detector` does.

    Raises:
        ConfigError: Also if the detector cannot be trained (an exported network).
    """
    from dataset_culling.detectors.torch_base import TorchDetector

    detector = load_detector(ref, device=device)
    if not isinstance(detector, TorchDetector):
        students = ", ".join(name for name, spec in DETECTORS.items() if spec.trainable)
        raise ConfigError(f"student: {ref.name} is an exported network and cannot learn. Choose one of {students}.")
    return detector


def weights_at_hand(name: str) -> str:
    """Return the path of a detector's default weights on this machine; "" if they are not here. Loads no torch."""
    spec = DETECTORS[name]
    if spec.default_weights == "embedded":
        return "embedded"
    cache = torch_home() / "hub" / "checkpoints"
    names = [spec.file] if spec.file else [f"{name}{suffix}" for suffix in (".safetensors", ".pth", ".onnx")]
    return next((str(cache / file) for file in names if (cache / file).is_file()), "")


def torch_home() -> Path:
    """Return torch's folder of downloads: TORCH_HOME, or below XDG_CACHE_HOME, or below ~/.cache."""
    home = os.environ.get("TORCH_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch")
    return Path(home).expanduser().absolute()


def files_of(ref: DetectorRef) -> tuple[str, ...]:
    """List all files that a detector's output depends on, as paths and URIs; published names stand for themselves."""
    if not _is_description(ref.name):
        return (ref.weights,) if ref.weights else ()
    path = _described(ref.name)
    found = [str(path), ref.weights]
    try:
        described = read_yaml(path)
    except (ConfigError, InputError):
        described = {}  # the stage that reads the file reports the error
    file = described.get("file")
    if isinstance(file, str) and not ref.weights:
        found += [str(path.parent / file), str((path.parent / file).with_suffix(".bin"))]
    members = described.get("members")
    for member in members if isinstance(members, list) else []:
        for key in ("name", "weights"):
            value = str(member.get(key, "")) if isinstance(member, dict) else ""
            beside = path.parent / value
            if _is_description(value) and value != ref.name:
                found += files_of(DetectorRef(name=str(beside if beside.is_file() else value)))
            elif value and key == "weights":
                found.append(str(beside) if beside.exists() else value)
    return tuple(file for file in found if file)


def _is_description(name: str) -> bool:
    return name.endswith((".yaml", ".yml"))


def _described(name: str) -> Path:
    """Return the path of a description: as given, or among those that come with this package."""
    return DESCRIBED / name if not Path(name).is_file() and (DESCRIBED / name).is_file() else Path(name)


def _load_described(path: Path, weights: str, *, device: str) -> Detector:
    from dataset_culling.detectors.ensemble import load_ensemble
    from dataset_culling.detectors.exported import load_exported

    if read_yaml(path).get("format") != "ensemble":
        return load_exported(path, weights)

    def load(member: DetectorRef) -> Detector:
        if _is_description(member.name) and read_yaml(_described(member.name)).get("format") == "ensemble":
            raise ConfigError(f"{path}: the member {member.name} is an ensemble itself. List its members instead.")
        return load_detector(member, device=device)

    return load_ensemble(path, weights, load)
