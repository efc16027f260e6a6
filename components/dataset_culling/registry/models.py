"""Model registry: each camera's immutable versions, the pointer to its champion, and the pointer's history.

    cameras/<camera>/versions/000007/claim.json        reserves the number; always the first file in the folder
                                     model/...         the model/1 artifact, file by file
                                     metrics.json      its figures
                                     provenance.json   its origin
                                     manifest.json     names and digests of the rest; written last
                                     removed.json      alone: the version was removed and its number stays reserved
    cameras/<camera>/champion.json                     the pointer, with the record of the move that set it
    cameras/<camera>/moves/000003.json                 the moves before that one

The pointer moves by compare-and-swap, so of two runs that promote at once one fails. Each move's record lies in the
pointer itself and is filed under moves/ before the next one replaces it: pointer and history always agree, even after a
crash. The registry lies on a `storage.ObjectStore`: a local folder or a bucket.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dataset_culling.artifacts import header
from dataset_culling.artifacts.model import SCHEMA as MODEL_SCHEMA
from dataset_culling.errors import (
    ArtifactError,
    ChampionMoved,
    ConfigError,
    CorruptObject,
    MissingObject,
    ObjectChanged,
)
from dataset_culling.registry.files import WORKERS, encode_json, fetch_files, iso_utc, put_artifact, read_json
from dataset_culling.storage import IF_ABSENT, ObjectStore, Stat, each, if_unchanged, is_remote, open_store

CAMERA = re.compile(r"[a-z0-9][a-z0-9-]*")
CLAIM, MANIFEST, REMOVED = "claim.json", "manifest.json", "removed.json"
METRICS, PROVENANCE = "metrics.json", "provenance.json"


@dataclass(frozen=True, slots=True)
class Provenance:
    """The origin of a version. Digests are of artifacts; empty: unknown."""

    footage: Mapping[str, str] = field(default_factory=dict)  # "pool", "heldout" -> digest
    labels: Mapping[str, str] = field(default_factory=dict)  # "pool", "heldout" -> digest
    config: Mapping[str, Any] = field(default_factory=dict)  # the training's
    code_version: str = ""
    image: str = ""  # the container image, by digest
    parent: int = 0  # version that training started from; 0: none


@dataclass(frozen=True, slots=True)
class Version:
    """One model of a camera."""

    camera: str
    version: int
    model_digest: str  # of the model/1 artifact's header, which holds those of its files
    metrics: Mapping[str, float]
    provenance: Provenance
    published_utc: str  # ISO 8601
    files: Mapping[str, Mapping[str, Any]]  # name below the version -> bytes, sha256


@dataclass(frozen=True, slots=True)
class Move:
    """One change of the champion pointer; `previous` is 0 without a champion before."""

    number: int
    kind: Literal["promote", "rollback"]
    version: int
    previous: int
    reason: str
    moved_utc: str


@dataclass(frozen=True, slots=True)
class Champion:
    """The camera's champion; version 0: none. A swap compares the `etag`."""

    version: int = 0
    move: Move | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class KeepRule:
    """Rule for `Registry.gc`; the champion, its rollback targets and all ancestors of kept versions always stay."""

    newest: int = 14  # newest versions, promoted or not
    champions: int = 3  # champions kept for rolling back, the present one included
    younger_than_s: float = 7 * 86400.0
    unfinished_s: float = 2 * 86400.0  # an unfinished publication this old counts as dead


@dataclass(frozen=True, slots=True)
class Collected:
    """Versions and leftovers that `Registry.gc` removed, or would remove."""

    versions: tuple[int, ...]
    unfinished: tuple[int, ...]
    uploads: int


