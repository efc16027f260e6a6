"""A folder as an object store: objects are ordinary files, keys are paths below the folder.

Writes go beside the object, are synced, and are renamed over it under a lock on its folder, so that conditions hold
against other processes on this machine. The checksum lies in an extended attribute with the file's modification time:
an edited file is a new object, a file whose bytes changed without an edit is a corrupt one. File systems without such
attributes keep no checksum. Network file systems that do not lock folders are refused.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from dataset_culling.errors import (
    AccessDenied,
    ConfigError,
    CullingError,
    OutputError,
    StoreError,
    TransientStoreError,
)
from dataset_culling.storage.atomic import PARTIAL, beside, copy_and_hash, writing
from dataset_culling.storage.base import ALWAYS, Condition, Stat, changed, check_key, corrupt, missing

_CHECKSUM = "user.culling.sha256"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_TRANSIENT = {errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENETDOWN, errno.ENETUNREACH}


class LocalStore:
    """Objects in the folder `root`, which the first write makes; see `base.ObjectStore`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"LocalStore({str(self.root)!r})"

    def uri(self, key: str) -> str:
        """Return the object's path."""
        return str(self.root / key) if key else str(self.root)

    def stat(self, key: str) -> Stat:
        """See `base.ObjectStore.stat`."""
        with self._reading(key) as file:
            return self._stat(key, os.fstat(file.fileno()))

    def find(self, prefix: str = "") -> Iterator[Stat]:
        """See `base.ObjectStore.find`. Files whose names cannot be keys are left out."""
        folder, _, start = prefix.rpartition("/")
        yield from self._walk(f"{folder}/" if folder else "", start)

    def folders(self, prefix: str) -> list[str]:
        """See `base.ObjectStore.folders`."""
        try:
            with os.scandir(self.root / prefix) as found:
                return sorted(entry.name for entry in found if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._explain(prefix, error, writing=False) from None

    def get(self, key: str, to: Path) -> Stat:
        """See `base.ObjectStore.get`."""
        with self._reading(key) as source, writing(to) as target:
            return self._copy(key, source, target)

    def get_bytes(self, key: str) -> tuple[bytes, Stat]:
        """See `base.ObjectStore.get_bytes`."""
        buffer = io.BytesIO()
        with self._reading(key) as source:
            stat = self._copy(key, source, buffer)
        return buffer.getvalue(), stat

    def read_range(self, key: str, offset: int, length: int, *, etag: str = "") -> bytes:
        """See `base.ObjectStore.read_range`."""
        with self._reading(key) as file:
            if etag and (found := self._stat(key, os.fstat(file.fileno())).etag) != etag:
                raise changed(self.uri(key), f"etag {found} instead of {etag}")
            return os.pread(file.fileno(), length, offset)

    def put(self, key: str, source: Path, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put`."""
        try:
            stream = source.open("rb", buffering=0)
        except OSError as error:
            raise OutputError(f"{source}: expected a file to store, found {error.strerror}. Check the path.") from None
        with stream:
            return self.put_stream(key, stream, when=when)

    def put_bytes(self, key: str, data: bytes, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_bytes`."""
        return self.put_stream(key, io.BytesIO(data), when=when)

    def put_stream(self, key: str, stream: BinaryIO, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_stream`."""
        target = self.root / check_key(key)
        if target.name.endswith(PARTIAL):
            raise ConfigError(f"{self.uri(key)}: expected a name that does not end with {PARTIAL}. Rename it.")
        with self._explaining(key, writing=True):
            if when.absent and target.exists():  # before a copy in vain; the check that counts is under the lock
                raise changed(self.uri(key), "one that is there already")
            part = _make_beside(target)
            try:
                with part.open("r+b") as file:
                    _, checksum = copy_and_hash(stream, file)
                    file.flush()
                    # The clock of a file system may tick in milliseconds; two versions must not share an etag.
                    os.utime(file.fileno(), ns=(now_ns := time.time_ns(), now_ns))
                    _set_checksum(file, checksum)
                    os.fsync(file.fileno())
                with _locked(target.parent):
                    when.check(self._stat(key, target.stat()).etag if target.is_file() else "", self.uri(key))
                    os.replace(part, target)
                    stat = self._stat(key, target.stat())
                _sync_folder(target.parent)
            finally:
                part.unlink(missing_ok=True)
        return stat

    def delete(self, key: str) -> None:
        """See `base.ObjectStore.delete`. Folders that become empty go too, but never the store's own."""
        target = self.root / check_key(key)
        with self._explaining(key, writing=True), suppress(FileNotFoundError, NotADirectoryError):
            with _locked(target.parent):
                target.unlink()
            for folder in target.parents:
                if folder == self.root or self.root not in folder.parents:
                    break
                try:
                    folder.rmdir()
                except OSError:  # not empty: another object is in it, or one that is being written
                    break

    def sweep(self, prefix: str = "", *, older_than_s: float = 86400.0) -> int:
        """See `base.ObjectStore.sweep`: files that a killed writer left beside an object."""
        folder, _, start = prefix.rpartition("/")
        swept = 0
        with self._explaining(prefix, writing=True):
            for file in (self.root / folder).rglob(f".*{PARTIAL}"):
                inside = file.relative_to(self.root / folder).as_posix()
                name = inside if "/" in inside else inside.removeprefix(".")
                with suppress(FileNotFoundError):  # its writer has just finished
                    if name.startswith(start) and time.time() - file.stat().st_mtime > older_than_s:
                        file.unlink()
                        swept += 1
        return swept

    def _walk(self, folder: str, start: str) -> Iterator[Stat]:
        try:
            with os.scandir(self.root / folder) as found:
                # A folder sorts as if its name ended with '/', as its keys do.
                names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in found)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise self._explain(folder, error, writing=False) from None
        for name in names:
            if not name.startswith(start) or name.endswith(PARTIAL):
                continue
            if name.endswith("/"):
                yield from self._walk(folder + name, "")
            else:
                with suppress(FileNotFoundError):
                    yield self._stat(folder + name, (self.root / folder / name).stat())

    def _stat(self, key: str, found: os.stat_result) -> Stat:
        etag = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
        return Stat(key, found.st_size, etag, self.uri(key))

    def _copy(self, key: str, source: IO[bytes], target: IO[bytes]) -> Stat:
        """Copy an open object and compare its checksum."""
        stat, wanted = self._stat(key, os.fstat(source.fileno())), _checksum(source)
        found = copy_and_hash(source, target)
        if wanted is not None and wanted != found:
            raise corrupt(
                stat.uri,
                expected=f"{wanted[0]} bytes with sha256 {wanted[1][:12]}",
                found=f"{found[0]} with {found[1][:12]}",
            )
        return stat

    @contextmanager
    def _reading(self, key: str) -> Iterator[IO[bytes]]:
        with self._explaining(key, writing=False):
            file = (self.root / check_key(key)).open("rb")
        with file, self._explaining(key, writing=False):
            yield file

    @contextmanager
    def _explaining(self, key: str, *, writing: bool) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explain(key, error, writing=writing) from error

    def _explain(self, key: str, error: OSError, *, writing: bool) -> CullingError:
        uri, reason = self.uri(key), error.strerror or str(error)
        verb = "write" if writing else "read"
        if error.errno in (errno.EACCES, errno.EPERM):
            who = f"user {os.geteuid()}"
            return AccessDenied(f"{uri}: expected to {verb} as {who}, found {reason}. Change its owner or mode.")
        if error.errno in _FULL:
            return OutputError(f"{uri}: expected to {verb}, found {reason}. Free space or store elsewhere.")
        if error.errno in _TRANSIENT:
            return TransientStoreError(f"{uri}: expected to {verb}, found {reason}. Run it again.")
        if error.errno == errno.EIO:
            return corrupt(uri, expected="a readable file", found=reason)
        if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR) and not writing:
            return missing(uri, "a folder" if error.errno == errno.EISDIR else "no such file")
        return StoreError(f"{uri}: expected to {verb}, found {reason}. Check the path.")


