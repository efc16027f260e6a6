"""Wanted frames of one file, decoded with as little work as the stream allows, as JPEGs ready to be stored or as RGB.

Per run of packets (see `sampling.plan_runs`): seek to its keyframe, send its packets one by one, let the decoder drop
what nobody refers to and nobody wants (non-reference frames), drain it after the last wanted one, jump to the next run.
Scaling, full-range conversion and rotation happen in FFmpeg's scaler, and the picture goes into the JPEG encoder as
YUV 4:2:0 without a detour over RGB.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from dataset_culling.errors import FootageError
from dataset_culling.footage.index import NO_TIME, PacketIndex, ReadErrors, packets_of
from dataset_culling.footage.probe import VideoPath, open_video, quarter_turn, shown_size, video_stream
from dataset_culling.footage.sample import Run
from dataset_culling.types import IntArray

THUMB_PX = (96, 72)
"""Width and height of the thumbnails on which damage and near-duplicates are judged."""

_SEEK_PACKETS = 64  # nearer than this, reading on is cheaper than a seek

_SEEK_BACK_S = (0, 1, 10)  # containers without an index (MPEG-TS) land behind where they were asked to

_CHECK_THEMSELVES = ("h264", "hevc")
"""Decoders that withhold frames until they can be right; others show whatever follows a false keyframe."""

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How frames are stored, and how the decoder treats damage."""

    jpeg_quality: int
    max_side_px: int  # longer side of a stored frame at most; 0: as it is
    nvdec: bool  # decode on the GPU; the CPU is the reference
    strict: bool  # a damaged packet spoils the rest of its group of pictures; else what the decoder conceals is taken
    rgb: bool = False  # pictures to be looked at now: RGB and no JPEG, nor what damage is judged on


NO_THUMB = np.zeros((3, 0, 0), np.uint8)
NO_RGB = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Picture:
    """A sampled frame: its packet, its JPEG, and what is needed to judge it. `jpeg` is empty where nothing came out."""

    packet: int
    jpeg: bytes
    crc32: int  # of the stored picture's luminance: two frames with the same one are the same picture
    thumb_yuv: ByteArray  # (3, 72, 96) full-range Y, U, V; (3, 0, 0) where nothing came out
    corrupt: bool  # the decoder met damage between the keyframe and this frame
    rgb: ByteArray = field(default_factory=lambda: NO_RGB)  # (H, W, 3), with DecodeOptions.rgb instead of `jpeg`


