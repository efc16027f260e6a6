"""Ensembles of teachers: their boxes are fused, weighted by score (weighted boxes fusion).

K = boxes in one image, E = members.

A .yaml with `format: ensemble` names the members; `described/two_teachers.yaml` is an example to copy. It can replace a
teacher's name (`--teacher both.yaml`). It cannot be trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field

from dataset_culling.boxes import iou_matrix
from dataset_culling.config import StageConfig, parse_config, read_yaml
from dataset_culling.detectors.base import Detector, DetectorRef, Features, NetworkInput, Precision
from dataset_culling.errors import ConfigError
from dataset_culling.types import ImageArray, ImageDetections, parse_classes


class MemberSpec(DetectorRef):
    """A member; a path in `name` or `weights` is relative to the description."""

    weight: float = Field(1.0, gt=0, description="Weight of its scores relative to the others'.")


class EnsembleSpec(StageConfig):
    """The members, and the rules of fusion."""

    name: str = Field(min_length=1, description="Name in reports.")
    format: Literal["ensemble"]
    members: tuple[MemberSpec, ...] = Field(min_length=2, description="The teachers.")
    classes: tuple[str, ...] = Field(
        (), description="NAME, or NAME=THEIRS+THEIRS; every member must know each. Empty: the names that all know."
    )
    iou: float = Field(0.55, gt=0, lt=1, description="Boxes of a class that overlap by more are one object.")
    source: str = Field("", description="Origins and licences of the members, for readers.")


def fuse(
    members: Sequence[ImageDetections], weights: Sequence[float], *, iou: float, min_score: float = 0.0
) -> ImageDetections:
    """Fuse the boxes of each object into one, at the mean of their corners weighted by score.

    Args:
        members: Boxes of one image by each of the E members, in the same classes and px.
        weights: Of each member, shape (E,).
        iou: Boxes of one class that overlap a fused box by more join it, best scores first.
        min_score: Members' boxes that score less are dropped first.

    Returns:
        Fused boxes, highest score first. A score is the mean of its boxes' weighted scores, times the share of members
        that found the object: with one of two members it is halved.

    Source:
        Solovyev et al., Weighted boxes fusion (arXiv:1910.13302), section 3; scores as in the authors' package
        ensemble-boxes 1.0.9 (MIT) with its defaults, which the tests compare with. Boxes without an area are skipped,
        and ties in score go to the earlier member, so that equal inputs give equal boxes.
    """
    total = float(np.sum(weights))
    boxes = np.concatenate([image.boxes_xyxy for image in members]).astype(np.float64)
    raw = np.concatenate([image.scores for image in members]).astype(np.float64)
    scores = raw * np.repeat(np.asarray(weights, np.float64), [len(image) for image in members])
    labels = np.concatenate([image.class_ids for image in members])
    real = (boxes[:, 2:] > boxes[:, :2]).all(1) & (raw >= min_score) & (scores > 0)
    order = np.flatnonzero(real)[np.argsort(-scores[real], kind="stable")]
    fused_boxes, fused_scores, fused_labels = [], [], []
    for label in np.unique(labels[order]):
        corners = np.zeros((0, 4))  # sum over a cluster of score x box
        mass, count = np.zeros(0), np.zeros(0, np.int64)
        for row in order[labels[order] == label]:
            overlap = iou_matrix(boxes[row : row + 1], corners / mass[:, None])[0]
            if len(overlap) and overlap.max() > iou:
                at = int(overlap.argmax())
                corners[at] += scores[row] * boxes[row]
                mass[at] += scores[row]
                count[at] += 1
            else:
                corners = np.concatenate([corners, scores[row] * boxes[row : row + 1]])
                mass, count = np.append(mass, scores[row]), np.append(count, 1)
        fused_boxes.append(corners / mass[:, None])
        fused_scores.append(mass / count * np.minimum(count, len(members)) / total)
        fused_labels.append(np.full(len(count), label, np.int64))
    if not fused_boxes:
        return ImageDetections.empty()
    found = ImageDetections(
        np.concatenate(fused_boxes).astype(np.float32),
        np.concatenate(fused_scores).astype(np.float32),
        np.concatenate(fused_labels),
    )
    return found.rows(np.argsort(-found.scores, kind="stable"))


_LEAST_SCORE = 0.05  # of members' boxes


class EnsembleDetector:
    """See `detectors.base.Detector`. Every member runs at its own side, or at the one in its entry."""

    def __init__(self, spec: EnsembleSpec, members: Sequence[Detector], *, where: str) -> None:
        self.spec = spec
        self.name = spec.name
        self._members = tuple(members)
        common = [name for name in members[0].class_names if all(name in other.class_names for other in members[1:])]
        if not (spec.classes or common):
            raise ConfigError(
                f"{where}: the members have no class name in common. Map their names: classes: [vehicle=car+vehicle]."
            )
        self._classes = parse_classes(spec.classes or [f"{name}={name}" for name in common])
        self._index = [self._classes.index_for(member.name, member.class_names) for member in members]
        self.class_names = self._classes.names
        self.full_side_px = max(self._side(row) or member.full_side_px for row, member in enumerate(members))

    def _side(self, row: int) -> int:
        return self.spec.members[row].side_px

    wants_originals = True
    """`prepare` needs whole frames, because the members have different input sizes."""

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: the largest of the members; ignores `side_px`."""
        del side_px
        sizes = [member.network_size(height_px, width_px, self._side(k)) for k, member in enumerate(self._members)]
        return max(sizes, key=lambda size: size[0] * size[1])

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `Detector.prepare`: the original, which each member resizes itself."""
        del side_px
        return NetworkInput(image, 1.0, 1.0, image.shape[0], image.shape[1])

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """See `Detector.detect`. Uses members' boxes below `min_score`, as two weak boxes can make a strong one."""
        del features
        by_member: list[list[ImageDetections]] = []
        for row, (member, index) in enumerate(zip(self._members, self._index, strict=True)):
            inputs = [member.prepare(prepared.image, self._side(row)) for prepared in batch]
            found = member.detect(inputs, min_score=min(min_score, _LEAST_SCORE))
            by_member.append([self._classes.apply(image, index) for image in found])
        weights = [member.weight for member in self.spec.members]
        fused = [fuse(images, weights, iou=self.spec.iou) for images in zip(*by_member, strict=True)]
        return [image.rows(image.scores >= min_score) for image in fused]

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """See `Detector.predict`."""
        found: dict[int, ImageDetections] = {}
        for shape in {image.shape: None for image in images}:
            rows = [row for row, image in enumerate(images) if image.shape == shape]
            for start in range(0, len(rows), batch_size):
                part = rows[start : start + batch_size]
                boxes = self.detect([self.prepare(images[row], side_px) for row in part], min_score=min_score)
                found.update(zip(part, boxes, strict=True))
        return [found[row] for row in range(len(images))]

    def ready(self, precision: Precision = "auto") -> Self:
        """See `Detector.ready`."""
        for member in self._members:
            member.ready(precision)
        return self

    def fingerprint(self) -> str:
        """See `Detector.fingerprint`: covers the description and all members."""
        parts = [self.spec.to_json(), *(member.fingerprint() for member in self._members)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """See `Detector.gflops`: the sum over all members; 0 if one is unknown."""
        del side_px
        parts = [member.gflops(height_px, width_px, self._side(k)) for k, member in enumerate(self._members)]
        return sum(parts) if all(parts) else 0.0


def load_ensemble(description: Path, weights: str, load: Callable[[DetectorRef], Detector]) -> EnsembleDetector:
    """Build the ensemble of a description.

    Args:
        description: The .yaml file.
        weights: Must be empty: each member's entry names its own.
        load: Builds a member.

    Raises:
        ConfigError: If the description is invalid, a member is an ensemble or its weights lie in a store, or classes do
            not fit.
        WeightsError: If a member's weights are missing.
    """
    if weights:
        raise ConfigError(f"{description}: an ensemble takes no weights, found {weights}. Name them in its members.")
    spec = parse_config(EnsembleSpec, read_yaml(description), where=str(description))
    members = [load(_member_ref(description, member)) for member in spec.members]
    return EnsembleDetector(spec, members, where=str(description))


def _member_ref(description: Path, member: MemberSpec) -> DetectorRef:
    """Name a member with paths relative to the working directory."""
    if "://" in member.weights:
        raise ConfigError(
            f"{description}: members' weights must be files, found {member.weights}. Fetch it and name the file."
        )
    beside = {}
    for key in ("name", "weights"):
        value = getattr(member, key)
        if value and (description.parent / value).exists():
            beside[key] = str(description.parent / value)
    return DetectorRef(name=member.name, weights=member.weights, side_px=member.side_px).replace(**beside)
