"""The object store's protocol: whole objects under keys, in a folder or behind S3's protocol.

Promises that every implementation keeps (tests/contract/test_stores.py):
- an object is whole or absent, at any crash; a reader sees the old bytes or the new ones, never a mixture;
- an object that is read whole is compared with the checksum that was stored with it;
- a conditional write happens only if its condition holds at that very moment;
- transient failures are retried; all others end at once in one of the errors below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from dataset_culling.errors import ConfigError, CorruptObject, MissingObject, ObjectChanged


@dataclass(frozen=True, slots=True)
class Stat:
    """One object. `etag` changes whenever its bytes do; `uri` names it for people and for `open_store`."""

    key: str
    size: int
    etag: str
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition for a write: `absent`, the key has no object; `etag`, the object still has this etag."""

    absent: bool = False
    etag: str = ""

    def __bool__(self) -> bool:
        return self.absent or bool(self.etag)

    def check(self, etag: str, uri: str) -> None:
        """Raise ObjectChanged unless the condition holds for the object's etag, '' without an object."""
        if self.absent and etag:
            raise changed(uri, "one that is there already")
        if self.etag and etag != self.etag:
            raise changed(uri, f"etag {etag} instead of {self.etag}" if etag else "no object")


ALWAYS = Condition()
IF_ABSENT = Condition(absent=True)


def if_unchanged(etag: str) -> Condition:
    """Return the condition that the object still has this etag."""
    if not etag:
        raise ValueError("the etag must not be empty")
    return Condition(etag=etag)


class ObjectStore(Protocol):
    """Objects under keys such as 'cameras/entrance/champion.json'. Safe to use from several threads.

    Every method raises AccessDenied if the store refuses, and TransientStoreError if it does not answer within the time
    limit; MissingObject, CorruptObject and ObjectChanged where its own docstring says so.
    """

    def uri(self, key: str) -> str:
        """Return the object's full name: a path, or s3://bucket/key."""

    def stat(self, key: str) -> Stat:
        """Return size and etag of one object.

        Raises:
            MissingObject: If the object does not exist.
        """

    def find(self, prefix: str = "") -> Iterator[Stat]:
        """Yield all objects whose key starts with `prefix`, in the order of their keys' bytes."""

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right below `prefix` ("" or "a/"), in order. Cheaper than `find`."""

    def get(self, key: str, to: Path) -> Stat:
        """Copy an object into the file `to`, whole or not at all.

        Raises:
            MissingObject: If the object does not exist.
            CorruptObject: If the bytes differ from the stored ones.
            OutputError: If `to` cannot be written.
        """

    def get_bytes(self, key: str) -> tuple[bytes, Stat]:
        """Return a small object's bytes, checked as by `get`."""

    def read_range(self, key: str, offset: int, length: int, *, etag: str = "") -> bytes:
        """Return up to `length` bytes from `offset` on; fewer only where the object ends.

        The checksum is of the whole object, so this does not compare it.

        Raises:
            MissingObject: If the object does not exist.
            ObjectChanged: If `etag` is given and the object has another one.
        """

    def put(self, key: str, source: Path, *, when: Condition = ALWAYS) -> Stat:
        """Store the file `source`.

        Raises:
            ObjectChanged: If `when` does not hold.
            OutputError: If the store is full, or `source` cannot be read or changes meanwhile.
        """

    def put_bytes(self, key: str, data: bytes, *, when: Condition = ALWAYS) -> Stat:
        """Store bytes; see `put`."""

    def put_stream(self, key: str, stream: BinaryIO, *, when: Condition = ALWAYS) -> Stat:
        """Store a stream of unknown length, in bounded memory; see `put`."""

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is not an error."""

    def sweep(self, prefix: str = "", *, older_than_s: float = 86400.0) -> int:
        """Remove unfinished writes of killed processes that are older than `older_than_s`; return their number."""


def check_key(key: str) -> str:
    """Return the key if every store can hold it.

    Raises:
        ConfigError: If it is empty, absolute, longer than 1,024 bytes, or holds empty, '.' or '..' segments.
    """
    segments = key.split("/")
    if not key or len(key.encode()) > 1024 or "\0" in key or any(part in ("", ".", "..") for part in segments):
        raise ConfigError(
            f"{key!r}: expected an object's key like 'folder/name' of at most 1,024 bytes, without empty, '.' or '..' "
            f"parts. Correct the URI."
        )
    return key


def missing(uri: str, what: str = "no such object") -> MissingObject:
    """Return the error for a missing object."""
    return MissingObject(f"{uri}: expected an object, found {what}. Check the name, or write it first.")


def corrupt(uri: str, *, expected: str, found: str) -> CorruptObject:
    """Return the error for bytes that differ from the stored ones."""
    return CorruptObject(f"{uri}: expected {expected}, found {found}. Do not use it: write it again from its source.")


def changed(uri: str, found: str = "another") -> ObjectChanged:
    """Return the error for a condition that does not hold."""
    return ObjectChanged(f"{uri}: expected the object as it was read, found {found}. Read it again, then decide again.")
