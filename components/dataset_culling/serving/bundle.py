"""Models to serve: a bundle, a model/1 directory, or a camera's version in a registry."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_culling import __version__
from dataset_culling.artifacts import bundle
from dataset_culling.artifacts.bundle import CARD, BundleProvenance, BundleSpec
from dataset_culling.artifacts.detection_log import LoggedModel
from dataset_culling.artifacts.header import HEADER, digest, read_header
from dataset_culling.artifacts.metrics import SCHEMA as METRICS_SCHEMA
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.model import ModelCard, read_model_card, weights_file
from dataset_culling.detectors.base import Detector, DetectorRef
from dataset_culling.engine.stage_main import choose_device
from dataset_culling.errors import ArtifactError, ConfigError, CullingError, WeightsError
from dataset_culling.evaluation.flat_metrics import threshold_metric
from dataset_culling.evaluation.thresholds import DEFAULT_SCORE
from dataset_culling.registry.models import CAMERA, Registry, open_registry
from dataset_culling.storage import fetch, is_remote

if TYPE_CHECKING:
    from dataset_culling.detectors.torch_base import TorchDetector

MIN_SCORE = 0.05
"""Boxes scoring less are never returned by what we export; evaluation looks no lower either."""

Size = tuple[int, int]
"""(height_px, width_px)."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Least score of reported boxes by class, and the classes without a tuned one."""

    scores: Mapping[str, float]
    untuned: tuple[str, ...] = ()

    @staticmethod
    def of(class_names: Sequence[str], metrics: Mapping[str, float]) -> Thresholds:
        """Read thresholds from an evaluation's figures; `DEFAULT_SCORE` for classes without one."""
        names = [threshold_metric(name) for name in class_names]
        known = {name: metrics[key] for name, key in zip(class_names, names, strict=True)
                 if key in metrics and names.count(key) == 1}  # fmt: skip
        return Thresholds(
            {name: known.get(name, DEFAULT_SCORE) for name in class_names},
            tuple(name for name in class_names if name not in known),
        )

    def note(self) -> str:
        """Return a note on untuned classes; empty if all are tuned."""
        if not self.untuned:
            return ""
        return f"no held-out frames to tune a threshold for {', '.join(self.untuned)}: {DEFAULT_SCORE:g} is used"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model/1 on this machine, and what is known of it."""

    folder: Path
    card: ModelCard
    digest: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    camera: str = ""
    version: int = 0

    def load(self, device: str = "cpu") -> TorchDetector:
        """The detector, with its weights."""
        from dataset_culling.detectors.table import load_trainable

        ref = DetectorRef(name=self.card.detector, weights=str(weights_file(self.folder)))
        return load_trainable(ref, device=device)

    def frame_size(self) -> Size | None:
        """Of the camera's frames, where the evaluation noted it."""
        sides = [int(self.metrics.get(name, 0)) for name in ("frame_height_px", "frame_width_px")]
        return (sides[0], sides[1]) if all(sides) else None


@contextmanager
def registered_model(registry: Registry, camera: str, version: int = 0) -> Iterator[TrainedModel]:
    """Fetch a version of a camera into a temporary folder.

    Args:
        registry: The registry.
        camera: The camera.
        version: 0: the champion.

    Raises:
        ConfigError: If the camera has no champion.
        StoreError: If the version does not exist, or the store does not return it.
    """
    number = version or registry.champion(camera).version
    if not number:
        has = ", ".join(str(each.version) for each in registry.versions(camera))
        if has:
            raise ConfigError(f"camera '{camera}' has no champion. Name a version: {has}.")
        known = ", ".join(registry.cameras()) or "none"
        raise ConfigError(
            f"camera '{camera}': expected one with models in the registry, found {known}. Check its place."
        )
    found = registry.version(camera, number)
    with tempfile.TemporaryDirectory(prefix="culling-serving-") as folder:
        model = registry.fetch_model(camera, number, Path(folder) / "model")
        yield TrainedModel(model, read_model_card(model), found.model_digest, found.metrics, camera, number)


