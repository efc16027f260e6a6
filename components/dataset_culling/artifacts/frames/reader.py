"""Read a frames/1 artifact: at random by byte range, or in order at disk speed. Decoding runs ahead in threads."""

from __future__ import annotations

import hashlib
import io
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
from dataset_culling.artifacts.header import Header, read_header, read_json_file
from dataset_culling.errors import CorruptArtifact
from dataset_culling.storage import read_range
from dataset_culling.types import ImageArray, IntArray

Prepared = TypeVar("Prepared")

OpenRange = Callable[[str, int, int], bytes]
"""(uri, offset, length) -> those bytes of an object; how frames are read where shards lie in an object store."""


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
        columns = {name: _column(path, self.header, name) for name in COLUMNS}
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
    def marks(self) -> npt.NDArray[np.uint64]:
        """What tells each stored frame's bytes from others', shape (N,): their length and CRC-32, in one number."""
        found: npt.NDArray[np.uint64] = (self._bytes.astype(np.uint64) << np.uint64(32)) | self._crc32.astype(np.uint64)
        return found

    @property
    def report(self) -> dict[str, Any]:
        """The footage report that was written with the frames."""
        found: dict[str, Any] = read_json_file(self.path, self.header, REPORT)
        return found

    @property
    def near_duplicates(self) -> tuple[IntArray, IntArray]:
        """Samples that were left out as near-duplicates, and for each the stored frame that stands for it."""
        rows = read_json_file(self.path, self.header, NEAR_DUPLICATES)
        table = np.array([row[:2] for row in rows], np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def jpeg(self, frame_id: int) -> bytes:
        """One frame as it is stored.

        Raises:
            ArtifactError: If there is no such frame.
            CorruptArtifact: If its bytes are not those that were written.
        """
        return self._jpeg(int(self.table.rows_of([frame_id])[0]))

    def image(self, frame_id: int) -> ImageArray:
        """One frame, decoded, RGB, shape (H, W, 3)."""
        return self._image(int(self.table.rows_of([frame_id])[0]))

    def images(self, frame_ids: Sequence[int] | IntArray) -> Iterator[ImageArray]:
        """The named frames in the order named, each read by byte range; a few are read and decoded ahead."""
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
        """prepare(image) of the named frames in the order named, read, decoded and prepared ahead in threads.

        Args:
            frame_ids: Which.
            prepare: Called in a thread; what it gives is held until it is taken, so let it be small.
            threads: How many at once; from a store never fewer than `images` uses.
            ahead: Most that are begun and not yet taken.
        """
        rows = self.table.rows_of(frame_ids)
        return _ahead(lambda row: prepare(self._image(row)), rows, max(threads, self._threads()), ahead)

    def reduced(
        self,
        frame_ids: Sequence[int] | IntArray,
        prepare: Callable[[ImageArray, int, int], Prepared],
        least: Callable[[int, int], tuple[int, int]],
        *,
        threads: int,
        ahead: int,
    ) -> Generator[Prepared, None, None]:
        """As `prepared`, but a frame that is wanted at half its size or less is decoded at a half, quarter or eighth.

        libjpeg then computes no more than it gives, which is the quicker the smaller; each of its pixels is the mean of
        those it stands for.

        Args:
            frame_ids: Which.
            prepare: (image, H, W of the stored frame) -> what is wanted; called in a thread.
            least: (H, W of the stored frame) -> the least (h, w) that the image must have.
            threads: How many at once; from a store never fewer than `images` uses.
            ahead: Most that are begun and not yet taken.
        """
        height_px, width_px = self.table.height_px, self.table.width_px

        def one(row: int) -> Prepared:
            height, width = int(height_px[row]), int(width_px[row])
            h, w = least(height, width)
            # Only what divides evenly, so that the smaller frame has the same aspect to the last digit.
            factors = (k for k in (8, 4, 2) if height >= k * h and width >= k * w and height % k == width % k == 0)
            factor = next(factors, 1)
            return prepare(self._image(row, factor), height, width)

        return _ahead(one, self.table.rows_of(frame_ids), max(threads, self._threads()), ahead)

    def jpegs(self, frame_ids: Sequence[int] | IntArray) -> Iterator[bytes]:
        """The named frames as they are stored, in the order named; a few are read ahead."""
        rows = self.table.rows_of(frame_ids)
        return _ahead(self._jpeg, rows, self._threads())

    def iter(self, batch_size: int) -> Iterator[tuple[IntArray, list[ImageArray]]]:
        """All frames in order, `batch_size` at a time (the last batch may be smaller), decoded ahead."""
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
        """From a store the wait is for the network, so many requests fly at once; from disk it is for the decoder."""
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


def _column(path: Path, header: Header, name: str) -> npt.NDArray[Any]:
    """One index column, read once and checked against the header."""
    file = f"{name}.npy"
    if file not in header.files:
        raise CorruptArtifact(path / file, expected="the file in the header's list", found="no entry")
    try:
        data = (path / file).read_bytes()
    except OSError:
        raise CorruptArtifact(path / file, expected="an index column", found="no such file") from None
    if (found := hashlib.sha256(data).hexdigest()) != header.files[file]["sha256"]:
        raise CorruptArtifact(path / file, expected=f"sha256 {header.files[file]['sha256'][:12]}", found=found[:12])
    values: npt.NDArray[Any] = np.load(io.BytesIO(data), allow_pickle=False)
    return values


def _ahead(work: Callable[[int], Any], rows: IntArray, threads: int, ahead: int = 0) -> Generator[Any, None, None]:
    """work(row) for every row, in order, `threads` of them running ahead, at most `ahead` or twice `threads` held."""
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
