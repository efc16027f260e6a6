"""Students on the held-out frames, the kept nights and the human check set.

`evaluate-student` measures its students here, and `promote-student` a champion that the evaluation did not measure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.model import read_model_card, weights_file
from dataset_culling.detectors.base import Detector, DetectorRef, Precision
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.evaluation.flat_metrics import intervals, quality
from dataset_culling.inference.detect import ScanLog, scan
from dataset_culling.inference.replayed import Detect, replayed
from dataset_culling.types import ClassMap, Detections, IntArray, parse_classes


class Student(NamedTuple):
    """A trained student that detects the camera's classes."""

    detector: TorchDetector
    side_px: int


def identity_map(names: tuple[str, ...]) -> ClassMap:
    """Map each class to itself, for a detector that has the camera's classes."""
    return ClassMap({name: (name,) for name in names})


def load_student(model: Path, class_names: tuple[str, ...], *, device: str) -> Student | None:
    """Load the student of a model/1 artifact; None if it has other classes."""
    card = read_model_card(model)
    if set(card.class_names) != set(class_names):
        return None
    ref = DetectorRef(name=card.detector, weights=str(weights_file(model)))
    return Student(load_trainable(ref, device=device), card.side_px)


def detect_with(
    detector: Detector, classes: ClassMap, side_px: int, *, min_score: float, batch_size: int, precision: Precision,
    log: ScanLog,
) -> Detect:  # fmt: skip
    """Make the function that runs a detector on frames."""

    def detect(frames: FrameReader, frame_ids: IntArray) -> Detections:
        return scan(
            frames, frame_ids, detector, classes,
            side_px=side_px, min_score=min_score, batch_size=batch_size, log=log, precision=precision,
            progress=lambda done, total: None,
        )  # fmt: skip

    return detect


def measure_champion(
    model: Path, version: int, settings: Mapping[str, Any], inputs: Mapping[str, Path], *, device: str
) -> dict[str, float]:
    """Measure a version of the registry on tonight's held-out frames and on the kept nights.

    Args:
        model: The version's model/1 artifact.
        version: Its number.
        settings: The configuration of the evaluation (`EvaluateStudentConfig`).
        inputs: frames, labels, trained (the candidate's detections/1 of these frames), and the replay's if recalled.
        device: Device of the network.

    Returns:
        The evaluation's figures of the champion; empty if it has other classes.
    """
    names = parse_classes(settings["classes"]).names
    champion = load_student(model, names, device=device)
    if champion is None:
        return {}
    frames, labels = FrameReader(inputs["frames"]), read_labels(inputs["labels"])
    detect = detect_with(
        champion.detector, identity_map(names), champion.side_px, min_score=settings["min_score"],
        batch_size=settings["batch_size"], precision=settings["precision"], log=ScanLog(),
    )  # fmt: skip
    found = detect(frames, frames.table.frame_ids)
    metrics = {"champion_version": float(version)}
    metrics |= replayed(inputs, {"champion": detect})
    metrics |= quality(found, labels, "champion", start_utc=frames.table.start_utc)
    students = {"trained": read_detections(inputs["trained"]), "champion": found}
    gains = intervals(students, labels, resamples=settings["resamples"])
    return metrics | {name: value for name, value in gains.items() if "champion" in name}