def model_in_folder(folder: Path) -> TrainedModel:
    """Read a model/1 directory, and its metrics if it lies in a run that evaluated this model.

    Raises:
        ArtifactError: If it is not a model, or damaged.
    """
    card, own = read_model_card(folder), digest(folder)
    beside = folder.absolute()
    for run in (beside.parent, beside.parent.parent.parent):  # RUN/model, RUN/tasks/train-student/model
        metrics = run / "tasks" / "evaluate-student" / "metrics"
        try:
            if read_header(metrics, METRICS_SCHEMA).inputs.get("model") == own:
                return TrainedModel(folder, card, own, read_metrics(metrics))
        except ArtifactError:
            continue
    return TrainedModel(folder, card, own)


_REGISTERED = re.compile(r"(?P<registry>.+)#(?P<camera>[^#@]+)(@(?P<version>\d+))?")


def split_name(text: str) -> tuple[str, str, int] | None:
    """(registry, camera, version) of REGISTRY#CAMERA or REGISTRY#CAMERA@VERSION; None where it is a path.

    Raises:
        ConfigError: If the camera's name is invalid.
    """
    found = None if not is_remote(text) and Path(text).exists() else _REGISTERED.fullmatch(text)
    if found is None:
        return None
    if not CAMERA.fullmatch(found["camera"]):
        raise ConfigError(
            f"{text}: expected REGISTRY#CAMERA or REGISTRY#CAMERA@VERSION, found the camera '{found['camera']}'. "
            f"Names are lower-case letters, digits and hyphens."
        )
    return found["registry"], found["camera"], int(found["version"] or 0)


@dataclass(frozen=True, slots=True)
class Served:
    """A model ready to run on frames."""

    detector: Detector
    runner: str  # for people: "OpenVINO", "onnxruntime", "torch"
    model: LoggedModel
    thresholds: Thresholds
    side_px: int  # to be asked for; 0: the detector's own
    floor: float  # boxes scoring less cannot be had
    made_for: Size | None = None  # frames; None: any
    notes: tuple[str, ...] = ()


def serve(name: str, device: str, *, sizes: Sequence[Size], num_frames: int) -> Served:
    """Load the detector that a name stands for, in its quickest runtime here.

    Args:
        name: A bundle's folder or card, a model/1 directory (both also s3://), REGISTRY#CAMERA or ...@VERSION.
        device: auto, cpu, cuda or cuda:N.
        sizes: Sizes of the frames.
        num_frames: Number of frames: a student is exported to OpenVINO where that pays.

    Raises:
        ConfigError: If a bundle is to run on a GPU, or there is no such device or camera.
        InputError: If it is not a model, or damaged.
        StoreError: If the store does not give it.
    """
    registered = split_name(name)
    if registered is not None:
        registry, camera, version = registered
        with registered_model(open_registry(registry), camera, version) as model:
            return _serve_model(model, device, sizes, num_frames)
    if is_remote(name):
        cache = Path(os.environ.get("CULLING_CACHE", "~/.cache/dataset-culling")).expanduser() / "models"
        folder = fetch(name, cache / name.split("://", 1)[1])
    else:
        folder = Path(name)
    if bundle.is_bundle(folder):
        return _serve_bundle(folder, bundle.read_bundle(folder), device, sizes)
    if (folder / HEADER).is_file():
        return _serve_model(model_in_folder(folder), device, sizes, num_frames)
    what = "a folder without either" if folder.is_dir() else "a file" if folder.exists() else "nothing"
    raise WeightsError(
        f"{name}: expected a model: a bundle ({CARD}), a model/1 directory ({HEADER}) or REGISTRY#CAMERA; "
        f"found {what}. Export one with 'culling models export'."
    )


