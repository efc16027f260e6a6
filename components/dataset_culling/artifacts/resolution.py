"""resolution/1: the chosen input size and the whole curve behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dataset_culling.artifacts.header import Origin, read_record, write_artifact

SCHEMA = "resolution/1"
FILE = "resolution.json"
BUCKETS = "buckets.json"


@dataclass(frozen=True, slots=True)
class ResolutionPoint:
    """One tried scale: the network's short side, the change of the confidence loss, and the cost of an image."""

    scale: float
    side_px: int
    loss_change: float
    gflops: float
    map_50: float  # agreement with the teacher's labels at this scale; -1 where it was not measured


@dataclass(frozen=True, slots=True)
class BucketResolution:
    """The choice for one bucket of frames. Only reported: a model/1 has one side, the camera's."""

    bucket: str  # "hour 07", "small objects"
    num_frames: int
    scale: float
    side_px: int
    gflops: float


@dataclass(frozen=True, slots=True)
class Resolution:
    """The choice of optResolution and its reason."""

    scale: float
    side_px: int
    full_side_px: int
    threshold: float
    gflops_full: float
    gflops_chosen: float
    reason: str
    curve: tuple[ResolutionPoint, ...]
    judge: str = "loss"  # the deciding measure: the confidence loss, or "ap" against the teacher's labels


def write_resolution(
    path: Path, resolution: Resolution, origin: Origin, *, buckets: Sequence[BucketResolution] = ()
) -> None:
    """Write the choice into the directory `path`; choices for `buckets` of frames make a table beside it."""
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(resolution))
        artifact.counts["scales"] = len(resolution.curve)
        artifact.file(BUCKETS).unlink(missing_ok=True)  # of an earlier attempt
        if buckets:
            artifact.json(BUCKETS, {"buckets": [asdict(one) for one in buckets]})
            artifact.counts["buckets"] = len(buckets)


def read_resolution(path: Path) -> Resolution:
    """Read and check the choice."""
    return read_record(path, SCHEMA, FILE, Resolution)


def read_buckets(path: Path) -> tuple[BucketResolution, ...]:
    """Read the choices for buckets of frames; empty if none were made."""
    empty: dict[str, tuple[BucketResolution, ...]] = {"buckets": ()}
    return read_record(path, SCHEMA, BUCKETS, dict[str, tuple[BucketResolution, ...]], missing=empty)["buckets"]
