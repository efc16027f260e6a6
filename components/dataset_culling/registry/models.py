"""Every camera's models: versions that never change, a pointer to the best one, and how it came to point there.

    cameras/<camera>/versions/000007/claim.json        who took the number; nothing else can be in the folder before it
                                     model/...         the model/1 artifact, file by file
                                     metrics.json      its figures
                                     provenance.json   what it was made of
                                     manifest.json     names and digests of the rest; written last: now it is a version
                                     removed.json      alone: it was one, and the number is not taken again
    cameras/<camera>/champion.json                     the pointer, with the record of the move that set it
    cameras/<camera>/moves/000003.json                 the moves before that one

The pointer moves by compare-and-swap, so of two runs that promote at once one is told. Each move's record lies in the
pointer itself and is filed under moves/ before the next one replaces it: pointer and history cannot disagree, whenever
a process dies. It all lies on `storage.ObjectStore`: a local folder or a bucket.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
import shutil
import time
import uuid
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
    OutputError,
)
from dataset_culling.storage import IF_ABSENT, ObjectStore, Stat, each, if_unchanged, is_remote, open_store
from dataset_culling.storage.base import corrupt

CAMERA = re.compile(r"[a-z0-9][a-z0-9-]*")
CLAIM, MANIFEST, REMOVED = "claim.json", "manifest.json", "removed.json"
METRICS, PROVENANCE = "metrics.json", "provenance.json"
_WORKERS = 8


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a version was made of. Digests are of artifacts; empty where there is none."""

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
    """One change of the champion pointer; `previous` is 0 where there was none."""

    number: int
    kind: Literal["promote", "rollback"]
    version: int
    previous: int
    reason: str
    moved_utc: str


@dataclass(frozen=True, slots=True)
class Champion:
    """Where the pointer points; version 0 where a camera has no champion. `etag` is what a swap compares with."""

    version: int = 0
    move: Move | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class KeepRule:
    """What `Registry.gc` keeps; the champion, the versions it can be rolled back to, and all ancestors stay anyway."""

    newest: int = 14  # versions, whether promoted or not
    champions: int = 3  # versions that rolling back leads to, one after another, from the present one on
    younger_than_s: float = 7 * 86400.0
    unfinished_s: float = 2 * 86400.0  # a publication that has not ended after this long is taken for dead


@dataclass(frozen=True, slots=True)
class Collected:
    """What `Registry.gc` removed, or would remove."""

    versions: tuple[int, ...]
    unfinished: tuple[int, ...]
    uploads: int