class Registry:
    """The models of all cameras under one prefix of a store: empty, or a folder with a final '/'.

    `now_s` is the clock, seconds since 1970.
    """

    def __init__(self, store: ObjectStore, prefix: str = "", *, now_s: Callable[[], float] = time.time) -> None:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"prefix must end with '/', got {prefix!r}")
        self.store, self.prefix, self._now_s = store, prefix, now_s

    def cameras(self) -> list[str]:
        """List the cameras with a version or a reserved number, in order."""
        return self.store.folders(f"{self.prefix}cameras/")

    def versions(self, camera: str) -> list[Version]:
        """Read all finished versions, oldest first.

        Raises:
            CorruptObject: If a manifest is invalid.
        """
        numbers = sorted(self._numbers(camera)[MANIFEST])
        return each(lambda number: self.version(camera, number), numbers, workers=WORKERS)

    def version(self, camera: str, version: int) -> Version:
        """Read one version.

        Raises:
            MissingObject: If the version does not exist or is unfinished.
            CorruptObject: If its manifest is invalid.
        """
        folder = self._folder(camera, version)
        try:
            return read_json(self.store, f"{folder}{MANIFEST}", Version, what="a version's manifest")[0]
        except MissingObject:
            known = ", ".join(map(str, sorted(self._numbers(camera)[MANIFEST]))) or "none"
            raise MissingObject(
                f"{self.store.uri(folder)}: camera '{camera}' has no version {version}; its versions: {known}. "
                f"Name one of them."
            ) from None

    def champion(self, camera: str) -> Champion:
        """Read the camera's pointer.

        Raises:
            CorruptObject: If the pointer is invalid.
        """
        try:
            move, stat = self._move(f"{self.camera_folder(camera)}champion.json")
        except MissingObject:
            return Champion()
        return Champion(move.version, move, stat.etag)

    def history(self, camera: str) -> list[Move]:
        """Read every move of the pointer, oldest first."""
        folder = f"{self.camera_folder(camera)}moves/"
        keys = [found.key for found in self.store.find(folder) if found.key.endswith(".json")]
        moves = {move.number: move for move, _ in each(self._move, keys, workers=WORKERS)}
        if (last := self.champion(camera).move) is not None:
            moves[last.number] = last
        return [moves[number] for number in sorted(moves)]

    def model_uri(self, camera: str, version: int) -> str:
        """Return path or s3:// name of a version's model/1 artifact; usable as a detector's weights."""
        return self.store.uri(f"{self._folder(camera, version)}model")

    def version_at(self, camera: str, uri: str) -> int:
        """Return the version whose model/1 artifact, or file of it, a URI or path names; 0: none of this camera's."""
        start = self.store.uri(f"{self.camera_folder(camera)}versions/").rstrip("/") + "/"
        if not is_remote(uri) and not is_remote(start):
            uri, start = f"{Path(uri).absolute()}/", f"{Path(start).absolute()}/"
        found = re.match(r"0*([1-9]\d*)(/|$)", uri[len(start) :]) if uri.startswith(start) else None
        return int(found[1]) if found else 0

    def fetch_model(self, camera: str, version: int, to: Path) -> Path:
        """Copy a version's model/1 artifact into the directory `to`, completely or not at all; an intact copy stays.

        Raises:
            MissingObject: If the version does not exist.
            CorruptObject: If the received bytes differ from the published ones.
            OutputError: If `to` cannot be written.
        """
        wanted = self.version(camera, version)
        with suppress(ArtifactError):
            if header.digest(to) == wanted.model_digest and header.verify(to, MODEL_SCHEMA):
                return to
        files = {name: file for name, file in wanted.files.items() if name.startswith("model/")}
        fetch_files(self.store, self._folder(camera, version), files, to, below="model/", what="a model")
        return to

    def publish(self, camera: str, model: Path, metrics: Mapping[str, float], provenance: Provenance) -> Version:
        """Add a permanent version; a model published before gives its existing version.

        A process that dies meanwhile leaves a reserved number; publishing the same model again uses it.

        Raises:
            ConfigError: If the camera's name is invalid.
            ArtifactError: If `model` is not a valid model/1.
            StoreError: If the store rejects a file.
        """
        header.verify(model, MODEL_SCHEMA)
        digest = header.digest(model)
        published = {found.model_digest: found for found in self.versions(camera)}
        if digest in published:
            return published[digest]
        number = self._claim(camera, digest)
        folder = self._folder(camera, number)
        files: dict[str, dict[str, Any]] = {}
        for name, value in ((METRICS, dict(metrics)), (PROVENANCE, asdict(provenance))):
            data = encode_json(value)
            self.store.put_bytes(f"{folder}{name}", data)
            files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        files |= put_artifact(self.store, folder, "model", model, MODEL_SCHEMA)
        manifest = Version(camera, number, digest, dict(metrics), provenance, self._now(), files)
        if number in self._numbers(camera)[REMOVED]:
            raise MissingObject(
                f"{self.store.uri(folder)}: the reserved version was removed as too old. Publish the model again."
            )
        with suppress(ObjectChanged):  # another process has published the same model under the same number
            self.store.put_bytes(f"{folder}{MANIFEST}", encode_json(asdict(manifest)), when=IF_ABSENT)
        return self.version(camera, number)

    def _claim(self, camera: str, digest: str) -> int:
        """Reserve a number for the model, or return the one that an earlier try has reserved."""
        while True:
            numbers = self._numbers(camera)
            for number in sorted(numbers[CLAIM] - numbers[MANIFEST] - numbers[REMOVED]):
                with suppress(MissingObject, CorruptObject):
                    if self._read_claim(camera, number).get("model_digest") == digest:
                        return number
            taken = set().union(*numbers.values())
            number = max(taken, default=0) + 1
            claim = {"model_digest": digest, "claimed_utc": self._now()}
            with suppress(ObjectChanged):  # another process was quicker: try the next number
                self.store.put_bytes(f"{self._folder(camera, number)}{CLAIM}", encode_json(claim), when=IF_ABSENT)
                return number

    def promote(self, camera: str, version: int, *, expected: int, reason: str) -> Champion:
        """Make a version the camera's champion if the champion is still the one that it was compared with.

        `expected` is the champion that it was compared with, 0: none. `reason` is for display.

        Raises:
            ChampionMoved: If another process has moved the pointer.
            MissingObject: If the version does not exist.
        """
        self.version(camera, version)
        now = self.champion(camera)
        if now.version == version:
            return now
        if now.version != expected:
            raise self._moved(camera, expected, now.version)
        return self._point(camera, now, version, "promote", reason)

    def rollback(self, camera: str, *, reason: str, to: int = 0) -> Champion:
        """Make an earlier champion the champion again.

        Version `to` becomes the champion; 0: the champion before the present one, so that rolling back twice goes back
        two. `reason` is for display.

        Raises:
            ConfigError: If the camera has no earlier champion.
            ChampionMoved: If another process moves the pointer meanwhile.
            MissingObject: If the version does not exist.
        """
        now = self.champion(camera)
        stack = champion_stack(self.history(camera))
        if not to:
            if len(stack) < 2:
                raise ConfigError(f"camera '{camera}': there is no earlier champion to go back to. Name a version.")
            to = stack[-2]
        self.version(camera, to)
        return self._point(camera, now, to, "rollback", reason)

    def _point(
        self, camera: str, now: Champion, version: int, kind: Literal["promote", "rollback"], reason: str
    ) -> Champion:
        """Swap the pointer and check that the version still exists; if not, swap it back."""
        pointed = self._swap(camera, now, version, kind, reason)
        try:
            self.version(camera, version)
        except MissingObject:  # removed at the same time; see `_remove_version`
            self._swap(camera, pointed, now.version, "rollback", f"version {version} was being removed")
            raise
        return pointed

    def _swap(
        self, camera: str, now: Champion, version: int, kind: Literal["promote", "rollback"], reason: str
    ) -> Champion:
        """Replace the pointer that was read; of two simultaneous calls, one raises ChampionMoved."""
        folder = self.camera_folder(camera)
        if now.move is not None:  # filed before it is replaced, so that no move is lost
            filed = f"{folder}moves/{now.move.number:06d}.json"
            with suppress(ObjectChanged):
                self.store.put_bytes(filed, encode_json(asdict(now.move)), when=IF_ABSENT)
        number = now.move.number + 1 if now.move is not None else 1
        move = Move(number, kind, version, now.version, reason, self._now())
        when = if_unchanged(now.etag) if now.etag else IF_ABSENT
        try:
            stat = self.store.put_bytes(f"{folder}champion.json", encode_json(asdict(move)), when=when)
        except ObjectChanged:
            raise self._moved(camera, now.version, self.champion(camera).version) from None
        return Champion(version, move, stat.etag)

    def _moved(self, camera: str, expected: int, found: int) -> ChampionMoved:
        return ChampionMoved(
            f"{self.store.uri(f'{self.camera_folder(camera)}champion.json')}: expected {_name(expected)} as champion, "
            f"found {_name(found)}: another run has moved it. Compare with that version, then decide again."
        )

    def gc(self, camera: str, rule: KeepRule, *, dry_run: bool = False) -> Collected:
        """Remove versions that `rule` does not keep, and the leftovers of dead processes.

        The champion, its rollback targets (as many as the rule says) and every ancestor of a kept version stay. A
        version's manifest is deleted before its files, so that a crash leaves no half-readable version.
        """
        versions = {found.version: found for found in self.versions(camera)}
        doomed = sorted(set(versions) - self._kept(camera, versions, rule))
        dead = self._dead(camera, rule)
        if dry_run:
            return Collected(tuple(doomed), tuple(dead), 0)
        removed = [number for number in doomed if self._remove_version(camera, number)]
        for number in dead:
            self._remove_files(camera, number)
        uploads = self.store.sweep(self.camera_folder(camera), older_than_s=rule.unfinished_s)
        return Collected(tuple(removed), tuple(dead), uploads)

    def _dead(self, camera: str, rule: KeepRule) -> list[int]:
        """List numbers reserved long ago without a version, or with an unfinished removal."""
        numbers, dead = self._numbers(camera), []
        for number in sorted(numbers[CLAIM] - numbers[MANIFEST]):
            try:
                claimed = self._read_claim(camera, number)["claimed_utc"]
                old = self._now_s() - _seconds(claimed) > rule.unfinished_s
            except MissingObject:
                continue
            except (CorruptObject, KeyError, TypeError, ValueError):
                old = True
            if old or number in numbers[REMOVED]:
                dead.append(number)
        return dead

    def _kept(self, camera: str, versions: Mapping[int, Version], rule: KeepRule) -> set[int]:
        now_s = self._now_s()
        numbers = sorted(versions)
        kept = set(numbers[len(numbers) - min(rule.newest, len(numbers)) :])
        kept |= {n for n in numbers if now_s - _seconds(versions[n].published_utc) < rule.younger_than_s}
        stack = champion_stack(self.history(camera))
        kept |= set(stack[-max(1, rule.champions) :])
        return kept | ancestors(kept, {n: versions[n].provenance.parent for n in numbers})

    def _remove_version(self, camera: str, number: int) -> bool:
        """Delete the manifest, check that the pointer does not lead here, then delete the rest.

        A promotion sets the pointer and then checks the manifest, so at least one of the two notices the other.
        """
        key = f"{self._folder(camera, number)}{MANIFEST}"
        try:
            manifest, _ = self.store.get_bytes(key)
        except MissingObject:
            return False
        self.store.delete(key)
        if self.champion(camera).version == number:
            with suppress(ObjectChanged):
                self.store.put_bytes(key, manifest, when=IF_ABSENT)
            return False
        self._remove_files(camera, number)
        return True

    def _remove_files(self, camera: str, number: int) -> None:
        """Delete a number's files, after writing a note that the number stays reserved."""
        folder = self._folder(camera, number)
        self.store.put_bytes(f"{folder}{REMOVED}", encode_json({"removed_utc": self._now()}))
        keys = [found.key for found in self.store.find(folder)]
        last = f"{folder}{CLAIM}"  # deleted last, so that an interrupted removal can be resumed
        each(self.store.delete, [key for key in keys if key not in (last, f"{folder}{REMOVED}")], workers=WORKERS)
        self.store.delete(last)

    def camera_folder(self, camera: str) -> str:
        """Return the prefix of a camera's keys.

        Raises:
            ConfigError: If the camera's name is invalid.
        """
        if not CAMERA.fullmatch(camera):
            raise ConfigError(
                f"camera '{camera}': a name has lower-case letters, digits and hyphens only. Rename the camera."
            )
        return f"{self.prefix}cameras/{camera}/"

    def _folder(self, camera: str, version: int) -> str:
        if version < 1:
            raise ConfigError(f"version: expected a number from 1 on, found {version}. Name a version of '{camera}'.")
        return f"{self.camera_folder(camera)}versions/{version:06d}/"

    def _numbers(self, camera: str) -> dict[str, set[int]]:
        """Return the version numbers that have a claim, a manifest and a note of removal."""
        start = f"{self.camera_folder(camera)}versions/"
        numbers: dict[str, set[int]] = {CLAIM: set(), MANIFEST: set(), REMOVED: set()}
        for found in self.store.find(start):
            number, _, file = found.key[len(start) :].partition("/")
            if file in numbers and number.isdecimal():
                numbers[file].add(int(number))
        return numbers

    def _read_claim(self, camera: str, version: int) -> dict[str, Any]:
        return read_json(self.store, f"{self._folder(camera, version)}{CLAIM}", dict[str, Any], what="a claim")[0]

    def _move(self, key: str) -> tuple[Move, Stat]:
        return read_json(self.store, key, Move, what="a move of the pointer")

    def _now(self) -> str:
        return iso_utc(self._now_s())


