"""Writing files for people: beside their places, then renamed; what went wrong in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dataset_culling.errors import OutputError


def write_page(path: Path, html: str) -> None:
    """Write a page, whole or not at all; folders on the way are made.

    Raises:
        OutputError: If it cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(html, encoding="utf-8", newline="\n")
        os.replace(beside, path)
    except OSError as error:
        raise OutputError(
            f"{path}: expected to write a page, found {error.strerror or error}. Choose another --out."
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def appearing_together(folder: Path, names: Sequence[str], *, stale: Sequence[str] = ()) -> Iterator[list[Path]]:
    """Paths to write to, which get their names on a clean exit, all of them; after an error none is left.

    Args:
        folder: Where the files are to appear; made if it is not there.
        names: Their names.
        stale: Names of an earlier result's files, which must not pass for parts of this one; removed at the end.

    Raises:
        OutputError: If they cannot be written; any OSError inside is taken for that.
    """
    beside = [folder / f".{Path(name).stem}.{os.getpid()}.partial{Path(name).suffix}" for name in names]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield beside
        for part, name in zip(beside, names, strict=True):
            os.replace(part, folder / name)
        for name in stale:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: expected to write {', '.join(names)}, found {error.strerror or error}. "
            f"Free space, or choose another --out."
        ) from error
    finally:
        for part in beside:
            with suppress(OSError):
                part.unlink()
