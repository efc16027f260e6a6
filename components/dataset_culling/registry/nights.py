"""What a camera's nights leave behind for later ones: a few labelled frames of each, and a set that a person labelled.

    cameras/<camera>/nights/<id>/frames/... labels/...   frames/1 and labels/1 of the kept frames, file by file
                                 night.json              what they are, with digests; written last: now it is a night
    cameras/<camera>/check/<id>/...                      the same for a human check set
    cameras/<camera>/check/current.json                  which one counts

A night's id is made of its footage, so the same night kept twice is one night. Two parts that never mix: frames that
later trainings may learn from again, and frames that later candidates are judged on. The set is bounded: of more nights
than the rule allows those stay that look least alike, since it is last month's night rain that would be forgotten.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataset_culling.artifacts import header
from dataset_culling.artifacts.frames import SCHEMA as FRAMES_SCHEMA
from dataset_culling.artifacts.labels import SCHEMA as LABELS_SCHEMA
from dataset_culling.errors import CorruptObject, MissingObject, ObjectChanged
from dataset_culling.registry.models import Registry, fetch_files
from dataset_culling.storage import IF_ABSENT, each
from dataset_culling.storage.base import corrupt
from dataset_culling.types import ImageArray

NIGHT, CURRENT = "night.json", "current.json"
PARTS = {"frames": FRAMES_SCHEMA, "labels": LABELS_SCHEMA}
_WORKERS = 8
_LEVELS = 8
"""Bins of brightness, and of colourfulness, by which two nights are told apart."""


@dataclass(frozen=True, slots=True)
class Night:
    """One kept night. Frame ids are those of its own frames/1."""

    id: str
    kind: Literal["night", "check"]
    start_utc: str  # wall clock at the start of the footage; "" where nothing tells it
    kept_utc: str
    class_names: tuple[str, ...]
    train: tuple[int, ...]
    heldout: tuple[int, ...]
    look: tuple[float, ...]  # what its frames look like, see `look_of`
    version: int  # the model that was judged on it when it was kept; 0: none
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
        """Every whole night of a camera, oldest first (by wall clock, else by when it was kept).

        Raises:
            CorruptObject: If one cannot be understood.
        """
        folder = self._folder(camera)
        found = each(lambda name: self._read(f"{folder}{name}/"), self.store.folders(folder), workers=_WORKERS)
        return sorted((night for night in found if night is not None), key=_age)

    def check_set(self, camera: str) -> Night | None:
        """The human check set that counts, or None.

        Raises:
            CorruptObject: If it cannot be understood.
        """
        folder = self._folder(camera, "check")
        try:
            values = json.loads(self.store.get_bytes(f"{folder}{CURRENT}")[0])
            name = str(values["id"])
        except MissingObject:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise corrupt(self.store.uri(f"{folder}{CURRENT}"), expected="the id of a set", found=repr(error)) from None
        return self._read(f"{folder}{name}/")

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
        """Add a night; one that is there with the same id stays as it is.

        Args:
            camera: The camera.
            frames: frames/1 of exactly the kept frames.
            labels: labels/1 of the same frames.
            night_id: What it is called, made of its footage.
            start_utc: Wall clock at the start of the footage, ISO 8601 or "".
            train: Ids of the frames to learn from again.
            heldout: Ids of the frames to judge on.
            class_names: The labels' classes.
            look: See `look_of`.
            version: The model that was judged on it; 0: none.

        Raises:
            ArtifactError: If frames or labels are none.
            StoreError: If the store does not take it.
        """
        return self._put(
            f"{self._folder(camera)}{night_id}/", frames, labels, night_id, "night", start_utc, train, heldout,
            class_names, look, version,
        )  # fmt: skip

    def set_check(self, camera: str, frames: Path, labels: Path, *, class_names: Sequence[str]) -> Night:
        """Make frames that a person has labelled the camera's check set; the one before is left, but counts no more.

        Raises:
            ArtifactError: If frames or labels are none.
            StoreError: If the store does not take it.
        """
        folder = self._folder(camera, "check")
        digests = header.digest(frames) + header.digest(labels)
        night_id = hashlib.sha256(digests.encode()).hexdigest()[:16]
        ids = np.load(frames / "frame_id.npy").tolist()
        found = self._put(
            f"{folder}{night_id}/", frames, labels, night_id, "check", "", (), ids, class_names, (), 0,
        )  # fmt: skip
        self.store.put_bytes(f"{folder}{CURRENT}", _encode({"id": night_id}))
        return found

    def drop_check(self, camera: str) -> None:
        """The camera has no check set any more; its files are left."""
        self.store.delete(f"{self._folder(camera, 'check')}{CURRENT}")

    def fetch(self, camera: str, night: Night, to: Path) -> dict[str, Path]:
        """Copy a night's frames/1 and labels/1 into the directory `to`, whole or not at all.

        Returns:
            "frames" and "labels" -> their directories.

        Raises:
            CorruptObject: If what arrives is not what was kept.
            OutputError: If `to` cannot be written.
        """
        source = f"{self._folder(camera, 'check' if night.kind == 'check' else 'nights')}{night.id}/"
        fetch_files(self.store, source, night.files, to, what="a kept night")
        return {name: to / name for name in PARTS}

    def remove(self, camera: str, night_id: str) -> None:
        """Take a night away: first what makes it one, then its files."""
        folder = f"{self._folder(camera)}{night_id}/"
        self.store.delete(f"{folder}{NIGHT}")
        each(self.store.delete, [found.key for found in self.store.find(folder)], workers=_WORKERS)

    def thin(self, camera: str, most: int) -> tuple[str, ...]:
        """Remove nights until `most` are left, each time the older of the two that look most alike.

        Returns:
            Ids of those removed.
        """
        nights = self.all(camera)
        gone: list[str] = []
        while len(nights) > most:
            doomed = nights[most_redundant([night.look for night in nights])]
            self.remove(camera, doomed.id)
            gone.append(doomed.id)
            nights.remove(doomed)
        return tuple(gone)

    def _put(
        self,
        folder: str,
        frames: Path,
        labels: Path,
        night_id: str,
        kind: Literal["night", "check"],
        start_utc: str,
        train: Sequence[int],
        heldout: Sequence[int],
        class_names: Sequence[str],
        look: Sequence[float],
        version: int,
    ) -> Night:
        there = self._read(folder)
        if there is not None:
            return there
        files: dict[str, dict[str, Any]] = {}
        for part, path in (("frames", frames), ("labels", labels)):
            for name in (*header.verify(path, PARTS[part]).files, header.HEADER):
                file = path / name
                files[f"{part}/{name}"] = {"bytes": file.stat().st_size, "sha256": header.sha256_file(file)}
        sources = {"frames": frames, "labels": labels}

        def put(name: str) -> None:
            part, _, rest = name.partition("/")
            self.store.put(f"{folder}{name}", sources[part] / rest)

        each(put, list(files), workers=_WORKERS)
        night = Night(
            id=night_id,
            kind=kind,
            start_utc=start_utc,
            kept_utc=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            class_names=tuple(class_names),
            train=tuple(int(one) for one in train),
            heldout=tuple(int(one) for one in heldout),
            look=tuple(float(value) for value in look),
            version=version,
            files=files,
        )
        with suppress(ObjectChanged):  # another process has kept the very same night
            self.store.put_bytes(f"{folder}{NIGHT}", _encode(asdict(night)), when=IF_ABSENT)
        return self._read(folder) or night

    def _folder(self, camera: str, kind: str = "nights") -> str:
        return f"{self.registry.camera_folder(camera)}{kind}/"

    def _read(self, folder: str) -> Night | None:
        """The night in a folder; None where none is whole."""
        key = f"{folder}{NIGHT}"
        try:
            values = json.loads(self.store.get_bytes(key)[0])
            lists = {name: tuple(values[name]) for name in ("class_names", "train", "heldout", "look")}
            return Night(**{**values, **lists})
        except MissingObject:
            return None
        except CorruptObject:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise corrupt(self.store.uri(key), expected="a kept night", found=repr(error)) from None


def look_of(images: Sequence[ImageArray]) -> tuple[float, ...]:
    """What frames look like, for telling conditions apart: shares of brightness and of colourfulness.

    Args:
        images: RGB, shape (H, W, 3) each.

    Returns:
        Two histograms of 8 bins, each adding up to 1: of the largest channel (night or day), and of the difference
        between the largest and the smallest (colour or infrared); zeros where there is no image.
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


def most_redundant(looks: Sequence[Sequence[float]]) -> int:
    """Which of at least two nights, oldest first, is missed least: the older of the two that look most alike.

    Of equally alike pairs the one with the oldest first night counts.
    """
    table = np.asarray(looks, np.float64)
    apart = np.abs(table[:, None] - table[None]).sum(axis=2)
    first, second = np.triu_indices(len(table), k=1)
    return int(first[np.argmin(apart[first, second])])


def _age(night: Night) -> tuple[str, str]:
    return night.start_utc or night.kept_utc, night.id


def _encode(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
