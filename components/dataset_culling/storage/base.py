"""What an object store is to the rest of the house: whole objects under keys, in a folder or behind S3's protocol.

Promises that every implementation keeps (tests/contract/test_stores.py):
- an object is whole or absent, whoever dies when; a reader sees the old bytes or the new ones, never a mixture;
- what is read whole is compared with the checksum that was stored with it;
- a conditional write happens only if its condition holds at that very moment;
- passing troubles are waited out; all others end at once in one of the errors below.
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
    """When a write may happen: `absent`, only if there is no object; `etag`, only if it still is that one."""

    absent: bool = False
    etag: str = ""

    def __bool__(self) -> bool:
        return self.absent or bool(self.etag)


ALWAYS = Condition()
IF_ABSENT = Condition(absent=True)


def if_unchanged(etag: str) -> Condition:
    """Write only over the object that was read with this etag."""
    if not etag:
        raise ValueError("an empty etag is no condition")
    return Condition(etag=etag)


class ObjectStore(Protocol):
    """Objects under keys such as 'cameras/entrance/champion.json'. Safe to use from several threads.

    Every method raises AccessDenied where the store refuses, TransientStoreError where it did not answer for as long as
    patience lasts, and MissingObject, CorruptObject or ObjectChanged where its own text says so.
    """

    def uri(self, key: str) -> str:
        """The object's full name: a path, or s3://bucket/key."""

    def stat(self, key: str) -> Stat:
        """Size and etag of one object.

        Raises:
            MissingObject: If there is none.
        """

    def find(self, prefix: str = "") -> Iterator[Stat]:
        """All objects whose key starts with `prefix`, in the order of their keys' bytes."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders right below `prefix`, which is empty or ends with '/'; in order. Cheaper than `find`."""

    def get(self, key: str, to: Path) -> Stat:
        """Copy an object into the file `to`, whole or not at all.

        Raises:
            MissingObject: If there is none.
            CorruptObject: If the bytes that arrive are not those that were stored.
            OutputError: If `to` cannot be written.
        """

    def get_bytes(self, key: str) -> tuple[bytes, Stat]:
        """A small object's bytes, checked as by `get`."""

    def read_range(self, key: str, offset: int, length: int, *, etag: str = "") -> bytes:
        """Up to `length` bytes from `offset` on; fewer only where the object ends.

        Not compared with a checksum, which is of the whole object.

        Raises:
            MissingObject: If there is none.
            ObjectChanged: If `etag` is given and the object is another one.
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
        """Store all that `stream` gives, of unknown length, in bounded memory; see `put`."""

    def delete(self, key: str) -> None:
        """Remove an object; removing none is no error."""

    def sweep(self, prefix: str = "", *, older_than_s: float = 86400.0) -> int:
        """Remove what killed writers left behind (never an object), if it is older than `older_than_s`; how many."""


def check_key(key: str) -> str:
    """The key, if every store can hold it.

    Raises:
        ConfigError: If it is empty, absolute, longer than 1,024 bytes, or holds empty, '.' or '..' segments.
    """
    segments = key.split("/")
    if not key or len(key.encode()) > 1024 or "\0" in key or any(part in ("", ".", "..") for part in segments):
        raise ConfigError(
            f"{key!r}: expected an object's key like 'folder/name' of at most 1,024 bytes, without empty, '.' or '..' "
            f"parts. Mend the URI."
        )
    return key


def missing(uri: str, what: str = "no such object") -> MissingObject:
    """The error for an object that is not there."""
    return MissingObject(f"{uri}: expected an object, found {what}. Check the name, or write it first.")


def corrupt(uri: str, *, expected: str, found: str) -> CorruptObject:
    """The error for bytes that are not those that were stored."""
    return CorruptObject(f"{uri}: expected {expected}, found {found}. Do not use it: write it again from its source.")


def changed(uri: str, found: str = "another") -> ObjectChanged:
    """The error for a condition that does not hold."""
    return ObjectChanged(f"{uri}: expected the object as it was read, found {found}. Read it again, then decide again.")
