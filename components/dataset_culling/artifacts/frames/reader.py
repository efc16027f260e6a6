"""Read a frames/1 artifact: at random by byte range, or in order at disk speed. Decoding runs ahead in threads."""

from __future__ import annotations

import os
import threading
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import simplejpeg

from dataset_culling.artifacts.frames.layout import COLUMNS, NEAR_DUPLICATES, REPORT, SCHEMA, SHARDS, FrameTable
from dataset_culling.artifacts.header import read_array, read_header, read_json_file
from dataset_culling.errors import CorruptArtifact
from dataset_culling.storage import read_range
from dataset_culling.types import ImageArray, IntArray

Prepared = TypeVar("Prepared")

OpenRange = Callable[[str, int, int], bytes]
"""(uri, offset, length) -> bytes of an object; reads shards in an object store."""


@dataclass(frozen=True, slots=True)
class _Shard:
    where: str  # an absolute path, or a URI
    remote: bool
    num_bytes: int


class FrameReader:
    """Reads a frames/1 artifact: at random by byte range, or in order at disk speed; decoding runs ahead in threads.

    Args:
        path: The artifact's directory.
        open_range: Reads a byte range of an object, for shards that lie in an object store.

    Raises:
        ArtifactError: If it is not a frames/1 artifact, or its index is damaged.
    """

    def __init__(self, path: Path, open_range: OpenRange = read_range) -> None:
        self.path = path
        self._open_range = open_range
        self.header = read_header(path, SCHEMA)
        columns = {name: read_array(path, self.header, name) for name in COLUMNS}
        shards = read_json_file(path, self.header, SHARDS)
        self._shards = [self._shard(entry) for entry in shards["shards"]]
        self._shard_of = columns["shard"].astype(np.int64)
        self._offset = columns["offset"].astype(np.int64)
        self._bytes = columns["bytes"].astype(np.int64)
        self._crc32 = columns["crc32"]
        self.table = FrameTable(
            frame_ids=columns["frame_id"],
            time_s=columns["time_s"],
            width_px=columns["width_px"].astype(np.int64),
            height_px=columns["height_px"].astype(np.int64),
            start_utc=str(shards["start_utc"]),
        )
        self._check_index()
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def fingerprints(self) -> npt.NDArray[np.uint64]:
        """Fingerprint of each stored frame's bytes, shape (N,): length and CRC-32 in one number."""
        found: npt.NDArray[np.uint64] = (self._bytes.astype(np.uint64) << np.uint64(32)) | self._crc32.astype(np.uint64)
        return found

    @property
    def report(self) -> dict[str, Any]:
        """The footage report that was written with the frames."""
        found: dict[str, Any] = read_json_file(self.path, self.header, REPORT)
        return found

    @property
    def near_duplicates(self) -> tuple[IntArray, IntArray]:
        """Samples left out as near-duplicates, and the stored frame that stands for each of them."""
        rows = read_json_file(self.path, self.header, NEAR_DUPLICATES)
        table = np.array([row[:2] for row in rows], np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def jpeg(self, frame_id: int) -> bytes:
        """Return one frame as stored.

        Raises:
            ArtifactError: If the frame is not in the artifact.
            CorruptArtifact: If its bytes are not those that were written.
        """
        return self._jpeg(int(self.table.rows_of([frame_id])[0]))

    def image(self, frame_id: int) -> ImageArray:
        """Return one frame, decoded, RGB, shape (H, W, 3)."""
        return self._image(int(self.table.rows_of([frame_id])[0]))

    def images(self, frame_ids: Sequence[int] | IntArray) -> Iterator[ImageArray]:
        """Yield frames in the order of `frame_ids`, each read by byte range; a few are read and decoded ahead."""
        rows = self.table.rows_of(frame_ids)
        return _ahead(self._image, rows, self._threads())

    def prepared(
        self,
        frame_ids: Sequence[int] | IntArray,
        prepare: Callable[[ImageArray], Prepared],
        *,
        threads: int,
        ahead: int,
    ) -> Generator[Prepared, None, None]:
        """Yield prepare(image) of frames in the order of `frame_ids`, computed ahead in threads; see `reduced`."""
        return self.reduced(
            frame_ids, lambda image, *_: prepare(image), lambda *size: size, threads=threads, ahead=ahead
        )

    def reduced(
        self,
        frame_ids: Sequence[int] | IntArray,
        prepare: Callable[[ImageArray, int, int], Prepared],
        least: Callable[[int, int], tuple[int, int]],
        *,
        threads: int,
        ahead: int,
    ) -> Generator[Prepared, None, None]:
        """Yield prepare(image, H, W) of frames, decoded no larger than needed and computed ahead in threads.

        A frame needed at half its size or less is decoded at a half, quarter or eighth: libjpeg then computes fewer
        pixels, each the mean of those that it replaces.

        Args:
            frame_ids: The frames.
            prepare: (image, H, W of the stored frame) -> result; runs in a thread. Results wait in memory until they
                are taken, so keep them small.
            least: (H, W of the stored frame) -> least (h, w) of the image.
            threads: Threads at once; from a store at least as many as `images` uses.
            ahead: Most results begun and not yet taken.
        """
        height_px, width_px = self.table.height_px, self.table.width_px

        def one(row: int) -> Prepared:
            height, width = int(height_px[row]), int(width_px[row])
            h, w = least(height, width)
            # Only even divisors, so that the smaller frame has exactly the same aspect.
            factors = (k for k in (8, 4, 2) if height >= k * h and width >= k * w and height % k == width % k == 0)
            factor = next(factors, 1)
            return prepare(self._image(row, factor), height, width)

        return _ahead(one, self.table.rows_of(frame_ids), max(threads, self._threads()), ahead)

    def jpegs(self, frame_ids: Sequence[int] | IntArray) -> Iterator[bytes]:
        """Yield frames as stored, in the order of `frame_ids`; a few are read ahead."""
        rows = self.table.rows_of(frame_ids)
        return _ahead(self._jpeg, rows, self._threads())

    def iter(self, batch_size: int) -> Iterator[tuple[IntArray, list[ImageArray]]]:
        """Yield all frames in order, `batch_size` at a time (the last batch may be smaller), decoded ahead."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        images = _ahead(self._image, np.arange(len(self), dtype=np.int64), self._threads())
        for start in range(0, len(self), batch_size):
            ids = self.table.frame_ids[start : start + batch_size]
            yield ids, [next(images) for _ in range(len(ids))]

    def close(self) -> None:
        """Close the shards; reading opens them again."""
        with self._lock:
            for handle in self._files.values():
                os.close(handle)
            self._files.clear()

    def __del__(self) -> None:
        if hasattr(self, "_files"):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_files", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _files={}, _lock=threading.Lock())

    def _threads(self) -> int:
        """Return more threads for a store, which waits for the network, than for disk, which waits for the decoder."""
        return 8 if any(shard.remote for shard in self._shards) else 2

    def _image(self, row: int, factor: int = 1) -> ImageArray:
        """The frame in a row, each side divided by `factor`, rounded up."""
        jpeg = self._jpeg(row)
        size = (-(-int(self.table.height_px[row]) // factor), -(-int(self.table.width_px[row]) // factor))
        try:
            image: ImageArray = simplejpeg.decode_jpeg(
                jpeg, "RGB", min_height=size[0], min_width=size[1], min_factor=factor
            )
        except ValueError as error:
            raise self._corrupt(row, f"a JPEG that does not decode ({error})") from None
        if image.shape[:2] != size:
            raise self._corrupt(row, f"a JPEG of {image.shape[1]}x{image.shape[0]} px instead of {size[1]}x{size[0]}")
        return image

    def _jpeg(self, row: int) -> bytes:
        index = int(self._shard_of[row])
        shard, offset, length = self._shards[index], int(self._offset[row]), int(self._bytes[row])
        if shard.remote:
            data = self._open_range(shard.where, offset, length)
        else:
            data = self._pread(index, offset, length)
        if len(data) != length:
            raise self._corrupt(row, f"{len(data)} bytes")
        if zlib.crc32(data) != int(self._crc32[row]):
            raise self._corrupt(row, "other bytes than were written")
        return data

    def _pread(self, index: int, offset: int, length: int) -> bytes:
        where = self._shards[index].where
        try:
            with self._lock:
                if index not in self._files:
                    self._files[index] = os.open(where, os.O_RDONLY | os.O_CLOEXEC)
                handle = self._files[index]
            return os.pread(handle, length, offset)
        except OSError as error:
            raise CorruptArtifact(
                Path(where), expected="a shard of frames", found=str(error.strerror or error).lower()
            ) from None

    def _corrupt(self, row: int, found: str) -> CorruptArtifact:
        return CorruptArtifact(
            Path(self._shards[int(self._shard_of[row])].where),
            expected=f"frame {self.table.frame_ids[row]} in {self._bytes[row]} bytes at offset {self._offset[row]}",
            found=found,
        )

    def _shard(self, entry: dict[str, Any]) -> _Shard:
        if "uri" in entry:
            return _Shard(str(entry["uri"]), True, int(entry["bytes"]))
        name = str(entry["file"])
        file = self.path / name
        listed = int(self.header.files.get(name, {"bytes": -1})["bytes"])
        found = file.stat().st_size if file.is_file() else -1
        if not listed == found == int(entry["bytes"]):
            what = "no such file" if found < 0 else f"{found}"
            raise CorruptArtifact(file, expected=f"{entry['bytes']} bytes", found=what)
        return _Shard(str(file.absolute()), False, found)

    def _check_index(self) -> None:
        sizes = np.array([shard.num_bytes for shard in self._shards], np.int64)
        rows = len(self.table)
        if not all(len(column) == rows for column in (self.table.time_s, self._shard_of, self._offset, self._crc32)):
            raise CorruptArtifact(self.path, expected="index columns of one length", found="several lengths")
        if rows and np.any(np.diff(self.table.frame_ids) <= 0):
            raise CorruptArtifact(self.path / "frame_id.npy", expected="ascending frame ids", found="others")
        if rows and (self._shard_of.max() >= len(sizes) or np.any(self._offset + self._bytes > sizes[self._shard_of])):
            raise CorruptArtifact(self.path / "offset.npy", expected="frames inside their shards", found="one outside")


def _ahead(work: Callable[[int], Any], rows: IntArray, threads: int, ahead: int = 0) -> Generator[Any, None, None]:
    """Yield work(row) in order; `threads` run ahead and hold at most `ahead` or twice `threads` results."""
    most = max(ahead, 2 * threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="frames") as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for row in rows:
                waiting.append(pool.submit(work, int(row)))
                if len(waiting) > most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
