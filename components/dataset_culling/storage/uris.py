"""URIs: `s3://bucket/key` works wherever a path does."""

from __future__ import annotations

import io
import json
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dataset_culling.errors import ConfigError, MissingObject
from dataset_culling.storage.atomic import writing
from dataset_culling.storage.base import ALWAYS, Condition, ObjectStore, Stat, check_key, missing
from dataset_culling.storage.local import LocalStore

if TYPE_CHECKING:
    from dataset_culling.storage.s3 import S3Store

SCHEMES = ("s3://", "minio://")
"""Both mean the same; KFP writes minio:// for its own store."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_open: dict[str, tuple[int, S3Store]] = {}
_opening = threading.Lock()


def is_remote(uri: str) -> bool:
    """Return True if a URI names an object store and not a path."""
    return uri.startswith(SCHEMES)


def open_store(uri: str) -> tuple[ObjectStore, str]:
    """Return the store of a URI or path, and the key in it.

    's3://bucket/a/b' is key 'a/b' of the bucket; '/data/a/b' is key 'b' of the folder /data/a, and '/data/a/' is the
    folder itself, with an empty key. Buckets are opened once and kept, with their connections.

    Raises:
        ConfigError: If the URI is invalid, the environment names no keys, or minio is not installed.
    """
    if not is_remote(uri):
        if "://" in uri:
            scheme = uri.partition("://")[0]
            raise ConfigError(
                f"{uri}: expected a path or s3://bucket/key, found the scheme '{scheme}'. Use one of them."
            )
        folder, _, name = uri.rpartition("/")
        return LocalStore(Path(folder or ("/" if uri.startswith("/") else "."))), name
    bucket, _, key = uri.partition("://")[2].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{uri}: expected s3://bucket/key, found the bucket '{bucket}'. Correct the URI.")
    from dataset_culling.storage.settings import environment_mark  # paths must not load the modules of buckets

    mark = environment_mark()
    with _opening:
        known = _open.get(bucket)
        if known is None or known[0] != mark:
            try:
                from dataset_culling.storage.s3 import S3Store
            except ModuleNotFoundError as error:
                raise ConfigError(
                    f"{uri}: expected the package 'minio', found no module {str(error.name).partition('.')[0]}. "
                    f"Install it: pip install 'dataset-culling[store]'."
                ) from None
            known = _open[bucket] = (mark, S3Store(bucket))
    return known[1], key


def fetch(uri: str, to: Path) -> Path:
    """Copy an object, or all objects of a folder, to this machine; return the copy's path.

    A copy that an earlier call left at `to` is used again if the object's etag is the same. A local path is returned
    as it is.

    Args:
        uri: s3://bucket/key of an object or a folder; or a path.
        to: Path of the copy, which appears whole or not at all, a folder file by file.

    Raises:
        MissingObject: If there is neither an object nor a folder.
        StoreError: If the store refuses.
        OutputError: If `to` cannot be written.
    """
    if not is_remote(uri):
        if not Path(uri).exists():
            raise missing(uri, "no such file")
        return Path(uri)
    store, key = open_store(uri)
    folder = key.rstrip("/")
    if key and not key.endswith("/"):
        with suppress(MissingObject):
            _fetch_object(store, store.stat(key), to)
            return to
    found = list(store.find(f"{folder}/" if folder else ""))
    if not found:
        raise missing(uri, "neither an object nor a folder of that name")
    for stat in found:
        _fetch_object(store, stat, to / check_key(stat.key)[len(folder) :].lstrip("/"))
    return to


def _fetch_object(store: ObjectStore, stat: Stat, to: Path) -> None:
    """Copy one object unless the last copy is still good; a note beside it describes the copy."""
    note = to.with_name(f".{to.name}.source.json")
    with suppress(OSError, ValueError):
        if json.loads(note.read_text(encoding="utf-8")) == _note(stat, to.stat()):
            return
    stat = store.get(stat.key, to)
    with writing(note) as file:
        file.write(json.dumps(_note(stat, to.stat())).encode())


def _note(stat: Stat, copy: os.stat_result) -> dict[str, object]:
    return {"uri": stat.uri, "etag": stat.etag, "bytes": copy.st_size, "mtime_ns": copy.st_mtime_ns}


def put_file(source: Path, uri: str, *, when: Condition = ALWAYS) -> Stat:
    """Store a file at a URI or path; see `ObjectStore.put`."""
    store, key = open_store(uri)
    return store.put(key, source, when=when)


def read_range(uri: str, offset: int, length: int) -> bytes:
    """Return up to `length` bytes of an object from `offset` on; see `ObjectStore.read_range`."""
    store, key = open_store(uri)
    return store.read_range(key, offset, length)


def list_prefix(uri: str) -> list[Stat]:
    """Return the object that a URI names, and all objects under it as a folder; as with a path, 'a' is not 'ab'.

    Returns:
        Objects in the order of their keys, or [].
    """
    store, key = open_store(uri)
    folder = key.rstrip("/")
    found: list[Stat] = []
    if folder == key and key:
        with suppress(MissingObject):
            found.append(store.stat(key))
    return found + list(store.find(f"{folder}/" if folder else ""))


def open_object(uri: str, *, buffer_bytes: int = 1 << 20) -> io.BufferedReader:
    """Open an object as a seekable file that is read by byte ranges, `buffer_bytes` at a time.

    Raises:
        MissingObject: If the object does not exist.
    """
    return open_reader(*open_store(uri), buffer_bytes=buffer_bytes)


def open_reader(store: ObjectStore, key: str, *, buffer_bytes: int = 1 << 20) -> io.BufferedReader:
    """Open the object `key` of a store; see `open_object`."""
    return io.BufferedReader(_ObjectReader(store, store.stat(key)), buffer_size=buffer_bytes)


class _ObjectReader(io.RawIOBase):
    """Reads an object by byte ranges, all of one version; raises ObjectChanged otherwise."""

    def __init__(self, store: ObjectStore, stat: Stat) -> None:
        super().__init__()
        self._store, self._stat, self._at = store, stat, 0

    @property
    def name(self) -> str:
        """The object's URI, as files have their path."""
        return self._stat.uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stat.size}[whence]
        if start + offset < 0:
            raise ValueError(f"a position in {self.name} must not be negative, got {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def] # the type of a writable buffer is newer than 3.11
        length = min(len(buffer), max(0, self._stat.size - self._at))
        if length == 0:
            return 0
        data = self._store.read_range(self._stat.key, self._at, length, etag=self._stat.etag)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
