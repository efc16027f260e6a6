"""The cameras' models: immutable versions, a champion pointer moved by compare-and-swap, its history.

PREFIX/cameras/CAMERA/models/DIGEST/FILE     a model/1 artifact, named by its header's digest: equal models lie once
PREFIX/cameras/CAMERA/versions/000001.json   one version: its model, metrics and provenance; written last, never again
PREFIX/cameras/CAMERA/champion.json          which version is deployed, and all that were
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import HEADER, digest, verify
from dataset_culling.errors import MissingObject, ObjectChanged, StoreError
from dataset_culling.storage import ALWAYS, IF_ABSENT, if_unchanged, open_store
from dataset_culling.storage.base import Condition

MAX_TRIES = 100
"""How often the next version's number is tried when others publish at the same moment."""


@dataclass(frozen=True, slots=True)
class Version:
    """One published model."""

    number: int
    model_digest: str
    metrics: Mapping[str, float]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Champion:
    """The deployed version (0: none yet), those before it, and the pointer's etag for compare-and-swap."""

    version: int = 0
    history: tuple[int, ...] = ()
    etag: str = field(default="", compare=False)


class ChampionMoved(StoreError):
    """Somebody else moved the champion pointer first."""


class Registry:
    """The models of all cameras under one folder or s3:// prefix."""

    def __init__(self, uri: str) -> None:
        self._store, prefix = open_store(uri.rstrip("/") + "/")
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""

    def _key(self, camera: str, *parts: str) -> str:
        return "/".join([f"{self._prefix}cameras/{camera}", *parts])

    def versions(self, camera: str) -> list[Version]:
        """Every version of a camera, oldest first."""
        found = []
        for stat in self._store.find(self._key(camera, "versions/")):
            data, _ = self._store.get_bytes(stat.key)
            found.append(Version(**json.loads(data)))
        return sorted(found, key=lambda version: version.number)

    def publish(
        self, camera: str, model: Path, *, metrics: Mapping[str, float], provenance: Mapping[str, Any]
    ) -> Version:
        """Store a model as the camera's next version, or give back the version that it already is.

        The model's files come first and the version last, so a crash leaves no version without its model, and the next
        call ends the work.

        Args:
            camera: The camera's name.
            model: A model/1 directory.
            metrics: Its figures on the held-out frames.
            provenance: Where it comes from.

        Raises:
            ArtifactError: If it is no model/1, or damaged.
            StoreError: If the store does not take it.
        """
        header = verify(model, "model/1")
        identity = digest(model)
        for version in self.versions(camera):
            if version.model_digest == identity:
                return version
        for name in [*header.files, HEADER]:
            self._store.put(self._key(camera, "models", identity, name), model / name, when=ALWAYS)
        for _ in range(MAX_TRIES):
            known = self.versions(camera)
            number = known[-1].number + 1 if known else 1
            version = Version(number, identity, dict(metrics), dict(provenance))
            data = json.dumps(asdict(version), sort_keys=True, indent=1).encode()
            try:
                self._store.put_bytes(self._key(camera, "versions", f"{number:06d}.json"), data, when=IF_ABSENT)
            except ObjectChanged:
                continue  # somebody took that number at the same moment
            return version
        raise StoreError(f"{self._key(camera)}: expected a free version number, found none. Try again later.")

    def fetch_model(self, camera: str, number: int, to: Path) -> Path:
        """Bring a version's model/1 directory to this machine, checked.

        Raises:
            MissingObject: If there is no such version.
            ArtifactError: If what arrived is damaged.
        """
        data, _ = self._store.get_bytes(self._key(camera, "versions", f"{number:06d}.json"))
        folder = self._key(camera, "models", json.loads(data)["model_digest"]) + "/"
        to.mkdir(parents=True, exist_ok=True)
        for stat in self._store.find(folder):
            self._store.get(stat.key, to / stat.key.removeprefix(folder))
        verify(to, "model/1")
        return to

    def champion(self, camera: str) -> Champion:
        """The deployed version of a camera."""
        try:
            data, stat = self._store.get_bytes(self._key(camera, "champion.json"))
        except MissingObject:
            return Champion()
        values = json.loads(data)
        return Champion(int(values["version"]), tuple(values["history"]), stat.etag)

    def promote(self, camera: str, number: int, *, expected: Champion) -> Champion:
        """Deploy a version, if the champion is still the expected one.

        Raises:
            MissingObject: If there is no such version.
            ChampionMoved: If somebody else moved the pointer since `expected` was read.
        """
        self._store.stat(self._key(camera, "versions", f"{number:06d}.json"))
        history = (*expected.history, expected.version) if expected.version else expected.history
        return self._move(camera, Champion(number, history), expected)

    def rollback(self, camera: str) -> Champion:
        """Deploy again what was deployed before.

        Raises:
            MissingObject: If nothing was.
            ChampionMoved: If somebody else moved the pointer at the same moment.
        """
        now = self.champion(camera)
        if not now.history:
            raise MissingObject(f"{camera}: expected an earlier champion, found none. There is nothing to go back to.")
        return self._move(camera, Champion(now.history[-1], now.history[:-1]), now)

    def _move(self, camera: str, wanted: Champion, expected: Champion) -> Champion:
        key = self._key(camera, "champion.json")
        data = json.dumps({"version": wanted.version, "history": list(wanted.history)}).encode()
        when: Condition = if_unchanged(expected.etag) if expected.etag else IF_ABSENT
        try:
            stat = self._store.put_bytes(key, data, when=when)
        except ObjectChanged:
            raise ChampionMoved(
                f"{self._store.uri(key)}: expected version {expected.version} to be deployed, found that another run "
                f"moved it. Evaluate against the new champion and try again."
            ) from None
        return Champion(wanted.version, wanted.history, stat.etag)
