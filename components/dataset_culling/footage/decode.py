"""Decode wanted frames of one file with as little work as the stream allows, as JPEGs or as RGB.

For each run of packets (see `sample.plan_runs`): seek to its keyframe, decode its packets while the decoder skips
unwanted non-reference frames, drain the decoder after the last wanted one. FFmpeg's scaler does scaling and full-range
conversion, and the JPEG encoder takes its YUV 4:2:0 planes without a detour over RGB.
"""

from __future__ import annotations

import itertools
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
from dataset_culling.footage.paths import VideoPath
from dataset_culling.footage.probe import open_video, quarter_turn, shown_size, video_stream
from dataset_culling.footage.sample import Run
from dataset_culling.types import IntArray

THUMB_PX = (96, 72)
"""Width and height of the thumbnails used to detect damage and near-duplicates."""

_SEEK_PACKETS = 64  # for shorter distances, reading on is cheaper than a seek
_SEEK_BACK_S = (0, 1, 10)  # in containers without an index (MPEG-TS) a seek can land too late

_CHECK_THEMSELVES = ("h264", "hevc")
"""Decoders that withhold frames until these can be correct; others show frames after a false keyframe."""

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """Options for storing frames and for treating damage."""

    jpeg_quality: int
    max_side_px: int  # longest side of a stored frame; 0: as recorded
    nvdec: bool  # decode on the GPU; the CPU is the reference
    strict: bool  # reject the rest of a group of pictures after damage; else take what the decoder conceals
    rgb: bool = False  # give RGB for direct use instead of a JPEG and a thumbnail


NO_THUMB = np.zeros((3, 0, 0), np.uint8)
NO_RGB = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Picture:
    """A sampled frame: its packet, its JPEG and the data for damage checks. `jpeg` is empty if decoding failed."""

    packet: int
    jpeg: bytes
    crc32: int  # of the stored picture's luminance; equal values mean equal pictures
    thumb_yuv: ByteArray  # (3, 72, 96) full-range Y, U, V; (3, 0, 0) if decoding failed
    corrupt: bool  # the decoder met damage between the keyframe and this frame
    rgb: ByteArray = field(default_factory=lambda: NO_RGB)  # (H, W, 3), with DecodeOptions.rgb instead of `jpeg`


class VideoFile:
    """One open file with its decoder; not thread-safe. Close it after use."""

    def __init__(self, path: VideoPath, index: PacketIndex, options: DecodeOptions) -> None:
        self._path, self._index, self._options = path, index, options
        self._container: Any = None
        self._scaler = VideoReformatter()  # kept, because creating one costs five times its use
        self._open()

    def _open(self) -> None:
        self.close()
        self._container = open_video(self._path, nvdec=self._options.nvdec)
        self._stream = video_stream(self._container, self._path)
        self._context = self._stream.codec_context
        # One thread per decoder: decoding several files or stretches in parallel scales better, and a skip flag then
        # applies to its own packet.
        self._context.thread_type = "NONE"
        self._context.thread_count = 1
        if self._options.strict:
            self._context.options = {"err_detect": "+explode"}
        self._aspect = float(self._stream.sample_aspect_ratio or 0) or 1.0
        self._restart()

    def _restart(self) -> None:
        self._packets = packets_of(self._container, self._stream, ReadErrors())
        self._at = 0  # row of the next packet

    def close(self) -> None:
        """Release the file and the decoder."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def pictures(self, runs: Sequence[Run]) -> Iterator[Picture]:
        """Decode the wanted frames of some runs, in display order within each run.

        Raises:
            FootageError: If the file has changed since it was indexed.
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
        # With intra refresh a picture builds up over several frames, and a keyframe needs the group before it. Real
        # damage shows again at the second attempt.
        before = int(self._index.starts[self._index.start_before(run.first - 1)])
        for picture in self._attempt(run, before):
            if picture.packet not in given:
                yield picture

    def _attempt(self, run: Run, first: int) -> Iterator[Picture]:
        """Decode a run from packet `first`, at or before the run's own first one."""
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
        """Return True if container or decoder found damage in a packet that this one depends on."""
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
        """Yield the run's frames in decoder order; add the rows of undecodable packets to `damage`."""
        index = self._index
        self._context.flush_buffers()
        row = first
        for row, packet in self._read(first, run.stop):
            if index.timed:
                # Frames shown before their keyframe refer to packets that were not decoded.
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
        """Make `row` the next packet."""
        if not 0 <= row - self._at <= _SEEK_PACKETS and self._seek(row):
            return
        # Reading on always works, if necessary from the start.
        if self._at > row or not self._skip_to(row):
            self._open()
            if not self._skip_to(row):
                raise FootageError(
                    f"{self._path}: the file has changed since it was indexed. Do not write to it during a run."
                )

    def _skip_to(self, row: int) -> bool:
        while self._at < row:
            if next(self._packets, None) is None:
                return False
            self._at += 1
        return True

    def _seek(self, row: int) -> bool:
        """Seek to a keyframe's row by its time and verify its byte offset."""
        index = self._index
        position = int(index.start_position[index.start_before(row)])
        if index.pts[row] == NO_TIME or position < 0 or index.restarts:
            return False
        self._at = len(index) + 1  # invalid until the packet is found
        for back_s in _SEEK_BACK_S:
            try:
                earlier = int(index.pts[row] - back_s / self._stream.time_base)
                self._container.seek(earlier, stream=self._stream)
            except av.error.FFmpegError:
                return False
            packets = packets_of(self._container, self._stream, ReadErrors())
            for packet in packets:
                if packet.pos == position and packet.pts == index.pts[row]:
                    self._packets = itertools.chain([packet], packets)
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
        """Return width and height to scale to before rotation."""
        width, height = shown_size(frame.width, frame.height, self._aspect, 0)
        longest = max(width, height)
        most = self._options.max_side_px
        if 0 < most < longest:
            width, height = max(1, round(width * most / longest)), max(1, round(height * most / longest))
        return width, height


def _nothing(row: int) -> Picture:
    """Return the picture for a wanted frame that the decoder did not give."""
    return Picture(row, b"", 0, NO_THUMB, corrupt=True)


def _any_within(rows: IntArray, first: int, last: int) -> bool:
    """Return True if any of the ascending rows lies in first..last."""
    at = int(np.searchsorted(rows, first))
    return at < len(rows) and int(rows[at]) <= last


def yuv_planes(frame: Any, width_px: int, height_px: int, scaler: VideoReformatter) -> tuple[ByteArray, ...]:
    """Convert a decoded frame to JPEG's full-range BT.601 planes: Y (H, W), U and V (ceil(H/2), ceil(W/2))."""
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
    """Convert a decoded frame to RGB, shape (H, W, 3); equal to its JPEG but for compression loss."""
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
    """Scale planes to a thumbnail, averaged over areas, shape (3, 72, 96)."""
    small = [cv2.resize(plane, THUMB_PX, interpolation=cv2.INTER_AREA) for plane in planes]
    return np.stack(small).astype(np.uint8)
