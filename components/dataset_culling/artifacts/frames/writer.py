"""Write a frames/1 artifact as a stream."""

from __future__ import annotations

import shutil
import tarfile
import zlib
from array import array
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np
import simplejpeg

from dataset_culling.artifacts.frames.layout import COLUMNS, NEAR_DUPLICATES, REPORT, SCHEMA, SHARDS, encode_jpeg
from dataset_culling.artifacts.header import ArtifactWriter, Origin, sha256_file, write_artifact
from dataset_culling.errors import OutputError
from dataset_culling.types import ImageArray

_TAR_BLOCK = 512
_TAR_END = bytes(2 * _TAR_BLOCK)

PutShard = Callable[[Path, str], str]
"""(finished shard, its name) -> URI; puts shards into an object store. The local file is removed afterwards."""


class FrameWriter(AbstractContextManager["FrameWriter"]):
    """Writes a frames/1 artifact as a stream: memory holds one frame and the index, never a shard.

    Use as a context manager; a clean exit writes the index and then the header. After an error the directory has no
    header and counts as unfinished.

    Raises:
        OutputError: If the directory cannot be written.
        ValueError: If frames do not come in ascending order of frame_id.
    """

    def __init__(
        self,
        path: Path,
        *,
        origin: Origin,
        jpeg_quality: int = 92,
        shard_bytes: int = 256 * 2**20,
        start_utc: str = "",
        put_shard: PutShard | None = None,
    ) -> None:
        self.path = path
        self.start_utc = start_utc
        self._quality = jpeg_quality
        self._shard_bytes = shard_bytes
        self._put_shard = put_shard
        self._artifact = write_artifact(path, SCHEMA, origin)
        self._index: dict[str, array[Any]] = {name: array(np.dtype(kind).char) for name, kind in COLUMNS.items()}
        self._shards: list[dict[str, Any]] = []
        self._jsons: dict[str, Any] = {}
        self._shard: BinaryIO | None = None
        self._written = 0
        self._writer: ArtifactWriter

    def __enter__(self) -> Self:
        self._writer = self._artifact.__enter__()
        self._guard(self._clear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is None:
            try:
                self._finish()
            except BaseException as problem:
                self._close()
                if not self._artifact.__exit__(type(problem), problem, problem.__traceback__):
                    raise
        self._close()
        return self._artifact.__exit__(kind, error, trace)

    @property
    def counts(self) -> dict[str, int]:
        """Counts that go into the header; add to them."""
        return self._writer.counts

    @property
    def num_frames(self) -> int:
        """Frames added so far."""
        return len(self._index["frame_id"])

    def json(self, name: str, value: Any) -> None:
        """Write one more JSON file into the artifact, as the footage report `REPORT`."""
        self._jsons[name] = value

    def add(self, frame_id: int, time_s: float, image_rgb: ImageArray) -> None:
        """Encode and append one frame, shape (H, W, 3), uint8."""
        self.add_jpeg(frame_id, time_s, encode_jpeg(image_rgb, quality=self._quality))

    def add_jpeg(self, frame_id: int, time_s: float, jpeg: bytes) -> None:
        """Append one frame that is already a JPEG."""
        ids = self._index["frame_id"]
        if ids and frame_id <= ids[-1]:
            raise ValueError(f"frames must come in ascending order: {frame_id} after {ids[-1]}")
        height_px, width_px, _, _ = simplejpeg.decode_jpeg_header(jpeg)
        offset = self._guard(lambda: self._append(f"{frame_id:012d}.jpg", jpeg))
        row = (frame_id, time_s, width_px, height_px, len(self._shards), offset, len(jpeg), zlib.crc32(jpeg))
        for name, value in zip(COLUMNS, row, strict=True):
            self._index[name].append(value)
        if self._written >= self._shard_bytes:
            self._guard(self._end_shard)

    def _append(self, name: str, data: bytes) -> int:
        if self._shard is None:
            file = self._writer.file(f"shards/{len(self._shards):05d}.tar")
            file.parent.mkdir(exist_ok=True)
            self._shard = file.open("wb")
        member = tarfile.TarInfo(name)
        member.size, member.mode, member.mtime = len(data), 0o644, 0
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        offset = self._written
        self._write(data)
        self._write(bytes(-len(data) % _TAR_BLOCK))
        return offset

    def _write(self, data: bytes) -> None:
        assert self._shard is not None
        self._shard.write(data)
        self._written += len(data)

    def _end_shard(self) -> None:
        if self._shard is None:
            return
        self._write(_TAR_END)
        file = Path(self._shard.name)
        self._shard.close()
        entry: dict[str, Any] = {"bytes": self._written}
        if self._put_shard is None:
            entry["file"] = str(file.relative_to(self.path))
        else:
            # The name is the content's digest: a stage that runs again puts the same objects, and runs never mix.
            entry["sha256"] = sha256_file(file)
            entry["uri"] = self._put_shard(file, f"{entry['sha256'][:32]}.tar")
            file.unlink()
        self._shards.append(entry)
        self._shard, self._written = None, 0

    def _finish(self) -> None:
        self._end_shard()
        if self._put_shard is not None:
            shutil.rmtree(self._writer.file("shards"), ignore_errors=True)
        for name, kind in COLUMNS.items():
            self._writer.array(name, np.frombuffer(self._index[name], dtype=kind))
        self._writer.json(SHARDS, {"shards": self._shards, "start_utc": self.start_utc})
        for name, value in {REPORT: {}, NEAR_DUPLICATES: [], **self._jsons}.items():
            self._writer.json(name, value)
        self._writer.counts.setdefault("frames", self.num_frames)
        self._writer.counts.setdefault("shards", len(self._shards))

    def _clear(self) -> None:
        """Remove the shards of a killed run; the header would list them."""
        shutil.rmtree(self.path / "shards", ignore_errors=True)

    def _close(self) -> None:
        if self._shard is not None:
            # Closing flushes buffers; on a full disk it fails again, which was reported already.
            with suppress(OSError):
                self._shard.close()

    def _guard(self, write: Callable[[], Any]) -> Any:
        try:
            return write()
        except OSError as error:
            raise OutputError(
                f"{error.filename or self.path}: expected to write {SCHEMA}, found {error.strerror or error}. "
                f"Free space or choose another --out."
            ) from error
