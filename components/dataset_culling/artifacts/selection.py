"""selection/1: the frames that a cull kept, hardest first, as JSON lines: rank, frame_id, loss, reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.header import Origin, check_file, corrupt_if_invalid, read_header, write_artifact
from dataset_culling.types import Selection

SCHEMA = "selection/1"
FILE = "selection.jsonl"


def write_selection(path: Path, selection: Selection, origin: Origin) -> None:
    """Write a selection into the directory `path`; equal selections give equal bytes."""
    with write_artifact(path, SCHEMA, origin) as artifact:
        with artifact.file(FILE).open("w", encoding="utf-8") as file:
            for rank in range(len(selection)):
                row = {
                    "rank": rank,
                    "frame_id": int(selection.frame_ids[rank]),
                    "loss": float(selection.loss[rank]),
                    "reason": selection.reasons[rank],
                }
                file.write(json.dumps(row) + "\n")
        artifact.counts["frames"] = len(selection)


def read_selection(path: Path) -> Selection:
    """Read and check a selection."""
    file = check_file(path, read_header(path, SCHEMA), FILE)
    with corrupt_if_invalid(file, SCHEMA):
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        return Selection(
            frame_ids=np.array([row["frame_id"] for row in rows], np.int64),
            loss=np.array([row["loss"] for row in rows], np.float64),
            reasons=tuple(row["reason"] for row in rows),
        )
