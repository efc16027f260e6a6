"""Kept nights: a few labelled frames of each earlier night, and the human check set, for later runs.

    cameras/<camera>/nights/<id>/frames/... labels/...   frames/1 and labels/1 of the kept frames, file by file
                                 night.json              description and digests; written last, completes the night
    cameras/<camera>/check/<id>/...                      the same for a human check set
    cameras/<camera>/check/current.json                  the id of the current check set

A night's id comes from its footage, so keeping a night again changes nothing. Its frames form two disjoint parts: for
later trainings, and for evaluating later candidates. The number of nights is bounded: of more than allowed, one of the
two most similar nights is removed, so that rare conditions stay.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataset_culling.artifacts import header
from dataset_culling.artifacts.frames import SCHEMA as FRAMES_SCHEMA
from dataset_culling.artifacts.labels import SCHEMA as LABELS_SCHEMA
from dataset_culling.errors import MissingObject, ObjectChanged
from dataset_culling.registry.files import WORKERS, encode_json, fetch_files, iso_utc, put_artifact, read_json
from dataset_culling.registry.models import Registry
from dataset_culling.storage import IF_ABSENT, each
from dataset_culling.types import ImageArray

NIGHT, CURRENT = "night.json", "current.json"
PARTS = {"frames": FRAMES_SCHEMA, "labels": LABELS_SCHEMA}
_LEVELS = 8
"""Bins of brightness and of colourfulness in a night's appearance."""


@dataclass(frozen=True, slots=True)
class Night:
    """One kept night. Frame ids are those of its own frames/1."""

    id: str
    kind: Literal["night", "check"]
    start_utc: str  # wall clock at the start of the footage; "": unknown
    kept_utc: str
    class_names: tuple[str, ...]
    train: tuple[int, ...]
    heldout: tuple[int, ...]
    look: tuple[float, ...]  # appearance of its frames, see `appearance_of`
    version: int  # the model evaluated on it when it was kept; 0: none
    files: dict[str, dict[str, Any]]  # name below the night -> bytes, sha256

    @property
    def date(self) -> str:
        """The night's day, yyyymmdd."""
        return (self.start_utc or self.kept_utc)[:10].replace("-", "")


