"""resolution/1: the chosen input size and the whole curve behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dataset_culling.artifacts.header import Origin, read_header, read_json_file, write_artifact
from dataset_culling.errors import CorruptArtifact

SCHEMA = "resolution/1"
FILE = "resolution.json"


@dataclass(frozen=True, slots=True)
class ResolutionPoint:
    """One tried scale: the network's short side, the change of the confidence loss, and the cost of an image."""

    scale: float
    side_px: int
    loss_change: float
    gflops: float
    map_50: float  # agreement with the teacher's labels at this scale; -1 where it was not measured


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


def write_resolution(path: Path, resolution: Resolution, origin: Origin) -> None:
    """Write the choice into the directory `path`.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(resolution))
        artifact.counts["scales"] = len(resolution.curve)


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
