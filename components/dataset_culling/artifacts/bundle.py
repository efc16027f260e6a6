"""bundle/1: a model for other programs: a folder with model.onnx and bundle.json. Reading one needs no torch.

bundle.json is a description of an exported network, as `detectors.exported` reads them, and says besides from which
score on boxes are worth acting upon, for which frames the network was made, and where the model comes from. Every key
is explained in docs/serving.md, with a reader in plain numpy and onnxruntime.
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
    """Which model a bundle holds."""

    detector: str = Field(description="The detector's name, as 'culling detectors' lists it.")
    side_px: int = Field(ge=0, description="Short side that its input was asked to have; 0: the detector's own.")
    model_digest: str = Field(description="SHA-256 of the header of the model/1 artifact that it was made from.")
    camera: str = Field("", description="The camera's name in the registry; empty: the model was in none.")
    version: int = Field(0, ge=0, description="Its version there; 0: the model was in no registry.")
    code_version: str = Field(description="Version of dataset-culling that wrote the bundle.")


class BundleSpec(ExportedDetectorSpec):
    """bundle.json."""

    kind: Literal["bundle/1"] = Field(description="What this is, and the version of its form.")
    network_sha256: str = Field(description="SHA-256 of the network's file.")
    frame_height_px: int = Field(ge=1, description="Height of the camera's frames that the network was made for.")
    frame_width_px: int = Field(ge=1, description="Their width.")
    score_thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        description="Class -> score from which on its boxes are worth acting upon, best F1 on held-out frames."
    )
    untuned: tuple[str, ...] = Field((), description="Classes whose threshold nothing told; theirs is the default.")
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
    """Export a student into a folder, whole or not at all; an earlier bundle there is replaced.

    Args:
        folder: Where to: a new folder, an empty one or a bundle.
        detector: The student, on the CPU.
        height_px: Height of the camera's frames.
        width_px: Their width.
        score_thresholds: Class -> score, for every class.
        untuned: Classes whose threshold is the default.
        provenance: Which model it is.
        min_score: Boxes scoring less are never returned.

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
    """Whether a path is a bundle's folder or its card."""
    return path.name == CARD or (path / CARD).is_file()


def read_bundle(path: Path) -> BundleSpec:
    """Read and check a bundle: its card, and that the network is the one that the card speaks of.

    Args:
        path: Its folder, or the card in it.

    Raises:
        ConfigError: If the card is wrong.
        WeightsError: If there is none, or the network is missing or another.
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
        raise WeightsError(f"{network}: expected the bundle's network, found nothing. Copy the bundle as a whole.")
    if sha256_file(network) != spec.network_sha256:
        raise WeightsError(
            f"{network}: expected the network that {CARD} names, found another. Export the bundle again."
        )
    return spec


def load_bundle(path: Path, spec: BundleSpec, *, runner: RuntimeName) -> ExportedDetector:
    """The detector in a bundle, run by onnxruntime or OpenVINO on the CPU.

    Raises:
        WeightsError: If its runtime does not take it.
    """
    return build_exported(spec, _card(path), runner=runner)


def _card(path: Path) -> Path:
    return path if path.name == CARD else path / CARD
