"""detections/1: boxes of many frames, one .npy a column (see `types.Detections` for shapes and units).

features.npy is optional: the detector's feature vector of each frame, (N, D) float16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset_culling.artifacts.header import Origin, read_array, read_header, read_json_file, write_artifact
from dataset_culling.errors import CorruptArtifact
from dataset_culling.types import Detections

SCHEMA = "detections/1"
FEATURES = "features"
COLUMNS = ("frame_ids", "time_s", "offsets", "boxes_xyxy", "scores", "class_ids", "scored", "ignore")


def write_detections(path: Path, detections: Detections, origin: Origin) -> None:
    """Write detections into the directory `path`; features, if any, at half precision."""
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.file(f"{FEATURES}.npy").unlink(missing_ok=True)  # an earlier artifact's
        if detections.features is not None:
            artifact.array(FEATURES, detections.features.astype(np.float16))
        for name in COLUMNS:
            artifact.array(name, getattr(detections, name))
        artifact.json("classes.json", list(detections.class_names))
        artifact.counts.update(frames=len(detections), boxes=len(detections.scores))


def read_detections(path: Path, *, features: bool = False) -> Detections:
    """Read and check detections; `features`: with the frames' feature vectors, if they were written."""
    header = read_header(path, SCHEMA)
    columns = {name: read_array(path, header, name) for name in COLUMNS}
    if features and f"{FEATURES}.npy" in header.files:
        columns[FEATURES] = read_array(path, header, FEATURES).astype(np.float32)
    names = tuple(read_json_file(path, header, "classes.json"))
    try:
        return Detections(**columns, class_names=names)
    except ValueError as error:
        raise CorruptArtifact(path, expected="columns that fit each other", found=str(error)) from None