class VideoFile:
    """One open file with its decoder; not for two threads at once. Close it when done."""

    def __init__(self, path: VideoPath, index: PacketIndex, options: DecodeOptions) -> None:
        self._path, self._index, self._options = path, index, options
        self._container: Any = None
        self._scaler = VideoReformatter()  # kept, because setting one up costs five times what using it does
        self._open()

    def _open(self) -> None:
        self.close()
        self._container = open_video(self._path, nvdec=self._options.nvdec)
        self._stream = video_stream(self._container, self._path)
        self._context = self._stream.codec_context
        # One thread per decoder: several files or stretches decode side by side instead, which scales better, and only
        # so does the n-th packet's skip flag apply to the n-th packet.
        self._context.thread_type = "NONE"
        self._context.thread_count = 1
        if self._options.strict:
            self._context.options = {"err_detect": "+explode"}
        self._aspect = float(self._stream.sample_aspect_ratio or 0) or 1.0
        self._restart()

    def _restart(self) -> None:
        self._packets = packets_of(self._container, self._stream, ReadErrors())
        self._at = 0  # the row of the packet that comes next

    def close(self) -> None:
        """Release the file and the decoder."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def pictures(self, runs: Sequence[Run]) -> Iterator[Picture]:
        """Decode the wanted frames of some runs, in the order in which they are shown within each run.

        Raises:
            FootageError: If the file is not the one that was indexed.
        """
        for run in runs:
            yield from self._run(run)

    def _run(self, run: Run) -> Iterator[Picture]:
        given = set()
        for picture in self._attempt(run, run.first):
            if picture.corrupt and run.first > 0:
                break
            given.add(picture.packet)
            yield picture
        else:
            return
        # Some streams have no frame that stands alone, only stretches over which the picture builds up (intra refresh):
        # what is called a keyframe there needs the group before it. Damage stays damage at the second attempt.
        before = int(self._index.starts[self._index.start_before(run.first - 1)])
        for picture in self._attempt(run, before):
            if picture.packet not in given:
                yield picture

    def _attempt(self, run: Run, first: int) -> Iterator[Picture]:
        """Decode a run from a packet at or before its own first one."""
        index = self._index
        by_key = {int(index.pts[row]) if index.timed else int(row): int(row) for row in run.wanted}
        awaited = deque(int(row) for row in run.wanted[np.argsort(index.time_s[run.wanted], kind="stable")])
        wanted = frozenset(awaited)
        given: set[int] = set()
        damage: list[int] = []
        out = first  # without presentation times the n-th frame out is the n-th in the index
        sound = self._context.name in _CHECK_THEMSELVES
        for frame in self._frames(run, first, wanted, damage):
            sound = sound or bool(frame.key_frame)
            row = by_key.get(frame.pts if index.timed else out, -1)
            out += 1
            if row not in wanted or row in given:
                continue
            while awaited[0] != row:
                given.add(awaited[0])
                yield _nothing(awaited.popleft())
            given.add(row)
            broken = not sound or frame.is_corrupt or self._is_hit(awaited[0], damage)
            yield self._picture(awaited.popleft(), frame, corrupt=broken)
        for row in awaited:
            yield _nothing(row)

    def _is_hit(self, row: int, damage: Sequence[int]) -> bool:
        """Whether a packet that this one depends on was found damaged, by the container or by the decoder."""
        index = self._index
        group = index.start_before(row)
        if index.timed and group > 0 and index.time_s[row] < index.time_s[index.starts[group]]:
            group -= 1  # shown before its keyframe, so it needs the group before as well
        since = int(index.starts[group])
        until = row if index.timed else len(index)
        if self._options.strict and _any_within(index.broken, since, row):
            return True
        return any(since <= hit <= until for hit in damage)

    def _frames(self, run: Run, first: int, wanted: frozenset[int], damage: list[int]) -> Iterator[Any]:
        """The run's frames as the decoder gives them; rows of packets that it cannot read go to `damage`."""
        index = self._index
        self._context.flush_buffers()
        row = first
        for row, packet in self._read(first, run.stop):
            if index.timed:
                # Frames shown before the keyframe that they follow in the file refer to what was not decoded.
                if index.time_s[row] < index.time_s[first]:
                    continue
                self._context.skip_frame = "DEFAULT" if row in wanted else "NONREF"
            try:
                yield from self._context.decode(packet)
            except av.error.FFmpegError:
                damage.append(row)
        self._context.skip_frame = "DEFAULT"
        try:
            yield from self._context.decode(None)
        except av.error.FFmpegError:
            damage.append(row)

    def _read(self, first: int, stop: int) -> Iterator[tuple[int, Any]]:
        self._go_to(first)
        for row in range(first, stop):
            packet = next(self._packets, None)
            if packet is None:
                return
            self._at = row + 1
            yield row, packet

    def _go_to(self, row: int) -> None:
        """Make `row` the packet that comes next."""
        if not 0 <= row - self._at <= _SEEK_PACKETS and self._seek(row):
            return
        # Reading on always leads there, if need be from the start.
        if self._at > row or not self._skip_to(row):
            self._open()
            if not self._skip_to(row):
                raise FootageError(
                    f"{self._path}: expected the file that was indexed, found another. Do not write to it meanwhile."
                )

    def _skip_to(self, row: int) -> bool:
        while self._at < row:
            if next(self._packets, None) is None:
                return False
            self._at += 1
        return True

    def _seek(self, row: int) -> bool:
        """Seek to a keyframe's row by its time, and make sure by its place in the file that it is the one."""
        index = self._index
        position = int(index.start_position[index.start_before(row)])
        if index.pts[row] == NO_TIME or position < 0 or index.restarts:
            return False
        self._at = len(index) + 1  # nowhere, until the packet is found
        for back_s in _SEEK_BACK_S:
            try:
                earlier = int(index.pts[row] - back_s / self._stream.time_base)
                self._container.seek(earlier, stream=self._stream)
            except av.error.FFmpegError:
                return False
            packets = packets_of(self._container, self._stream, ReadErrors())
            for packet in packets:
                if packet.pos == position and packet.pts == index.pts[row]:
                    self._packets = _with_first(packet, packets)
                    self._at = row
                    return True
                if packet.pos is not None and packet.pos > position:
                    break
        return False

    def _picture(self, row: int, frame: Any, *, corrupt: bool) -> Picture:
        rotation = quarter_turn(frame.rotation)
        if self._options.rgb:
            image = rgb_image(frame, *self._size(frame), self._scaler)
            if rotation:
                image = np.ascontiguousarray(np.rot90(image, rotation // 90))
            return Picture(row, b"", 0, NO_THUMB, corrupt, image)
        planes = yuv_planes(frame, *self._size(frame), self._scaler)
        if rotation:
            planes = tuple(np.ascontiguousarray(np.rot90(plane, rotation // 90)) for plane in planes)
        jpeg = simplejpeg.encode_jpeg_yuv_planes(*planes, quality=self._options.jpeg_quality)
        return Picture(row, jpeg, zlib.crc32(planes[0].data), thumb(planes), corrupt)

    def _size(self, frame: Any) -> tuple[int, int]:
        """Size to scale to before turning."""
        width, height = shown_size(frame.width, frame.height, self._aspect, 0)
        longest = max(width, height)
        most = self._options.max_side_px
        if 0 < most < longest:
            width, height = max(1, round(width * most / longest)), max(1, round(height * most / longest))
        return width, height


def _nothing(row: int) -> Picture:
    """What stands for a wanted frame that the decoder did not give."""
    return Picture(row, b"", 0, NO_THUMB, corrupt=True)


def _any_within(rows: IntArray, first: int, last: int) -> bool:
    """Whether any of the ascending rows lies in first..last."""
    at = int(np.searchsorted(rows, first))
    return at < len(rows) and int(rows[at]) <= last


def _with_first(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def yuv_planes(frame: Any, width_px: int, height_px: int, scaler: VideoReformatter) -> tuple[ByteArray, ...]:
    """A decoded frame as full-range BT.601 planes, as JPEG wants them: Y (H, W), U and V (ceil(H/2), ceil(W/2))."""
    scaled: Any = scaler.reformat(
        frame,
        width=width_px,
        height=height_px,
        format="yuvj420p",
        dst_colorspace=Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG,
        interpolation=Interpolation.AREA if width_px <= frame.width else Interpolation.BICUBIC,
        threads=1,
    )
    shapes = [(height_px, width_px)] + [((height_px + 1) // 2, (width_px + 1) // 2)] * 2
    return tuple(
        np.ascontiguousarray(np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, :wide])
        for plane, (_, wide) in zip(scaled.planes, shapes, strict=True)
    )


def rgb_image(frame: Any, width_px: int, height_px: int, scaler: VideoReformatter) -> ByteArray:
    """A decoded frame as RGB, shape (H, W, 3): what its JPEG would show, but for the JPEG's loss."""
    scaled: Any = scaler.reformat(
        frame,
        width=width_px,
        height=height_px,
        format="rgb24",
        interpolation=Interpolation.AREA if width_px <= frame.width else Interpolation.BICUBIC,
        threads=1,
    )
    plane = scaled.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : 3 * width_px]
    return np.ascontiguousarray(rows).reshape(height_px, width_px, 3)


def thumb(planes: Sequence[ByteArray]) -> ByteArray:
    """The picture at thumbnail size, averaged over areas, shape (3, 72, 96)."""
    small = [cv2.resize(plane, THUMB_PX, interpolation=cv2.INTER_AREA) for plane in planes]
    return np.stack(small).astype(np.uint8)
