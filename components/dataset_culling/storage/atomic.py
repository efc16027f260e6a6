"""Files that appear whole or not at all: written beside their place, then renamed.

A process killed meanwhile leaves a hidden file whose name ends with `PARTIAL`; stores do not count it as an object.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from dataset_culling.errors import OutputError

PARTIAL = ".culling-partial"
"""End of the names of unfinished files."""


def beside(path: Path) -> Path:
    """Return a new name in the folder of `path` for its unfinished version."""
    return path.with_name(f".{path.name[:150]}.{os.getpid()}.{uuid.uuid4().hex[:12]}{PARTIAL}")


@contextmanager
def replacing(path: Path, *, suffix: str = PARTIAL) -> Iterator[Path]:
    """Yield a path to write to, which replaces the file `path` on a clean exit and is removed after an error.

    Args:
        path: The file; its folder must exist.
        suffix: End of the unfinished file's name, for writers that derive a format from it.

    Raises:
        OSError: If it cannot be renamed.
    """
    part = beside(path)
    part = part.with_name(part.name.removesuffix(PARTIAL) + suffix)
    try:
        yield part
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink()


@contextmanager
def writing(path: Path, *, advice: str = "Free space or choose another folder.") -> Iterator[IO[bytes]]:
    """Yield an open file that replaces the file `path` on a clean exit. Makes its folder.

    Args:
        path: The file.
        advice: End of the error message.

    Raises:
        OutputError: If it cannot be written; OSErrors of the block count as that.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part, part.open("w+b") as file:
            yield file
    except OSError as error:
        raise OutputError(f"{path}: expected to write a file, found {error.strerror or error}. {advice}") from error


@contextmanager
def appearing_together(folder: Path, names: Sequence[str], *, stale: Sequence[str] = ()) -> Iterator[list[Path]]:
    """Yield paths to write to, all of which get their names on a clean exit; after an error none is left.

    Args:
        folder: Folder of the files; made if it is missing.
        names: Their names.
        stale: Names of an earlier result's files, which do not belong to this one; removed at the end.

    Raises:
        OutputError: If they cannot be written; OSErrors of the block count as that.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as renames:
            parts = [  # the last one entered is the first one renamed
                renames.enter_context(replacing(folder / name, suffix=f".partial{Path(name).suffix}"))
                for name in reversed(names)
            ]
            yield parts[::-1]
        for name in stale:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: expected to write {', '.join(names)}, found {error.strerror or error}. "
            f"Free space, or choose another --out."
        ) from error


def check_writable(folder: Path) -> None:
    """Make a folder if it is missing, and test before long work begins that a file can be written to it.

    Raises:
        OutputError: If not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: expected a folder to write to, found {error.strerror or error}. Choose another --out."
        ) from error


def copy_and_hash(source: IO[bytes] | BinaryIO, target: IO[bytes] | None = None) -> tuple[int, str]:
    """Read `source` to its end, into `target` if given; return the number of bytes and their SHA-256."""
    sha256, size = hashlib.sha256(), 0
    while block := source.read(1 << 20):
        sha256.update(block)
        size += len(block)
        if target is not None:
            target.write(block)
    return size, sha256.hexdigest()
