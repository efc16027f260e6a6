"""Files of the registry in an object store: small JSON objects, and folders whose digests a manifest holds."""

from __future__ import annotations

import datetime
import json
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dataset_culling.artifacts.header import HEADER, sha256_file, verify
from dataset_culling.errors import OutputError
from dataset_culling.storage import ObjectStore, Stat, each
from dataset_culling.storage.base import corrupt

WORKERS = 8

Files = Mapping[str, Mapping[str, Any]]
"""Name below a folder -> bytes, sha256."""

T = TypeVar("T")


def encode_json(value: Mapping[str, Any]) -> bytes:
    """Return a value as sorted, indented JSON with a final newline."""
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(store: ObjectStore, key: str, kind: type[T], *, what: str) -> tuple[T, Stat]:
    """Read a small JSON object as a dataclass or another type; `what` names it in errors.

    Raises:
        MissingObject: If the object does not exist.
        CorruptObject: If it is not JSON that fits `kind`.
    """
    data, stat = store.get_bytes(key)
    try:
        return TypeAdapter(kind).validate_json(data), stat
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        found = f"{where}: {first['msg']}" if where else first["msg"]
        raise corrupt(store.uri(key), expected=what, found=found) from None


def iso_utc(seconds: float) -> str:
    """Format seconds since 1970 as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def put_artifact(store: ObjectStore, folder: str, name: str, artifact: Path, schema: str) -> dict[str, dict[str, Any]]:
    """Check an artifact and store its files under `folder` + `name`.

    Args:
        store: The object store.
        folder: Prefix of the manifest's names, with a final '/'.
        name: The artifact's folder below it.
        artifact: The artifact's directory.
        schema: Kind and version that it must have.

    Returns:
        Name below `folder` -> bytes, sha256 of every file, for the manifest.

    Raises:
        ArtifactError: If the artifact is not a valid `schema`.
        StoreError: If the store rejects a file.
    """
    files = {file: dict(entry) for file, entry in verify(artifact, schema).files.items()}
    header = artifact / HEADER
    files[HEADER] = {"bytes": header.stat().st_size, "sha256": sha256_file(header)}
    each(lambda file: store.put(f"{folder}{name}/{file}", artifact / file), list(files), workers=WORKERS)
    return {f"{name}/{file}": entry for file, entry in files.items()}


def fetch_files(store: ObjectStore, folder: str, files: Files, to: Path, *, below: str = "", what: str) -> None:
    """Copy files whose digests a manifest holds into the directory `to`, completely or not at all.

    Args:
        store: The object store.
        folder: Prefix of the manifest's names, with a final '/'.
        files: Name below the folder -> sha256.
        to: Directory to write; replaced if it exists.
        below: Prefix to remove from the names in `to`.
        what: Description of the files, for errors.

    Raises:
        CorruptObject: If a file's bytes do not match the manifest.
        StoreError: If the store does not deliver a file.
        OutputError: If `to` cannot be written.
    """
    beside = to.with_name(f".{to.name}.{uuid.uuid4().hex}.partial")

    def get(name: str) -> None:
        file = beside / name.removeprefix(below)
        store.get(f"{folder}{name}", file)
        if sha256_file(file) != files[name]["sha256"]:
            raise corrupt(store.uri(f"{folder}{name}"), expected="the bytes in its manifest", found="other bytes")

    try:
        each(get, list(files), workers=WORKERS)
        if to.exists():
            shutil.rmtree(to)
        beside.rename(to)
    except OSError as error:
        raise OutputError(f"{to}: expected to write {what}, found {error.strerror or error}. Free space.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
