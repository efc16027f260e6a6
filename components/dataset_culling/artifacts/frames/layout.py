"""frames/1: sampled frames as JPEGs in tar shards, with one index row per frame, in time order.

    shards/00000.tar ...   plain ustar archives, one member NNNNNNNNNNNN.jpg per frame (its frame_id)
    shards.json            location of each shard: a file of the artifact, or the URI of an object; and its bytes
    frame_id.npy time_s.npy width_px.npy height_px.npy shard.npy offset.npy bytes.npy crc32.npy    one row per frame
    footage.json           the footage report: files, samples by fate, damage, holes, split
    near_duplicates.json   dropped or marked samples: [frame_id, the stored frame like it, change in levels]

`offset` and `bytes` locate the JPEG inside its shard, so one byte-range request reads a frame, and shards are never
unpacked. Every frame read is checked against its CRC-32. A frame_id is the frame's time in whole milliseconds since the
start of the footage, so it means the same in every artifact made from the same footage.

N = frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg

from dataset_culling.errors import ArtifactError
from dataset_culling.types import ImageArray, IntArray

SCHEMA = "frames/1"
REPORT = "footage.json"
NEAR_DUPLICATES = "near_duplicates.json"
SHARDS = "shards.json"
COLUMNS: dict[str, type[np.generic]] = {
    "frame_id": np.int64,
    "time_s": np.float64,
    "width_px": np.uint16,
    "height_px": np.uint16,
    "shard": np.uint16,
    "offset": np.uint64,
    "bytes": np.uint32,
    "crc32": np.uint32,
}
"""Index columns, of small types: a stage that needs 200 frames of a day reads the whole index."""


def frame_id_of(time_s: float) -> int:
    """Return whole milliseconds since the start of the footage."""
    return round(time_s * 1000)


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The frames of an artifact, in time order."""

    frame_ids: IntArray  # (N,) ascending, unique
    time_s: npt.NDArray[np.float64]  # (N,) seconds from the start of the footage
    width_px: IntArray  # (N,)
    height_px: IntArray  # (N,)
    start_utc: str  # wall clock at the start of the footage, ISO 8601; "" if unknown

    def __len__(self) -> int:
        return len(self.frame_ids)

    def rows_of(self, frame_ids: Sequence[int] | IntArray) -> IntArray:
        """Return the rows of frames, in the order of `frame_ids`.

        Raises:
            ArtifactError: If a frame is not in the table.
        """
        wanted = np.asarray(frame_ids, np.int64).reshape(-1)
        rows = np.searchsorted(self.frame_ids, wanted)
        found = rows < len(self)
        found[found] = self.frame_ids[rows[found]] == wanted[found]
        if not found.all():
            raise ArtifactError(
                f"frame {wanted[~found][0]}: expected it among these {len(self)} frames, found no such row "
                f"({(~found).sum()} of {len(wanted)} are missing). Give the frames that the other input was made from."
            )
        return rows.astype(np.int64)


def encode_jpeg(image_rgb: ImageArray, *, quality: int) -> bytes:
    """Encode an RGB image, shape (H, W, 3), as JPEG with 4:2:0 colour, the format of nearly every camera's video."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image_rgb), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return jpeg
