"""frames/1: sampled frames as JPEGs in tar shards, with one index row per frame, in time order.

    shards/00000.tar ...   plain ustar archives, one member NNNNNNNNNNNN.jpg per frame (its frame_id)
    shards.json            where each shard lies: a file of the artifact, or the URI of an object; and its bytes
    frame_id.npy time_s.npy width_px.npy height_px.npy shard.npy offset.npy bytes.npy crc32.npy    one row per frame
    footage.json           what the footage was and what became of it (see `footage.report`)
    near_duplicates.json   such samples, dropped or only marked: [frame_id, the stored frame like it, change in levels]

`offset` and `bytes` name the JPEG itself inside its shard, so a frame is read by one byte-range request and no shard is
ever unpacked or copied whole. Every frame that is read is checked against its CRC-32. A frame_id is the frame's time in
whole milliseconds since the start of the footage (see `frame_id_of`), so that it means the same in every artifact made
from the same footage and tells, to a person, where to look in the video.

N = frames.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
import threading
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

import numpy as np
import numpy.typing as npt
import simplejpeg

from dataset_culling.artifacts.header import (
    ArtifactWriter,
    Header,
    Origin,
    read_header,
    read_json_file,
    sha256_file,
    write_artifact,
)
from dataset_culling.errors import ArtifactError, CorruptArtifact, OutputError
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
"""Index columns, as small as they can be: a stage that needs 200 frames of a day reads this index whole."""

_TAR_BLOCK = 512
_TAR_END = bytes(2 * _TAR_BLOCK)

Prepared = TypeVar("Prepared")

OpenRange = Callable[[str, int, int], bytes]
"""(uri, offset, length) -> those bytes of an object; how frames are read where shards lie in an object store."""
PutShard = Callable[[Path, str], str]
"""(finished shard, its name) -> URI; how shards are put into an object store. The local file is removed afterwards."""


def frame_id_of(time_s: float) -> int:
    """Whole milliseconds since the start of the footage."""
    return round(time_s * 1000)


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The frames of an artifact, in time order."""

    frame_ids: IntArray  # (N,) ascending, unique
    time_s: npt.NDArray[np.float64]  # (N,) seconds from the start of the footage
    width_px: IntArray  # (N,)
    height_px: IntArray  # (N,)
    start_utc: str  # wall clock at the start of the footage, ISO 8601; "" where nothing tells it

    def __len__(self) -> int:
        return len(self.frame_ids)

    def rows_of(self, frame_ids: Sequence[int] | IntArray) -> IntArray:
        """The rows of the named frames, in the order named.

        Raises:
            ArtifactError: If a frame is not here.
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


class FrameWriter(AbstractContextManager["FrameWriter"]):
    """Writes a frames/1 artifact as a stream: memory holds one frame and the index, never a shard.

    Use as a context manager; a clean exit writes the index and then the header. On an error no header is written, and
    a directory without a header is unfinished.

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
        """Write one more JSON file into the artifact; `REPORT` is the footage report."""
        self._jsons[name] = value

    def add(self, frame_id: int, time_s: float, image_rgb: ImageArray) -> None:
        """Encode and append one frame, shape (H, W, 3), uint8."""
        self.add_jpeg(frame_id, time_s, encode_jpeg(image_rgb, quality=self._quality))

    def add_jpeg(self, frame_id: int, time_s: float, jpeg: bytes) -> None:
        """Append one frame that is a JPEG already."""
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
            # The name is what is inside: a stage that runs again puts the same objects, and never mixes two runs.
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
        """A killed run may have left shards here; the header would count them in."""
        shutil.rmtree(self.path / "shards", ignore_errors=True)

    def _close(self) -> None:
        if self._shard is not None:
            # Closing writes what is buffered; where the disk is full that fails again, and was said already.
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


@dataclass(frozen=True, slots=True)
class _Shard:
    where: str  # an absolute path, or a URI
    remote: bool
    num_bytes: int


class FrameReader:
    """Reads a frames/1 artifact: at random by byte range, or in order at disk speed; decoding runs ahead in threads.

    Args:
        path: The artifact's directory.
        open_range: Reads a byte range of an object; needed only where the shards lie in an object store.

    Raises:
        ArtifactError: If it is no frames/1, or its index is damaged, or its shards lie in a store and `open_range` is
            not given.
    """

    def __init__(self, path: Path, open_range: OpenRange | None = None) -> None:
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
            assert self._open_range is not None
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
            if self._open_range is None:
                raise ArtifactError(
                    f"{self.path}: expected shards in the artifact, found them at {entry['uri']}. "
                    f"Read it with a store: set the store's address and keys in the environment."
                )
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


def encode_jpeg(image_rgb: ImageArray, *, quality: int) -> bytes:
    """An RGB image, shape (H, W, 3), as JPEG with 4:2:0 colour, which is what nearly every camera's video holds."""
    jpeg: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(image_rgb), quality=quality, colorspace="RGB", colorsubsampling="420"
    )
    return jpeg


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
