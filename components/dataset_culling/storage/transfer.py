"""Many objects at once: folders in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dataset_culling.errors import OutputError
from dataset_culling.storage.base import ObjectStore, Stat, check_key, missing
from dataset_culling.storage.local import PARTIAL
from dataset_culling.storage.parallel import each

Job = TypeVar("Job")
Result = TypeVar("Result")
WORKERS = 16
"""Small objects on their way at once; waiting for the network dominates."""
LARGE_BYTES = 32 << 20
"""Larger objects go one after another, each in parallel parts of its own."""


def put_tree(store: ObjectStore, folder: Path, prefix: str, *, workers: int = WORKERS) -> list[Stat]:
    """Store every file under `folder` as `prefix` + its path below it; in the order of their keys.

    Raises:
        StoreError: If the store refuses one; some others may be stored by then.
        OutputError: If there is no such folder.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: expected a folder to store, found none. Check the path.")
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.endswith(PARTIAL))
    return _small_and_large(
        lambda file: store.put(prefix + file.relative_to(folder).as_posix(), file),
        files,
        [file.stat().st_size for file in files],
        workers,
    )


def get_tree(store: ObjectStore, prefix: str, folder: Path, *, workers: int = WORKERS) -> list[Path]:
    """Copy every object whose key starts with `prefix` into `folder`, under the rest of its key.

    Raises:
        MissingObject: If there is none.
        StoreError: If one cannot be had; some others may be there by then.
    """
    found = list(store.find(prefix))
    if not found:
        raise missing(store.uri(prefix), "none under it")

    def get(stat: Stat) -> Path:
        to = folder / check_key(stat.key).removeprefix(prefix)
        store.get(stat.key, to)
        return to

    return _small_and_large(get, found, [stat.size for stat in found], workers)


def _small_and_large(
    work: Callable[[Job], Result], jobs: Sequence[Job], sizes: Sequence[int], workers: int
) -> list[Result]:
    large = [number for number, size in enumerate(sizes) if size > LARGE_BYTES]
    small = [number for number, size in enumerate(sizes) if size <= LARGE_BYTES]
    results = dict(zip(small, each(lambda number: work(jobs[number]), small, workers=workers), strict=True))
    results.update((number, work(jobs[number])) for number in large)
    return [results[number] for number in range(len(jobs))]
