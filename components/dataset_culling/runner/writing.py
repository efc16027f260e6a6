"""Writing files for people: beside their places, then renamed; what went wrong in one line."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.storage import is_remote, open_store

RESULTS = ("report.html", "config.json", "model", "summary.json")
"""What people come for in a run's folder; the summary last, as whoever waits for a run waits for it."""


def write_page(out: str | Path, html: str) -> None:
    """Write a page, whole or not at all, to a path, whose folders are made, or to s3://bucket/key.

    Raises:
        OutputError: If it cannot be written.
        StoreError: If the object store does not take it.
    """
    if is_remote(str(out)):
        store, key = open_store(str(out))
        store.put_bytes(key, html.encode())
        return
    path = Path(out)
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


def check_writable(folder: Path) -> None:
    """Make a folder, if it is not there, and see that a file can be written to it, before long work begins.

    Raises:
        OutputError: If it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: expected a folder to write to, found {error.strerror or error}. Choose another --out."
        ) from error


def publish(run: Path, to: str) -> None:
    """Copy what people come for out of a finished run's folder to another place, file by file, each whole or absent.

    Args:
        run: The folder of the run.
        to: A folder, or s3://bucket/prefix.

    Raises:
        StoreError: If the object store does not take it.
        OutputError: If the folder cannot be written.
    """
    store, prefix = open_store(to.rstrip("/") + "/")
    for name in RESULTS:
        place = run / name
        files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        for file in files:
            store.put(f"{prefix}{file.relative_to(run)}", file)


def local_folder(out: Path, option: str) -> Path:
    """The path, if it is one on this machine.

    Raises:
        ConfigError: If it is the name of an object.
    """
    if re.match(r"[a-z0-9]+:/", str(out)):
        raise ConfigError(
            f"{option} {out}: expected a folder on this machine, which a run works in, found an object's name. Name a "
            f"folder, and the object store with --publish."
        )
    return out


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
