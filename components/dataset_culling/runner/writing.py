"""Writing one file for people: beside its place, then renamed; what went wrong in one line."""

from __future__ import annotations

import os
from contextlib import suppress
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
