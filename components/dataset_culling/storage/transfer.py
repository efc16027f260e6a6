"""Many objects at once: folders in and out, the results of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.storage.atomic import PARTIAL, writing
from dataset_culling.storage.base import ObjectStore, Stat, check_key, missing
from dataset_culling.storage.uris import is_remote, open_store

Job = TypeVar("Job")
Result = TypeVar("Result")
WORKERS = 16
"""Small objects in flight at once, as most of the time is spent on waiting for the network."""
LARGE_BYTES = 32 << 20
"""Larger objects go one after another, each in parallel parts of its own."""
RESULTS = ("report.html", "config.json", "model", "summary.json")
"""Results in a run's folder; the summary last, as its arrival says that the run is complete."""


def each(work: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int) -> list[Result]:
    """Return work(job) of every job, in their order, `workers` at once; the first failure cancels the rest."""
    with ThreadPoolExecutor(workers, thread_name_prefix="object-store") as pool:
        return list(pool.map(work, jobs))


def put_tree(store: ObjectStore, folder: Path, prefix: str, *, workers: int = WORKERS) -> list[Stat]:
    """Store every file under `folder` as `prefix` + its path below it; return them in the order of their keys.

    Raises:
        StoreError: If the store refuses one; some others may be stored by then.
        OutputError: If the folder is missing.
    """
    if not folder.is_dir():
        raise OutputError(f"{folder}: the folder to store is missing. Check the path.")
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
        MissingObject: If no object has the prefix.
        StoreError: If one cannot be read; some others may be copied by then.
    """
    found = list(store.find(prefix))
    if not found:
        raise missing(store.uri(prefix), "no object under it")

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


def publish(run: Path, to: str) -> None:
    """Copy the results of a finished run to another place, file by file, each whole or absent.

    Args:
        run: The folder of the run.
        to: A folder, or s3://bucket/prefix.

    Raises:
        StoreError: If the object store refuses a file.
        OutputError: If the folder cannot be written.
    """
    store, prefix = open_store(to.rstrip("/") + "/")
    for name in RESULTS:
        place = run / name
        files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
        for file in files:
            store.put(f"{prefix}{file.relative_to(run)}", file)


def write_page(out: str | Path, html: str) -> None:
    """Write a page to a path, whose folders are made, or to s3://bucket/key.

    Raises:
        OutputError: If it cannot be written.
        StoreError: If the object store refuses it.
    """
    if is_remote(str(out)):
        store, key = open_store(str(out))
        store.put_bytes(key, html.encode())
        return
    with writing(Path(out), advice="Choose another --out.") as file:
        file.write(html.encode())


def local_folder(out: Path, option: str) -> Path:
    """Return the path if it is one on this machine.

    Raises:
        ConfigError: If it is the name of an object.
    """
    if re.match(r"[a-z0-9]+:/", str(out)):
        raise ConfigError(
            f"{option} {out}: expected a folder on this machine, which a run works in, found an object's name. Name a "
            f"folder, and the object store with --publish."
        )
    return out
