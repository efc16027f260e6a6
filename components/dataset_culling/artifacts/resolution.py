"""resolution/1: the chosen input size and the whole curve behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import Origin, read_header, read_json_file, write_artifact
from dataset_culling.errors import CorruptArtifact

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
    """What would be chosen for one bucket of frames. Reported only: a model/1 has one side, the camera's."""

    bucket: str  # "hour 07", "small objects"
    num_frames: int
    scale: float
    side_px: int
    gflops: float


@dataclass(frozen=True, slots=True)
class Resolution:
    """What optResolution chose, and why."""

    scale: float
    side_px: int
    full_side_px: int
    threshold: float
    gflops_full: float
    gflops_chosen: float
    reason: str
    curve: tuple[ResolutionPoint, ...]
    judge: str = "loss"  # what decided: the confidence loss, or "ap" against the teacher's labels


def write_resolution(
    path: Path, resolution: Resolution, origin: Origin, *, buckets: Sequence[BucketResolution] = ()
) -> None:
    """Write the choice into the directory `path`.

    Args:
        path: The artifact's directory.
        resolution: The choice for the camera.
        origin: Who writes it, from what.
        buckets: Choices for buckets of frames; a table beside the choice, left out where there is none.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(resolution))
        artifact.counts["scales"] = len(resolution.curve)
        artifact.file(BUCKETS).unlink(missing_ok=True)  # an earlier choice's table must not pass for this one's
        if buckets:
            artifact.json(BUCKETS, {"buckets": [asdict(one) for one in buckets]})
            artifact.counts["buckets"] = len(buckets)


def read_resolution(path: Path) -> Resolution:
    """Read and check the choice.

    Raises:
        ArtifactError: If it is no resolution/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    values = read_json_file(path, header, FILE)
    try:
        curve: Sequence[dict[str, float]] = values.pop("curve")
        return Resolution(**values, curve=tuple(ResolutionPoint(**point) for point in curve))  # type: ignore[arg-type]
    except (KeyError, TypeError) as error:
        raise CorruptArtifact(path / FILE, expected="a resolution", found=repr(error)) from None


def read_buckets(path: Path) -> tuple[BucketResolution, ...]:
    """The choices for buckets of frames; empty where none were made.

    Raises:
        ArtifactError: If it is no resolution/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    if BUCKETS not in header.files:
        return ()
    try:
        rows: Sequence[dict[str, Any]] = read_json_file(path, header, BUCKETS)["buckets"]
        return tuple(BucketResolution(**row) for row in rows)
    except (KeyError, TypeError) as error:
        raise CorruptArtifact(path / BUCKETS, expected="choices for buckets", found=repr(error)) from None
