"""Object storage behind one protocol: `s3://bucket/key` works wherever a path does.

base.py      what a store promises          local.py    a folder          s3.py    a bucket (imports minio)
settings.py  endpoint and keys, from the environment                      retry.py waiting out what passes
transfer.py  folders of many small objects                                reader.py an object as a seekable file
"""

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
from dataset_culling.storage.base import (
    ALWAYS,
    IF_ABSENT,
    Condition,
    ObjectStore,
    Stat,
    check_key,
    if_unchanged,
    missing,
)
from dataset_culling.storage.local import LocalStore, writing
from dataset_culling.storage.reader import open_reader
from dataset_culling.storage.transfer import get_tree, put_tree

if TYPE_CHECKING:
    from dataset_culling.storage.s3 import S3Store

__all__ = [
    "ALWAYS", "IF_ABSENT", "Condition", "LocalStore", "ObjectStore", "Stat", "fetch", "get_tree", "if_unchanged",
    "is_remote", "list_prefix", "open_object", "open_store", "put_file", "put_tree", "read_range",
]  # fmt: skip

SCHEMES = ("s3://", "minio://")
"""Both mean the same; KFP writes minio:// for its own store."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_open: dict[str, tuple[int, S3Store]] = {}
_opening = threading.Lock()


def is_remote(uri: str) -> bool:
    """Whether a URI names an object store and not a path."""
    return uri.startswith(SCHEMES)


def open_store(uri: str) -> tuple[ObjectStore, str]:
    """The store that a URI or path lies in, and the key in it.

    's3://bucket/a/b' is key 'a/b' of the bucket; '/data/a/b' is key 'b' of the folder /data/a, and '/data/a/' is the
    folder itself, with an empty key. Buckets are opened once and kept, with their connections.

    Raises:
        ConfigError: If it is no such URI, the environment names no keys, or minio is not installed.
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
        raise ConfigError(f"{uri}: expected s3://bucket/key, found the bucket '{bucket}'. Mend the URI.")
    from dataset_culling.storage.settings import environment_mark  # what only a bucket needs is not loaded for paths

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
    """Bring an object, or all under a folder of them, to this machine, and say where it lies.

    What an earlier call left at `to` is used again if the store still holds the same (by etag). A local path is given
    back as it is.

    Args:
        uri: s3://bucket/key of an object or a folder; or a path.
        to: Where to; made whole or not at all, a folder file by file.

    Raises:
        MissingObject: If there is neither.
        StoreError: If the store does not give it.
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
    """Copy one object unless the last copy is still good; beside it lies a note of what was copied."""
    note = to.with_name(f".{to.name}.source.json")
    try:
        known, there = json.loads(note.read_text(encoding="utf-8")), to.stat()
        if known == _note(stat, there):
            return
    except (OSError, ValueError):
        pass
    stat = store.get(stat.key, to)
    with writing(note) as file:
        file.write(json.dumps(_note(stat, to.stat())).encode())


def _note(stat: Stat, there: os.stat_result) -> dict[str, object]:
    return {"uri": stat.uri, "etag": stat.etag, "bytes": there.st_size, "mtime_ns": there.st_mtime_ns}


def put_file(source: Path, uri: str, *, when: Condition = ALWAYS) -> Stat:
    """Store a file at a URI or path; see `ObjectStore.put`."""
    store, key = open_store(uri)
    return store.put(key, source, when=when)


def read_range(uri: str, offset: int, length: int) -> bytes:
    """Up to `length` bytes of an object from `offset` on; see `ObjectStore.read_range`."""
    store, key = open_store(uri)
    return store.read_range(key, offset, length)


def open_object(uri: str, *, buffer_bytes: int = 1 << 20) -> io.BufferedReader:
    """An object as a seekable file that is read by byte ranges, `buffer_bytes` at a time.

    Raises:
        MissingObject: If there is none.
    """
    store, key = open_store(uri)
    return open_reader(store, key, buffer_bytes=buffer_bytes)


def list_prefix(uri: str) -> list[Stat]:
    """The object that a URI names, and all that lie under it as a folder; as with a path, 'a' does not name 'ab'.

    Returns:
        In the order of their keys; empty if there is none.
    """
    store, key = open_store(uri)
    folder = key.rstrip("/")
    found: list[Stat] = []
    if folder == key and key:
        with suppress(MissingObject):
            found.append(store.stat(key))
    return found + list(store.find(f"{folder}/" if folder else ""))