def _make_beside(target: Path) -> Path:
    """Make an empty file beside `target`, and its folder, which a delete may remove at the same time."""
    for tries in range(8):
        target.parent.mkdir(parents=True, exist_ok=True)
        part = beside(target)
        try:
            part.open("xb").close()
            return part
        except FileNotFoundError:
            if tries == 7:
                raise
    raise AssertionError("unreachable")


def _set_checksum(file: IO[bytes], sha256: str) -> None:
    found = os.fstat(file.fileno())
    with suppress(OSError):  # a file system without extended attributes keeps no checksum
        os.setxattr(file.fileno(), _CHECKSUM, f"{found.st_mtime_ns} {found.st_size} {sha256}".encode())


def _checksum(file: IO[bytes]) -> tuple[int, str] | None:
    """Return the size and SHA-256 that were stored with a file, or None if it was edited since."""
    try:
        mtime_ns, size, sha256 = os.getxattr(file.fileno(), _CHECKSUM).decode().split()
    except (OSError, ValueError):
        return None
    return (int(size), sha256) if int(mtime_ns) == os.fstat(file.fileno()).st_mtime_ns else None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Exclude other writers to `folder`, in any process. The kernel releases the lock when its holder dies."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            raise StoreError(
                f"{folder}: expected a file system that locks folders, found {error.strerror}. "
                f"Use a local disk or an object store."
            ) from None
        yield
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, if its file system can, so that a renaming survives a power cut."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
