"""detections/1: boxes of many frames, one .npy a column (see `types.Detections` for shapes and units)."""

from __future__ import annotations

from pathlib import Path

from dataset_culling.artifacts.header import Origin, read_array, read_header, read_json_file, write_artifact
from dataset_culling.errors import CorruptArtifact
from dataset_culling.types import Detections

SCHEMA = "detections/1"
COLUMNS = ("frame_ids", "time_s", "offsets", "boxes_xyxy", "scores", "class_ids", "scored", "ignore")


def write_detections(path: Path, detections: Detections, origin: Origin) -> None:
    """Write detections into the directory `path`.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        for name in COLUMNS:
            artifact.array(name, getattr(detections, name))
        artifact.json("classes.json", list(detections.class_names))
        artifact.counts.update(frames=len(detections), boxes=len(detections.scores))


def read_detections(path: Path) -> Detections:
    """Read and check detections.

    Raises:
        ArtifactError: If it is no detections/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    columns = {name: read_array(path, header, name) for name in COLUMNS}
    names = tuple(read_json_file(path, header, "classes.json"))
    try:
        return Detections(**columns, class_names=names)
    except ValueError as error:
        raise CorruptArtifact(path, expected="columns that fit each other", found=str(error)) from None
