"""A video of pictures that something was drawn on, as MP4: H.264, or what else FFmpeg's libraries here can write.

A picture is shown at its time in the footage, to the millisecond: the clock of the video is the footage's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from dataset_culling.errors import OutputError
from dataset_culling.types import ImageArray

_CODECS = ("libx264", "libopenh264", "mpeg4")
_TIME_BASE = Fraction(1, 1000)
_KEYFRAME_S = 2.0
_BITS_PER_PIXEL = 0.1  # for encoders that want a bit rate instead of a quality


class DrawnVideo:
    """One video that is being written; see `draw_video`."""

    def __init__(self, path: Path, frames_per_second: float) -> None:
        self._path = path
        self._container: Any = av.open(str(path), "w", format="mp4")  # the file itself is opened with the first picture
        self._rate = Fraction(max(frames_per_second, 0.1)).limit_denominator(1001)
        self._stream: Any = None
        self._last = -1

    def add(self, image: ImageArray, time_s: float) -> None:
        """Append a picture (H, W, 3) RGB; the first decides how large all are shown. Times ascend.

        Raises:
            OutputError: If it cannot be written.
        """
        with _write_errors(self._path):
            if self._stream is None:
                self._begin(*image.shape[:2])
            frame = av.VideoFrame.from_ndarray(_fitted(image, self._stream.height, self._stream.width), format="rgb24")
            self._last = max(round(time_s / _TIME_BASE), self._last + 1)
            frame.pts, frame.time_base = self._last, _TIME_BASE
            self._container.mux(self._stream.encode(frame))

    def finish(self) -> None:
        """Write what the encoder still holds, and close the file.

        Raises:
            OutputError: If it cannot be written.
        """
        with _write_errors(self._path):
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(av.error.FFmpegError, OSError):
            self._container.close()

    def _begin(self, height_px: int, width_px: int) -> None:
        codec = next(name for name in _CODECS if name in av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._rate)
        stream.width, stream.height = width_px + width_px % 2, height_px + height_px % 2  # 4:2:0 wants even sides
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.gop_size = max(1, round(_KEYFRAME_S * self._rate))
        stream.codec_context.thread_count = 1  # x264's slices depend on its threads, and so would the bytes
        if codec == "libx264":
            stream.options = {"preset": "superfast", "crf": "24"}
        else:
            stream.bit_rate = round(width_px * height_px * float(self._rate) * _BITS_PER_PIXEL)
        self._stream = stream


@contextmanager
def draw_video(path: Path, *, frames_per_second: float) -> Iterator[DrawnVideo]:
    """Open a video for writing, and finish it.

    Args:
        path: An .mp4; the caller writes beside it and renames.
        frames_per_second: About how many there are.

    Raises:
        OutputError: If it cannot be written.
    """
    video = DrawnVideo(path, frames_per_second)
    try:
        yield video
        video.finish()
    except BaseException:
        video.abandon()
        raise


@contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise OutputError(
            f"{path}: expected to write a video, found {error.strerror or error}. Free space, or name another --out."
        ) from None


def _fitted(image: ImageArray, height_px: int, width_px: int) -> ImageArray:
    """The image at this size: its edge repeated for the odd row or column, shrunk and padded where it is another's."""
    missing_rows, missing_columns = height_px - image.shape[0], width_px - image.shape[1]
    if missing_rows not in (0, 1) or missing_columns not in (0, 1):
        scale = min(height_px / image.shape[0], width_px / image.shape[1])
        size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        image = np.zeros((height_px, width_px, 3), np.uint8)
        image[: small.shape[0], : small.shape[1]] = small[:height_px, :width_px]
        return image
    if missing_rows or missing_columns:
        return np.pad(image, ((0, missing_rows), (0, missing_columns), (0, 0)), mode="edge")
    return image
