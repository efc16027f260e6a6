"""frames/1: the tar layout (layout.py), its writer and its reader."""

from dataset_culling.artifacts.frames.layout import (
    NEAR_DUPLICATES,
    REPORT,
    SCHEMA,
    FrameTable,
    encode_jpeg,
    frame_id_of,
)
from dataset_culling.artifacts.frames.reader import FrameReader
from dataset_culling.artifacts.frames.writer import FrameWriter, PutShard

__all__ = [
    "NEAR_DUPLICATES", "REPORT", "SCHEMA", "FrameReader", "FrameTable", "FrameWriter", "PutShard", "encode_jpeg",
    "frame_id_of",
]  # fmt: skip
