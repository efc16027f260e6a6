"""bundle/1: a model for other programs: a folder with model.onnx and bundle.json. Reading one needs no torch.

bundle.json describes an exported network for `detectors.exported`. It adds the score thresholds, the frame size and the
model's origin. docs/serving.md explains every key and has a reader in plain numpy and onnxruntime.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from dataset_culling.artifacts.header import sha256_file, write_json
from dataset_culling.config import StageConfig, parse_config_json
from dataset_culling.detectors.exported import ExportedDetector, ExportedDetectorSpec, build_exported
from dataset_culling.detectors.runtimes import RuntimeName
from dataset_culling.errors import OutputError, WeightsError

if TYPE_CHECKING:
    from dataset_culling.detectors.torch_base import TorchDetector

SCHEMA = "bundle/1"
CARD, NETWORK = "bundle.json", "model.onnx"


class BundleProvenance(StageConfig):
    """The origin of a bundle's model."""

    detector: str = Field(description="The detector's name, as 'culling detectors' lists it.")
    side_px: int = Field(ge=0, description="Short side of the network's input as configured; 0: the detector's own.")
    model_digest: str = Field(description="SHA-256 of the header of the exported model/1.")
    camera: str = Field("", description="The camera's name in the registry; empty: the model was in no registry.")
    version: int = Field(0, ge=0, description="Its version there; 0: the model was in no registry.")
    code_version: str = Field(description="Version of dataset-culling that wrote the bundle.")


class BundleSpec(ExportedDetectorSpec):
    """The contents of bundle.json."""

    kind: Literal["bundle/1"] = Field(description="Kind and version of the format.")
    network_sha256: str = Field(description="SHA-256 of the network's file.")
    frame_height_px: int = Field(ge=1, description="Height of the camera's frames.")
    frame_width_px: int = Field(ge=1, description="Width of the camera's frames.")
    score_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        description="Class -> least score of a box to act on: best F1 on held-out frames."
    )
    untuned: tuple[str, ...] = Field((), description="Classes with the default threshold: held-out frames settle none.")
    provenance: BundleProvenance

    @model_validator(mode="after")
    def _every_class_has_a_threshold(self) -> Self:
        if set(self.score_thresholds) != set(self.class_names):
            raise ValueError(
                f"score_thresholds must name {', '.join(self.class_names)}, found {', '.join(self.score_thresholds)}"
            )
        return self


def write_bundle(
    folder: Path,
    detector: TorchDetector,
    *,
    height_px: int,
    width_px: int,
    score_thresholds: Mapping[str, float],
    untuned: tuple[str, ...],
    provenance: BundleProvenance,
    min_score: float = 0.05,
) -> BundleSpec:
    """Export a student into a folder, completely or not at all; an earlier bundle there is replaced.

    Args:
        folder: A new folder, an empty one or a bundle.
        detector: The student, on the CPU.
        height_px, width_px: Size of the camera's frames.
        score_thresholds: Class -> score, for every class.
        untuned: Classes with the default threshold.
        provenance: The model's origin.
        min_score: Least score of returned boxes.

    Raises:
        ConfigError: If this kind of detector cannot be exported.
        OutputError: If the folder holds something else, or cannot be written.
    """
    from dataset_culling.detectors.export import export_network

    if folder.exists() and not (folder / CARD).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(f"{folder}: expected a new folder or an older bundle, found something else. Name another.")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        beside.mkdir(parents=True)
        network = beside / NETWORK
        exported = export_network(
            detector, network, height_px=height_px, width_px=width_px, side_px=provenance.side_px, min_score=min_score
        )
        spec = BundleSpec(
            **exported.replace(min_score=min_score).model_dump(),
            kind=SCHEMA,
            network_sha256=sha256_file(network),
            frame_height_px=height_px,
            frame_width_px=width_px,
            score_thresholds={name: float(score_thresholds[name]) for name in detector.class_names},
            untuned=untuned,
            provenance=provenance,
        )
        write_json(beside / CARD, spec.model_dump(mode="json"))
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    except OSError as error:
        raise OutputError(
            f"{folder}: expected to write a bundle, found {error.strerror or error}. Free space or name another."
        ) from error
    finally:
        if not folder.exists() and old.exists():
            old.rename(folder)
        for left in (beside, old):
            shutil.rmtree(left, ignore_errors=True)
    return spec


def is_bundle(path: Path) -> bool:
    """Return True if a path is a bundle's folder or its card."""
    return path.name == CARD or (path / CARD).is_file()


def read_bundle(path: Path) -> BundleSpec:
    """Read a bundle's card and check the network against it; `path` is the folder or the card in it.

    Raises:
        ConfigError: If the card is invalid.
        WeightsError: If card or network is missing, or the network is another one.
    """
    card = _card(path)
    try:
        text = card.read_text(encoding="utf-8")
    except OSError as error:
        raise WeightsError(
            f"{card}: expected a bundle's card, found {error.strerror}. Export the bundle again."
        ) from None
    spec = parse_config_json(BundleSpec, text, where=str(card))
    network = card.parent / spec.file
    if not network.is_file():
        raise WeightsError(f"{network}: the bundle's network is missing. Copy the bundle as a whole.")
    if sha256_file(network) != spec.network_sha256:
        raise WeightsError(
            f"{network}: expected the network whose digest {CARD} holds, found another. Export the bundle again."
        )
    return spec


def load_bundle(path: Path, spec: BundleSpec, *, runner: RuntimeName) -> ExportedDetector:
    """Load a bundle's detector for onnxruntime or OpenVINO on the CPU.

    Raises:
        WeightsError: If the runtime rejects the network.
    """
    return build_exported(spec, _card(path), runner=runner)


def _card(path: Path) -> Path:
    return path if path.name == CARD else path / CARD