class Registry:
    """The models of all cameras under one prefix of a store.

    Args:
        store: Where they lie.
        prefix: What all keys begin with: empty, or a folder with a final '/'.
        now_s: The clock, seconds since 1970.
    """

    def __init__(self, store: ObjectStore, prefix: str = "", *, now_s: Callable[[], float] = time.time) -> None:
        if prefix and not prefix.endswith("/"):
            raise ValueError(f"prefix must end with '/', got {prefix!r}")
        self.store, self.prefix, self._now_s = store, prefix, now_s

    # --- reading ------------------------------------------------------------------------------------------------------

    def cameras(self) -> list[str]:
        """Cameras that have a version or a number taken for one, in order."""
        return self.store.folders(f"{self.prefix}cameras/")

    def versions(self, camera: str) -> list[Version]:
        """All finished versions, oldest first.

        Raises:
            CorruptObject: If one cannot be understood.
        """
        return each(
            lambda number: self.version(camera, number), sorted(self._numbers(camera)[MANIFEST]), workers=_WORKERS
        )

    def version(self, camera: str, version: int) -> Version:
        """One version.

        Raises:
            MissingObject: If there is none, or its publication has not ended.
            CorruptObject: If it cannot be understood.
        """
        folder = self._folder(camera, version)
        try:
            values = self._json(f"{folder}{MANIFEST}")[0]
        except MissingObject:
            known = ", ".join(map(str, sorted(self._numbers(camera)[MANIFEST]))) or "none"
            raise MissingObject(
                f"{self.store.uri(folder)}: expected version {version} of camera '{camera}', found {known}. "
                f"Name one of them."
            ) from None
        try:
            return Version(
                camera=camera,
                version=version,
                model_digest=values["model_digest"],
                metrics={name: float(value) for name, value in values["metrics"].items()},
                provenance=Provenance(**values["provenance"]),
                published_utc=values["published_utc"],
                files=values["files"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise corrupt(self.store.uri(f"{folder}{MANIFEST}"), expected="a manifest", found=repr(error)) from None

    def champion(self, camera: str) -> Champion:
        """Where the camera's pointer points at this moment.

        Raises:
            CorruptObject: If the pointer cannot be understood.
        """
        key = f"{self._camera(camera)}champion.json"
        try:
            values, stat = self._json(key)
        except MissingObject:
            return Champion()
        move = self._move(key, values)
        return Champion(move.version, move, stat.etag)

    def history(self, camera: str) -> list[Move]:
        """Every move of the pointer, oldest first."""
        folder = f"{self._camera(camera)}moves/"
        keys = [found.key for found in self.store.find(folder) if found.key.endswith(".json")]
        moves = {
            move.number: move for move in each(lambda key: self._move(key, self._json(key)[0]), keys, workers=_WORKERS)
        }
        if (last := self.champion(camera).move) is not None:
            moves[last.number] = last
        return [moves[number] for number in sorted(moves)]

    def model_uri(self, camera: str, version: int) -> str:
        """Path or s3:// name of a version's model/1 artifact; usable as a detector's weights."""
        return self.store.uri(f"{self._folder(camera, version)}model")

    def version_at(self, camera: str, uri: str) -> int:
        """Which version's model/1 artifact, or file of it, a URI or path names; 0: none of this camera's here."""
        start = self.store.uri(f"{self._camera(camera)}versions/").rstrip("/") + "/"
        if not is_remote(uri) and not is_remote(start):
            uri, start = f"{Path(uri).absolute()}/", f"{Path(start).absolute()}/"
        found = re.match(r"0*([1-9]\d*)(/|$)", uri[len(start) :]) if uri.startswith(start) else None
        return int(found[1]) if found else 0

    def fetch_model(self, camera: str, version: int, to: Path) -> Path:
        """Copy a version's model/1 artifact into the directory `to`, whole or not at all; a good copy there stays.

        Raises:
            MissingObject: If there is no such version.
            CorruptObject: If what arrives is not what was published.
            OutputError: If `to` cannot be written.
        """
        wanted = self.version(camera, version)
        with suppress(ArtifactError):
            if header.digest(to) == wanted.model_digest and header.verify(to, MODEL_SCHEMA):
                return to
        files = {name: file for name, file in wanted.files.items() if name.startswith("model/")}
        fetch_files(self.store, self._folder(camera, version), files, to, below="model/", what="a model")
        return to

    # --- publishing ---------------------------------------------------------------------------------------------------

    def publish(self, camera: str, model: Path, metrics: Mapping[str, float], provenance: Provenance) -> Version:
        """Add a version, for good. The same model again gives the version that it already is.

        A process that dies on the way leaves a number without a version; publishing the same model takes it up again.

        Args:
            camera: Lower-case letters, digits and hyphens.
            model: A model/1 artifact.
            metrics: Its figures.
            provenance: What it was made of.

        Raises:
            ConfigError: If the camera's name is none.
            ArtifactError: If `model` is no model/1, or damaged.
            StoreError: If the store does not take it.
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
            data = _encode(value)
            self.store.put_bytes(f"{folder}{name}", data)
            files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name in (*header.read_header(model, MODEL_SCHEMA).files, header.HEADER):
            file = model / name
            self.store.put(f"{folder}model/{name}", file)
            files[f"model/{name}"] = {"bytes": file.stat().st_size, "sha256": header.sha256_file(file)}
        manifest = {
            "camera": camera,
            "version": number,
            "model_digest": digest,
            "metrics": dict(metrics),
            "provenance": asdict(provenance),
            "published_utc": self._now(),
            "files": files,
        }
        if number in self._numbers(camera)[REMOVED]:
            raise MissingObject(
                f"{self.store.uri(folder)}: expected our claim, found it removed as too old. Publish the model again."
            )
        with suppress(ObjectChanged):  # another process has published the very same model under the same claim
            self.store.put_bytes(f"{folder}{MANIFEST}", _encode(manifest), when=IF_ABSENT)
        return self.version(camera, number)

    def _claim(self, camera: str, digest: str) -> int:
        """A number of our own for the model, or the one that an earlier try for it has taken."""
        while True:
            numbers = self._numbers(camera)
            for number in sorted(numbers[CLAIM] - numbers[MANIFEST] - numbers[REMOVED]):
                with suppress(MissingObject, CorruptObject):
                    if self._json(f"{self._folder(camera, number)}{CLAIM}")[0].get("model_digest") == digest:
                        return number
            taken = set().union(*numbers.values())
            number = max(taken, default=0) + 1
            claim = {"model_digest": digest, "claimed_utc": self._now()}
            with suppress(ObjectChanged):  # somebody was quicker: the next number
                self.store.put_bytes(f"{self._folder(camera, number)}{CLAIM}", _encode(claim), when=IF_ABSENT)
                return number

    # --- the pointer --------------------------------------------------------------------------------------------------

    def promote(self, camera: str, version: int, *, expected: int, reason: str) -> Champion:
        """Make a version the camera's champion, if the champion still is the one that it was compared with.

        Args:
            camera: The camera.
            version: The new champion.
            expected: The champion that the decision rests on; 0: none.
            reason: Why, for people.

        Raises:
            ChampionMoved: If somebody else has moved the pointer.
            MissingObject: If there is no such version.
        """
        self.version(camera, version)
        now = self.champion(camera)
        if now.version == version:
            return now
        if now.version != expected:
            raise self._moved(camera, expected, now.version)
        return self._point(camera, now, version, "promote", reason)

    def rollback(self, camera: str, *, reason: str, to: int = 0) -> Champion:
        """Make an earlier champion the champion again; at once, for whoever reads the pointer.

        Args:
            camera: The camera.
            reason: Why, for people.
            to: The version; 0: the champion before the present one, so that rolling back twice goes back two.

        Raises:
            ConfigError: If there is nothing to go back to.
            ChampionMoved: If somebody else moves the pointer meanwhile.
            MissingObject: If that version is not there.
        """
        now = self.champion(camera)
        stack = champion_stack(self.history(camera))
        if not to:
            if len(stack) < 2:
                raise ConfigError(
                    f"camera '{camera}': expected a champion before {_name(now.version)} to go back to, found none. "
                    f"Name a version."
                )
            to = stack[-2]
        self.version(camera, to)
        return self._point(camera, now, to, "rollback", reason)

    def _point(
        self, camera: str, now: Champion, version: int, kind: Literal["promote", "rollback"], reason: str
    ) -> Champion:
        """Swap the pointer, and see that the version is still there; if not, swap it back."""
        pointed = self._swap(camera, now, version, kind, reason)
        try:
            self.version(camera, version)
        except MissingObject:  # it was removed in this very moment; see `_remove_version`
            self._swap(camera, pointed, now.version, "rollback", f"version {version} was being removed")
            raise
        return pointed

    def _swap(
        self, camera: str, now: Champion, version: int, kind: Literal["promote", "rollback"], reason: str
    ) -> Champion:
        """Write the pointer over the one that was read; of two that try at once, one gets ChampionMoved."""
        folder = self._camera(camera)
        if now.move is not None:  # filed before it is replaced, so that no move is ever lost
            filed = f"{folder}moves/{now.move.number:06d}.json"
            with suppress(ObjectChanged):
                self.store.put_bytes(filed, _encode(asdict(now.move)), when=IF_ABSENT)
        number = now.move.number + 1 if now.move is not None else 1
        move = Move(number, kind, version, now.version, reason, self._now())
        when = if_unchanged(now.etag) if now.etag else IF_ABSENT
        try:
            stat = self.store.put_bytes(f"{folder}champion.json", _encode(asdict(move)), when=when)
        except ObjectChanged:
            raise self._moved(camera, now.version, self.champion(camera).version) from None
        return Champion(version, move, stat.etag)

    def _moved(self, camera: str, expected: int, found: int) -> ChampionMoved:
        return ChampionMoved(
            f"{self.store.uri(f'{self._camera(camera)}champion.json')}: expected {_name(expected)} as champion, found "
            f"{_name(found)}: another run was quicker. Compare with that one, then decide again."
        )

    # --- tidying ------------------------------------------------------------------------------------------------------

    def gc(self, camera: str, rule: KeepRule, *, dry_run: bool = False) -> Collected:
        """Remove versions that `rule` does not keep, and what dead processes left behind.

        The champion, the versions that rolling back leads to (as many as the rule says) and every ancestor of a version
        that is kept are never removed. A version ceases to be one before its files go, so that a process that dies in
        between leaves nothing half-readable.
        """
        versions = {found.version: found for found in self.versions(camera)}
        doomed = sorted(set(versions) - self._kept(camera, versions, rule))
        dead = self._dead(camera, rule)
        if dry_run:
            return Collected(tuple(doomed), tuple(dead), 0)
        removed = [number for number in doomed if self._remove_version(camera, number)]
        for number in dead:
            self._remove_files(camera, number)
        uploads = self.store.sweep(self._camera(camera), older_than_s=rule.unfinished_s)
        return Collected(tuple(removed), tuple(dead), uploads)

    def _dead(self, camera: str, rule: KeepRule) -> list[int]:
        """Numbers that were taken long ago for a version that never came, or whose removal did not end."""
        numbers, dead = self._numbers(camera), []
        for number in sorted(numbers[CLAIM] - numbers[MANIFEST]):
            try:
                claimed = self._json(f"{self._folder(camera, number)}{CLAIM}")[0]["claimed_utc"]
                old = self._now_s() - _seconds(claimed) > rule.unfinished_s
            except MissingObject:
                continue
            except (CorruptObject, KeyError, ValueError):
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
        """Take the manifest away, look whether the pointer came here meanwhile, then take the rest.

        A promotion sets the pointer and then looks for the manifest, so at least one of the two sees the other.
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
        """All of a number's files. What stays is a note that the number is used up, which comes before all else."""
        folder = self._folder(camera, number)
        self.store.put_bytes(f"{folder}{REMOVED}", _encode({"removed_utc": self._now()}))
        keys = [found.key for found in self.store.find(folder)]
        last = f"{folder}{CLAIM}"  # as long as it is there, an interrupted removal is taken up again
        each(self.store.delete, [key for key in keys if key not in (last, f"{folder}{REMOVED}")], workers=_WORKERS)
        self.store.delete(last)

    # --- keys and bytes -----------------------------------------------------------------------------------------------

    def camera_folder(self, camera: str) -> str:
        """What all keys of a camera begin with.

        Raises:
            ConfigError: If the camera's name is none.
        """
        return self._camera(camera)

    def _camera(self, camera: str) -> str:
        if not CAMERA.fullmatch(camera):
            raise ConfigError(
                f"camera '{camera}': expected lower-case letters, digits and hyphens, found others. Rename it."
            )
        return f"{self.prefix}cameras/{camera}/"

    def _folder(self, camera: str, version: int) -> str:
        if version < 1:
            raise ConfigError(f"version: expected a number from 1 on, found {version}. Name a version of '{camera}'.")
        return f"{self._camera(camera)}versions/{version:06d}/"

    def _numbers(self, camera: str) -> dict[str, set[int]]:
        """For claims, manifests and notes of removal: the version numbers whose folder holds one."""
        start = f"{self._camera(camera)}versions/"
        numbers: dict[str, set[int]] = {CLAIM: set(), MANIFEST: set(), REMOVED: set()}
        for found in self.store.find(start):
            number, _, file = found.key[len(start) :].partition("/")
            if file in numbers and number.isdecimal():
                numbers[file].add(int(number))
        return numbers

    def _json(self, key: str) -> tuple[dict[str, Any], Stat]:
        data, stat = self.store.get_bytes(key)
        try:
            values = json.loads(data)
        except ValueError as error:
            raise corrupt(self.store.uri(key), expected="JSON", found=str(error)) from None
        if not isinstance(values, dict):
            raise corrupt(self.store.uri(key), expected="a JSON object", found=type(values).__name__)
        return values, stat

    def _move(self, key: str, values: Mapping[str, Any]) -> Move:
        try:
            move = Move(**values)
        except TypeError as error:
            raise corrupt(self.store.uri(key), expected="a move of the pointer", found=repr(error)) from None
        return move

    def _now(self) -> str:
        return datetime.datetime.fromtimestamp(self._now_s(), datetime.UTC).isoformat(timespec="seconds")


def open_registry(uri: str) -> Registry:
    """The registry in a folder or under s3://bucket/prefix; it need not exist.

    Raises:
        ConfigError: If it is no such URI, or the environment does not say how to reach the store.
    """
    store, prefix = open_store(uri.rstrip("/") + "/")
    return Registry(store, prefix)


def fetch_files(
    store: ObjectStore, folder: str, files: Mapping[str, Mapping[str, Any]], to: Path, *, below: str = "", what: str
) -> None:
    """Copy files whose digests a manifest holds into the directory `to`: all of them as they were kept, or none.

    Args:
        store: Where they lie.
        folder: What their keys begin with.
        files: Name below the folder -> sha256.
        to: Replaced, if it is there.
        below: What of the names is left out in `to`.
        what: What they are together, for the error.

    Raises:
        CorruptObject: If what arrives is not what the manifest says.
        StoreError: If the store does not give one.
        OutputError: If `to` cannot be written.
    """
    beside = to.with_name(f".{to.name}.{uuid.uuid4().hex}.partial")

    def get(name: str) -> None:
        file = beside / name.removeprefix(below)
        store.get(f"{folder}{name}", file)
        if header.sha256_file(file) != files[name]["sha256"]:
            raise corrupt(store.uri(f"{folder}{name}"), expected="what its manifest says", found="other bytes")

    try:
        each(get, list(files), workers=_WORKERS)
        if to.exists():
            shutil.rmtree(to)
        beside.rename(to)
    except OSError as error:
        raise OutputError(f"{to}: expected to write {what}, found {error.strerror or error}. Free space.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def champion_stack(history: Iterable[Move]) -> list[int]:
    """The champion, last, after those that rolling back leads to, one by one.

    A promotion adds one; a rollback takes away what lies above the version that it goes back to.
    """
    stack: list[int] = []
    for move in history:
        if not move.version:  # there was none before, and the first one was taken back
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
    """All that the versions descend from, as far as `parents` (version -> parent, 0: none) knows."""
    found: set[int] = set()
    ahead = list(versions)
    while ahead:
        parent = parents.get(ahead.pop(), 0)
        if parent and parent not in found:
            found.add(parent)
            ahead.append(parent)
    return found


def _encode(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _seconds(utc: str) -> float:
    return datetime.datetime.fromisoformat(utc).timestamp()


def _name(version: int) -> str:
    return f"version {version}" if version else "none"