class Nights:
    """The kept nights of the cameras of a registry."""

    def __init__(self, registry: Registry) -> None:
        self.registry, self.store = registry, registry.store

    def all(self, camera: str) -> list[Night]:
        """Read every complete night of a camera, oldest first (by wall clock, else by time of keeping).

        Raises:
            CorruptObject: If a night is invalid.
        """
        folder = self._folder(camera)
        found = each(lambda name: self._read(f"{folder}{name}/"), self.store.folders(folder), workers=WORKERS)
        return sorted((night for night in found if night is not None), key=_age)

    def check_set(self, camera: str) -> Night | None:
        """Read the current human check set; None without one.

        Raises:
            CorruptObject: If it is invalid.
        """
        folder = self._folder(camera, "check")
        try:
            current, _ = read_json(self.store, f"{folder}{CURRENT}", dict[str, str], what="the id of a check set")
        except MissingObject:
            return None
        return self._read(f"{folder}{current.get('id', '')}/")

    def keep(
        self,
        camera: str,
        frames: Path,
        labels: Path,
        *,
        night_id: str,
        start_utc: str,
        train: Sequence[int],
        heldout: Sequence[int],
        class_names: Sequence[str],
        look: Sequence[float],
        version: int,
    ) -> Night:
        """Add a night; an existing night of the same id stays unchanged.

        Args:
            frames: frames/1 of exactly the kept frames.
            labels: labels/1 of the same frames.
            night_id: Its name, see `name_of_night`.
            start_utc: Wall clock at the start of the footage, ISO 8601 or "".
            train: Ids of the frames for training.
            heldout: Ids of the frames for evaluation.
            class_names: The labels' classes.
            look: See `appearance_of`.
            version: The model evaluated on it; 0: none.

        Raises:
            ArtifactError: If frames or labels are invalid.
            StoreError: If the store rejects a file.
        """
        night = Night(
            night_id, "night", start_utc, "", tuple(class_names), tuple(train), tuple(heldout), tuple(look), version, {}
        )
        return self._put(f"{self._folder(camera)}{night_id}/", frames, labels, night)

    def set_check(self, camera: str, frames: Path, labels: Path, *, class_names: Sequence[str]) -> Night:
        """Make an annotator's labelled frames the camera's check set; the earlier set's files stay.

        Raises:
            ArtifactError: If frames or labels are invalid.
            StoreError: If the store rejects a file.
        """
        folder = self._folder(camera, "check")
        digests = header.digest(frames) + header.digest(labels)
        night_id = hashlib.sha256(digests.encode()).hexdigest()[:16]
        ids = tuple(np.load(frames / "frame_id.npy").tolist())
        night = Night(night_id, "check", "", "", tuple(class_names), (), ids, (), 0, {})
        night = self._put(f"{folder}{night_id}/", frames, labels, night)
        self.store.put_bytes(f"{folder}{CURRENT}", encode_json({"id": night_id}))
        return night

    def drop_check(self, camera: str) -> None:
        """Leave the camera without a check set; the set's files stay."""
        self.store.delete(f"{self._folder(camera, 'check')}{CURRENT}")

    def fetch(self, camera: str, night: Night, to: Path) -> dict[str, Path]:
        """Copy a night's frames/1 and labels/1 into the directory `to`, completely or not at all.

        Returns:
            "frames" and "labels" -> their directories.

        Raises:
            CorruptObject: If the received bytes differ from the kept ones.
            OutputError: If `to` cannot be written.
        """
        source = f"{self._folder(camera, 'check' if night.kind == 'check' else 'nights')}{night.id}/"
        fetch_files(self.store, source, night.files, to, what="a kept night")
        return {name: to / name for name in PARTS}

    def remove(self, camera: str, night_id: str) -> None:
        """Remove a night: first its description, then its files."""
        folder = f"{self._folder(camera)}{night_id}/"
        self.store.delete(f"{folder}{NIGHT}")
        each(self.store.delete, [found.key for found in self.store.find(folder)], workers=WORKERS)

    def thin(self, camera: str, most: int) -> tuple[str, ...]:
        """Remove nights until `most` are left, each time the older of the two most similar ones; return their ids."""
        nights = self.all(camera)
        removed: list[str] = []
        while len(nights) > most:
            doomed = nights[most_redundant([night.look for night in nights])]
            self.remove(camera, doomed.id)
            removed.append(doomed.id)
            nights.remove(doomed)
        return tuple(removed)

    def _put(self, folder: str, frames: Path, labels: Path, night: Night) -> Night:
        """Store a night's files and then its description, unless the folder holds a complete night."""
        if (existing := self._read(folder)) is not None:
            return existing
        files: dict[str, dict[str, Any]] = {}
        for part, artifact in (("frames", frames), ("labels", labels)):
            files |= put_artifact(self.store, folder, part, artifact, PARTS[part])
        night = replace(night, kept_utc=iso_utc(time.time()), files=files)
        with suppress(ObjectChanged):  # another process has kept the same night
            self.store.put_bytes(f"{folder}{NIGHT}", encode_json(asdict(night)), when=IF_ABSENT)
        return self._read(folder) or night

    def _folder(self, camera: str, kind: str = "nights") -> str:
        return f"{self.registry.camera_folder(camera)}{kind}/"

    def _read(self, folder: str) -> Night | None:
        """Read the night in a folder; None if it is missing or incomplete."""
        with suppress(MissingObject):
            return read_json(self.store, f"{folder}{NIGHT}", Night, what="a kept night")[0]
        return None


def name_of_night(heldout: Path) -> str:
    """Return a night's id: 16 hex digits of the digest of its held-out frames/1.

    Raises:
        ArtifactError: If `heldout` is not a frames/1.
    """
    header.read_header(heldout, FRAMES_SCHEMA)
    return header.digest(heldout)[:16]


def appearance_of(images: Sequence[ImageArray]) -> tuple[float, ...]:
    """Describe the appearance of frames by histograms of brightness and of colourfulness.

    Args:
        images: RGB, shape (H, W, 3) each.

    Returns:
        Two histograms of 8 bins, each adding up to 1: of the largest channel (night or day), and of the difference
        between the largest and the smallest (colour or infrared). Zeros without images.
    """
    total = np.zeros((2, _LEVELS), np.float64)
    for image in images:
        small = image[::4, ::4]
        high, low = small.max(axis=2).astype(np.int64), small.min(axis=2).astype(np.int64)
        for row, values in enumerate((high, high - low)):
            total[row] += np.bincount((values * _LEVELS // 256).reshape(-1), minlength=_LEVELS)
    sums = total.sum(axis=1, keepdims=True)
    shares: npt.NDArray[np.float64] = np.divide(total, sums, out=np.zeros_like(total), where=sums > 0)
    return tuple(round(float(value), 6) for value in shares.reshape(-1))


def most_redundant(appearances: Sequence[Sequence[float]]) -> int:
    """Return the row of the older of the two most similar nights, of at least two nights, oldest first.

    Of equally similar pairs the one with the oldest first night counts.
    """
    table = np.asarray(appearances, np.float64)
    apart = np.abs(table[:, None] - table[None]).sum(axis=2)
    first, second = np.triu_indices(len(table), k=1)
    return int(first[np.argmin(apart[first, second])])


def _age(night: Night) -> tuple[str, str]:
    return night.start_utc or night.kept_utc, night.id
