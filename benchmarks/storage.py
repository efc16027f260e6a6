"""Throughput of the object store for one large file and many small ones, against minio-py used plainly.

    python benchmarks/storage.py [--json FILE] [--rounds 3] [--mib 1024] [--objects 5000] [--object-bytes 40000]
                                 [--quick]

ours    `dataset_culling.storage`: put and get of one file, put_tree and get_tree of a folder; checksums compared both
        ways, files and objects whole or absent
minio   minio-py, as its first page shows it: one thread that calls fput_object and fget_object, one file after another.
        Inside, its fput_object sends three parts of 5 MiB at once, by default; it compares nothing on the way down
minio_1 the same with num_parallel_uploads=1; the large file's way up alone

All talk to the SeaweedFS of tests/s3_server.py on loopback (or to the server that its variables name), so no network
is waited for: what is measured is the processors' work, ours, minio-py's and the server's. Turns alternate, each with
names of its own; what came down is compared with what went up outside the time.

Keys: storage_put_1gib_mib_s, storage_get_1gib_mib_s           MiB a second, medians of the rounds (named for the goal's
                                                               size, whatever --mib says; storage_mib tells)
      storage_put_small_per_s, storage_get_small_per_s         objects a second
      ..._minio                                                the same of minio-py, and ..._minio_1 on one connection
      ..._vs_minio                                             ours over minio-py's            goal >= 1
      storage_peak_mib                                         this process's memory at its highest, all of it
      storage_mib, storage_objects                             what was carried
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from minio import Minio

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from dataset_culling.storage import get_tree, put_tree  # noqa: E402
from dataset_culling.storage.s3 import S3Store  # noqa: E402
from dataset_culling.storage.settings import StoreSettings  # noqa: E402
from s3_server import S3Server, shared_server  # noqa: E402 - a module of the tests

MIB = 1 << 20


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=3, help="turns that every contender gets")
    parser.add_argument("--mib", type=int, default=1024, help="size of the large file")
    parser.add_argument("--objects", type=int, default=5000, help="number of small ones")
    parser.add_argument("--object-bytes", type=int, default=40_000, help="size of each")
    parser.add_argument("--quick", action="store_true", help="64 MiB and 200 objects")
    given = parser.parse_args()
    if given.quick:
        given.mib, given.objects = 64, 200
    server = shared_server()
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as folder:
        figures = large(server, Path(folder), given.mib, given.rounds)
        figures |= small(server, Path(folder), given.objects, given.object_bytes, given.rounds)
    figures["storage_peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures |= {"storage_mib": given.mib, "storage_objects": given.objects}
    for name, value in figures.items():
        print(f"{name:36s} {value:10.2f}")
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def stores(server: S3Server) -> tuple[S3Store, Minio]:
    """Ours with the settings that people have, and minio-py with its own."""
    client = Minio(
        server.endpoint.partition("://")[2],
        server.access_key,
        server.secret_key,
        secure=server.endpoint.startswith("https"),
        region="us-east-1",
    )
    return S3Store(server.bucket, StoreSettings.model_validate(server.environment())), client


def large(server: S3Server, folder: Path, mib: int, rounds: int) -> dict[str, float]:
    """One file up and down."""
    ours, plain = stores(server)
    source, copy = folder / "source", folder / "copy"
    with source.open("wb") as file:
        block, noise = random.Random(0), random.Random(1)
        pieces = [block.randbytes(MIB) for _ in range(8)]
        for _ in range(mib):
            piece = noise.choice(pieces)
            cut = noise.randrange(MIB)
            file.write(piece[cut:] + piece[:cut])  # no two MiB alike, without hours of random numbers
    seconds: dict[str, list[float]] = {}
    for turn in range(rounds):
        for name in _order(["ours", "minio", "minio_1"], turn):
            key = f"bench/large-{os.getpid()}-{turn}-{name}"
            put: dict[str, Callable[[], object]] = {
                "ours": lambda key=key: ours.put(key, source),
                "minio": lambda key=key: plain.fput_object(server.bucket, key, str(source)),
                "minio_1": lambda key=key: plain.fput_object(server.bucket, key, str(source), num_parallel_uploads=1),
            }
            seconds.setdefault(f"put_{name}", []).append(_timed(put[name]))
            if name != "minio_1":
                get: dict[str, Callable[[], object]] = {
                    "ours": lambda key=key: ours.get(key, copy),
                    "minio": lambda key=key: plain.fget_object(server.bucket, key, str(copy)),
                }
                seconds.setdefault(f"get_{name}", []).append(_timed(get[name]))
                assert filecmp.cmp(source, copy, shallow=False), f"{name}: other bytes came back"
                copy.unlink()
            ours.delete(key)
            _say(turn, name, {way: taken[-1] for way, taken in seconds.items() if way.endswith(f"_{name}")})
    source.unlink()
    rate = {way: mib / statistics.median(taken) for way, taken in seconds.items()}
    return _figures("1gib_mib_s", rate)


def small(server: S3Server, folder: Path, objects: int, size: int, rounds: int) -> dict[str, float]:
    """A folder of frames up and down."""
    ours, plain = stores(server)
    source, copy = folder / "frames", folder / "copies"
    noise = random.Random(2)
    source.mkdir()
    for number in range(objects):
        (source / f"{number:06d}.jpg").write_bytes(noise.randbytes(size))
    names = sorted(file.name for file in source.iterdir())
    seconds: dict[str, list[float]] = {}

    def put_plainly(prefix: str) -> None:
        for name in names:
            plain.fput_object(server.bucket, prefix + name, str(source / name))

    def get_plainly(prefix: str) -> None:
        for found in plain.list_objects(server.bucket, prefix=prefix):
            key = found.object_name or ""
            plain.fget_object(server.bucket, key, str(copy / key.removeprefix(prefix)))

    for turn in range(rounds):
        for name in _order(["ours", "minio"], turn):
            prefix = f"bench/small-{os.getpid()}-{turn}-{name}/"
            put: dict[str, Callable[[], object]] = {
                "ours": lambda prefix=prefix: put_tree(ours, source, prefix),
                "minio": lambda prefix=prefix: put_plainly(prefix),
            }
            get: dict[str, Callable[[], object]] = {
                "ours": lambda prefix=prefix: get_tree(ours, prefix, copy),
                "minio": lambda prefix=prefix: get_plainly(prefix),
            }
            seconds.setdefault(f"put_{name}", []).append(_timed(put[name]))
            seconds.setdefault(f"get_{name}", []).append(_timed(get[name]))
            same, different, odd = filecmp.cmpfiles(source, copy, names, shallow=False)
            assert len(same) == objects, f"{name}: {len(different) + len(odd)} objects came back otherwise"
            shutil.rmtree(copy)
            _say(turn, name, {way: taken[-1] for way, taken in seconds.items() if way.endswith(f"_{name}")})
    rate = {way: objects / statistics.median(taken) for way, taken in seconds.items()}
    return _figures("small_per_s", rate)


def _figures(unit: str, rate: dict[str, float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for way in ("put", "get"):
        figures[f"storage_{way}_{unit}"] = rate[f"{way}_ours"]
        figures[f"storage_{way}_{unit}_minio"] = rate[f"{way}_minio"]
        if f"{way}_minio_1" in rate:
            figures[f"storage_{way}_{unit}_minio_1"] = rate[f"{way}_minio_1"]
        figures[f"storage_{way}_{unit}_vs_minio"] = rate[f"{way}_ours"] / rate[f"{way}_minio"]
    return figures


def _order(names: list[str], turn: int) -> list[str]:
    """Another one begins each turn."""
    first = turn % len(names)
    return names[first:] + names[:first]


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _say(turn: int, name: str, taken: dict[str, float]) -> None:
    text = ", ".join(f"{way} {seconds:.2f} s" for way, seconds in taken.items())
    print(f"turn {turn + 1}: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