def _serve_bundle(folder: Path, spec: BundleSpec, device: str, sizes: Sequence[Size]) -> Served:
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"--device {device}: expected auto or cpu for a bundle, which runs on the CPU. Name the model/1 instead."
        )
    made_for = (spec.frame_height_px, spec.frame_width_px)
    notes = [
        f"the bundle was made for frames of {made_for[1]}x{made_for[0]} px; those of {width}x{height} px are squeezed. "
        f"Export it again with --frame-size {width}x{height}."
        for height, width in sizes
        if spec.input.resize == "stretch" and abs(width / height / (made_for[1] / made_for[0]) - 1) > 0.02
    ]
    quick = find_spec("openvino") is not None
    made = spec.provenance
    return Served(
        detector=bundle.load_bundle(folder, spec, runner="openvino" if quick else "onnx"),
        runner="OpenVINO" if quick else "onnxruntime",
        model=LoggedModel(made.detector, made.model_digest, made.camera, made.version),
        thresholds=Thresholds(spec.score_thresholds, spec.untuned),
        side_px=0,
        floor=spec.min_score,
        made_for=made_for,
        notes=tuple(notes),
    )


def _serve_model(model: TrainedModel, device: str, sizes: Sequence[Size], num_frames: int) -> Served:
    from dataset_culling.detectors.accelerated import AcceleratedDetector
    from dataset_culling.inference.detect import wants_openvino

    student = model.load(choose_device(device))
    detector: Detector = student
    runner, notes = "torch", []
    if len(set(sizes)) == 1 and wants_openvino(student, "auto", "auto", num_frames):
        ((height_px, width_px),) = set(sizes)
        try:
            detector = AcceleratedDetector(
                student, height_px=height_px, width_px=width_px, side_px=model.card.side_px, min_score=MIN_SCORE
            )
            runner = "OpenVINO"
        except CullingError as error:
            notes.append(f"run by torch: {error}")
    if runner == "torch":
        student.ready()
    return Served(
        detector=detector,
        runner=runner,
        model=LoggedModel(model.card.detector, model.digest, model.camera, model.version),
        thresholds=Thresholds.of(model.card.class_names, model.metrics),
        side_px=model.card.side_px,
        floor=0.0 if runner == "torch" else MIN_SCORE,
        notes=tuple(notes),
    )


def export_model(model: TrainedModel, to: Path, size: Size | None) -> tuple[BundleSpec, Thresholds]:
    """Write a model as a bundle.

    Args:
        model: The model.
        to: The bundle's folder.
        size: Of the camera's frames; None: as the evaluation noted.

    Raises:
        ConfigError: If the size is unknown, or the detector cannot be exported.
        OutputError: If it cannot be written.
    """
    wanted = size or model.frame_size()
    if wanted is None:
        name = f"{model.camera}, version {model.version}" if model.camera else model.folder
        raise ConfigError(f"{name}: the model's figures lack the size of its frames. Give --frame-size WIDTHxHEIGHT.")
    thresholds = Thresholds.of(model.card.class_names, model.metrics)
    made = BundleProvenance(
        detector=model.card.detector, side_px=model.card.side_px, model_digest=model.digest, camera=model.camera,
        version=model.version, code_version=__version__,
    )  # fmt: skip
    spec = bundle.write_bundle(
        to, model.load(), height_px=wanted[0], width_px=wanted[1], score_thresholds=thresholds.scores,
        untuned=thresholds.untuned, provenance=made, min_score=MIN_SCORE,
    )  # fmt: skip
    return spec, thresholds


def parse_size(text: str) -> Size | None:
    """(height_px, width_px) of '1280x720'; None of an empty text.

    Raises:
        ConfigError: If the text is invalid.
    """
    if not text:
        return None
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if found is None:
        raise ConfigError(f"--frame-size {text}: expected WIDTHxHEIGHT in px such as 1280x720.")
    return int(found[2]), int(found[1])
