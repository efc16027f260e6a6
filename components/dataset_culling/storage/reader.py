"""An object as a seekable file: libraries that open files (PyAV, tarfile) read just the bytes they need."""

from __future__ import annotations

import io

from dataset_culling.storage.base import ObjectStore, Stat


class ObjectReader(io.RawIOBase):
    """Reads an object by byte ranges; all of one version, or ObjectChanged. Wrap it in `io.BufferedReader`."""

    def __init__(self, store: ObjectStore, stat: Stat) -> None:
        super().__init__()
        self._store, self._stat, self._at = store, stat, 0

    @property
    def name(self) -> str:
        """The object's URI, as files have their path."""
        return self._stat.uri

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """See `io.RawIOBase`."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._stat.size}[whence]
        if start + offset < 0:
            raise ValueError(f"a position in {self.name} must not be negative, got {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def] # the type of a writable buffer is newer than 3.11
        """See `io.RawIOBase`."""
        length = min(len(buffer), max(0, self._stat.size - self._at))
        if length == 0:
            return 0
        data = self._store.read_range(self._stat.key, self._at, length, etag=self._stat.etag)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def open_reader(store: ObjectStore, key: str, *, buffer_bytes: int = 1 << 20) -> io.BufferedReader:
    """The object `key` as a file that is read `buffer_bytes` at a time.

    Raises:
        MissingObject: If there is none.
    """
    return io.BufferedReader(ObjectReader(store, store.stat(key)), buffer_size=buffer_bytes)
