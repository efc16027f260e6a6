"""Several teachers as one: what they see is fused box by box, weighted by score (weighted boxes fusion).

K = boxes in one image, E = members.

A .yaml with `format: ensemble` names the members; `described/two_teachers.yaml` is an example to copy. It goes wherever
a teacher's name goes (`--teacher both.yaml`). It cannot learn.
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
    """One of the teachers; a path in `name` or `weights` is relative to the description."""

    weight: float = Field(1.0, gt=0, description="How much its scores count next to the others'.")


class EnsembleSpec(StageConfig):
    """Which teachers, and how their boxes become one set."""

    name: str = Field(min_length=1, description="What reports call it.")
    format: Literal["ensemble"]
    members: tuple[MemberSpec, ...] = Field(min_length=2, description="The teachers.")
    classes: tuple[str, ...] = Field(
        (), description="NAME, or NAME=THEIRS+THEIRS; every member must know each. Empty: the names that all know."
    )
    iou: float = Field(0.55, gt=0, lt=1, description="Boxes of a class that overlap by more are one object.")
    source: str = Field("", description="For people: where the members come from and under which licences.")


def fuse(
    members: Sequence[ImageDetections], weights: Sequence[float], *, iou: float, min_score: float = 0.0
) -> ImageDetections:
    """Weighted boxes fusion: boxes of one object become one, at the mean of their corners weighted by score.

    Args:
        members: Boxes of one image by each of the E members, in the same classes and px.
        weights: Of each member, shape (E,).
        iou: Boxes of one class that overlap a fused box by more join it, best scores first.
        min_score: Boxes of members that score less take no part.

    Returns:
        Fused boxes, highest score first. A score is the mean of its boxes' weighted scores, times the share of the
        members that saw it: what only one of two sees loses half.

    Source:
        Solovyev et al., Weighted boxes fusion (arXiv:1910.13302), section 3; scores as in the authors' package
        ensemble-boxes 1.0.9 (MIT) with its defaults, with which the tests compare. Here boxes without an area are
        skipped and ties in score go to the earlier member, so that equal inputs give equal boxes.
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


class EnsembleDetector:
    """See `detectors.base.Detector`. Every member looks at its own side, or at the one that its line names."""

    def __init__(self, spec: EnsembleSpec, members: Sequence[Detector], *, where: str) -> None:
        self.spec = spec
        self.name = spec.name
        self._members = tuple(members)
        common = [name for name in members[0].class_names if all(name in other.class_names for other in members[1:])]
        if not (spec.classes or common):
            raise ConfigError(
                f"{where}: expected members with a class of the same name, found none. Name them: "
                f"classes: [vehicle=car+vehicle]."
            )
        self._classes = parse_classes(spec.classes or [f"{name}={name}" for name in common])
        self._index = [self._classes.index_for(member.name, member.class_names) for member in members]
        self.class_names = self._classes.names
        self.full_side_px = max(self._side(row) or member.full_side_px for row, member in enumerate(members))

    def _side(self, row: int) -> int:
        return self.spec.members[row].side_px

    wants_originals = True
    """Members are of several sizes, so `prepare` must be given whole frames."""

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: that of the member with the largest input, whatever `side_px` says."""
        del side_px
        sizes = [member.network_size(height_px, width_px, self._side(k)) for k, member in enumerate(self._members)]
        return max(sizes, key=lambda size: size[0] * size[1])

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `Detector.prepare`: the original as it is, which members bring to sizes of their own."""
        del side_px
        return NetworkInput(image, 1.0, 1.0, image.shape[0], image.shape[1])

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """See `Detector.detect`. Members are asked for more than `min_score`: what two see weakly may be strong."""
        del features  # of which member?
        seen: list[list[ImageDetections]] = []
        for row, (member, index) in enumerate(zip(self._members, self._index, strict=True)):
            inputs = [member.prepare(prepared.image, self._side(row)) for prepared in batch]
            found = member.detect(inputs, min_score=min(min_score, _LEAST_SCORE))
            seen.append([self._classes.apply(image, index) for image in found])
        weights = [member.weight for member in self.spec.members]
        fused = [fuse(images, weights, iou=self.spec.iou) for images in zip(*seen, strict=True)]
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
        """See `Detector.fingerprint`: of the description and of all members."""
        parts = [self.spec.to_json(), *(member.fingerprint() for member in self._members)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """See `Detector.gflops`: of all members together; 0 when one cannot tell."""
        del side_px
        parts = [member.gflops(height_px, width_px, self._side(k)) for k, member in enumerate(self._members)]
        return sum(parts) if all(parts) else 0.0


_LEAST_SCORE = 0.05


def load_ensemble(description: Path, weights: str, load: Callable[[DetectorRef], Detector]) -> EnsembleDetector:
    """Build the ensemble that a .yaml describes.

    Args:
        description: The file.
        weights: Must be empty: each member's line names its own.
        load: Builds a member.

    Raises:
        ConfigError: If the description is wrong, a member is an ensemble or lies in a store, or classes do not fit.
        WeightsError: If a member's weights cannot be had.
    """
    if weights:
        raise ConfigError(
            f"{description}: expected no weights for an ensemble, found {weights}. Name them in its members."
        )
    spec = parse_config(EnsembleSpec, read_yaml(description), where=str(description))
    return EnsembleDetector(
        spec, [load(member_ref(description, member)) for member in spec.members], where=str(description)
    )


def member_ref(description: Path, member: MemberSpec) -> DetectorRef:
    """A member as a detector of its own, its paths made relative to where we are.

    Raises:
        ConfigError: If its weights lie in an object store.
    """
    if "://" in member.weights:
        raise ConfigError(
            f"{description}: expected members' weights as files, found {member.weights}. Fetch it and name the file."
        )
    beside = {}
    for key in ("name", "weights"):
        value = getattr(member, key)
        if value and (description.parent / value).exists():
            beside[key] = str(description.parent / value)
    return DetectorRef(name=member.name, weights=member.weights, side_px=member.side_px).replace(**beside)