def open_registry(uri: str) -> Registry:
    """Open the registry in a folder or under s3://bucket/prefix; it need not exist.

    Raises:
        ConfigError: If the URI is invalid, or the environment lacks the store's settings.
    """
    store, prefix = open_store(uri.rstrip("/") + "/")
    return Registry(store, prefix)


def champion_stack(history: Iterable[Move]) -> list[int]:
    """Return the versions that rolling back leads to, one by one, ending with the champion.

    A promotion adds one; a rollback removes those above its target.
    """
    stack: list[int] = []
    for move in history:
        if not move.version:  # the first champion was taken back
            stack.clear()
        elif move.version in stack:
            if move.kind == "promote":
                stack.remove(move.version)
                stack.append(move.version)
            else:
                del stack[stack.index(move.version) + 1 :]
        else:
            stack.append(move.version)
    return stack


def ancestors(versions: Iterable[int], parents: Mapping[int, int]) -> set[int]:
    """Return all ancestors of the versions in `parents` (version -> parent, 0: none)."""
    found: set[int] = set()
    ahead = list(versions)
    while ahead:
        parent = parents.get(ahead.pop(), 0)
        if parent and parent not in found:
            found.add(parent)
            ahead.append(parent)
    return found


def _seconds(utc: str) -> float:
    return datetime.datetime.fromisoformat(utc).timestamp()


def _name(version: int) -> str:
    return f"version {version}" if version else "none"
