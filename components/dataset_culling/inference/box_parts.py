"""Boxes of an unfinished scan, kept in the task's scratch (`storage.scratch`)."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.storage import LocalStore, ObjectStore, is_remote, open_store
from dataset_culling.storage.scratch import SCRATCH, SCRATCH_URI, scratch_folder
from dataset_culling.types import ImageDetections


class BoxParts:
    """Boxes of the first frames of a scan, as files that a killed process leaves behind whole or not at all.

    Each file `boxes-FIRST.npz` holds the boxes of consecutive frames from row FIRST on; together they have no holes.

    Args:
        work: What names this work: a digest of all that decides its boxes.
        every_s: Least seconds between two files.

    Raises:
        ConfigError: If the environment names a place that cannot be one.
    """

    def __init__(self, work: str, *, every_s: float) -> None:
        self._every_s = every_s
        self._last_s = time.monotonic()
        self._written = 0
        self._store: ObjectStore | None = None
        self._prefix = f"scan-{work[:32]}/"
        folder, uri = scratch_folder(), os.environ.get(SCRATCH_URI, "")
        if folder is not None:
            self._store = LocalStore(folder)
        elif uri:
            if not is_remote(uri):
                raise ConfigError(
                    f"{SCRATCH_URI}: expected s3://bucket/prefix, found {uri}. For a folder set {SCRATCH}."
                )
            self._store, key = open_store(uri.rstrip("/") + "/scan")
            self._prefix = f"{key.removesuffix('scan')}{self._prefix}"

    def read(self) -> list[ImageDetections]:
        """Return the boxes of an earlier process, from the first frame to the first damaged file."""
        found: list[ImageDetections] = []
        if self._store is None:
            return found
        keys = {stat.key for stat in self._store.find(self._prefix)}
        while (key := self._key(len(found))) in keys:
            try:
                with np.load(io.BytesIO(self._store.get_bytes(key)[0]), allow_pickle=False) as part:
                    ends = np.cumsum(part["counts"])[:-1]
                    columns = [np.split(part[name], ends) for name in ("boxes_xyxy", "scores", "class_ids")]
                    looks = list(part["features"]) if "features" in part else [None] * len(part["counts"])
            except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile):
                break
            found += [ImageDetections(*image) for image in zip(*columns, looks, strict=True)]
        self._written = len(found)
        return found

    def write(self, images: Sequence[ImageDetections]) -> None:
        """Keep the boxes of the first frames, `images`, if the last file is old enough.

        Raises:
            OutputError: If the folder cannot be written.
            StoreError: If the store does not take it.
        """
        now_s = time.monotonic()
        fresh = images[self._written :]
        if self._store is None or not fresh or now_s - self._last_s < self._every_s:
            return
        buffer = io.BytesIO()
        looks = [image.features for image in fresh if image.features is not None]
        extra: dict[str, Any] = {"features": np.stack(looks)} if looks else {}
        np.savez(
            buffer,
            **extra,
            counts=np.array([len(image) for image in fresh], np.int64),
            boxes_xyxy=np.concatenate([image.boxes_xyxy for image in fresh]),
            scores=np.concatenate([image.scores for image in fresh]),
            class_ids=np.concatenate([image.class_ids for image in fresh]),
        )
        try:
            self._store.put_bytes(self._key(self._written), buffer.getvalue())
        except OSError as error:
            raise OutputError(
                f"{error.filename or SCRATCH}: expected to keep half-finished work there, found "
                f"{error.strerror or error}. Free space, or unset {SCRATCH}."
            ) from error
        self._written, self._last_s = len(images), now_s

    def _key(self, first: int) -> str:
        return f"{self._prefix}boxes-{first:09d}.npz"
