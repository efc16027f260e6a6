"""Real encoded video files, made on the spot: any codec, container, clock and kind of damage that footage comes with.

Every picture carries its own number as a row of black and white blocks, so that a decoded frame tells which one it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]

BITS = 12
SIZE = (192, 96)  # width, height
TIME_BASE = Fraction(1, 90_000)


def numbered_picture(number: int, *, size: tuple[int, int] = SIZE) -> Image:
    """A picture, RGB, that shows its number in BITS blocks along the top, over a moving background."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(x + 3 * number) % 200 + 20, (y * 2 + number) % 180 + 30, (x + y) % 160 + 40], axis=-1)
    block = width // BITS
    for bit in range(BITS):
        image[: height // 3, bit * block : (bit + 1) * block] = 235 if number >> bit & 1 else 20
    return image.astype(np.uint8)


def number_of(image: Image) -> int:
    """The number that a picture of `numbered_picture` shows, at any scale."""
    height, width = image.shape[:2]
    block = width / BITS
    middle = [
        image[height // 12 : height // 5, round((bit + 0.3) * block) : round((bit + 0.7) * block)]
        for bit in range(BITS)
    ]
    return sum(1 << bit for bit, part in enumerate(middle) if part.mean() > 128)


def write_video(
    path: Path,
    *,
    num_frames: int = 100,
    frames_per_second: float = 25,
    codec: str = "libx264",
    gop: int = 25,
    b_frames: int = 0,
    size: tuple[int, int] = SIZE,
    times_s: Sequence[float] = (),
    picture: Callable[[int], Image] | None = None,
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Encode a video.

    Args:
        path: Its suffix chooses the container.
        num_frames: How many frames; ignored where `times_s` is given.
        frames_per_second: Constant rate; also the nominal one of a variable rate.
        codec: An encoder of FFmpeg's, as libx264, libx265, mpeg4, mjpeg, msmpeg4.
        gop: Frames between keyframes.
        b_frames: Most B-frames in a row.
        size: Width and height in pixels.
        times_s: Presentation times, for a variable rate.
        picture: What frame n shows, RGB (H, W, 3) or YUV 4:2:0 (H * 3 / 2, W); by default `numbered_picture`.
        options: The encoder's own options.
        container_options: The container's own options, as {"movflags": "faststart"}.
        metadata: Container metadata, as {"creation_time": "2026-11-20T14:30:00Z"}.
    """
    show = picture or (lambda number: numbered_picture(number, size=size))
    # AVI has no presentation times, only a rate, and MPEG-4 wants a coarse clock.
    per_frame = path.suffix == ".avi" or codec in ("mpeg4", "msmpeg4")
    time_base = 1 / Fraction(frames_per_second).limit_denominator(1001) if per_frame else TIME_BASE
    times = list(times_s) or [number / frames_per_second for number in range(num_frames)]
    one_thread = "log-level=none:pools=1:frame-threads=1"
    presets = {"libx264": {"preset": "veryfast"}, "libx265": {"preset": "ultrafast", "x265-params": one_thread}}
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=Fraction(frames_per_second).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = b_frames
        stream.codec_context.thread_count = 1
        stream.options = {**presets.get(codec, {}), **(options or {})}
        if codec in ("mpeg4", "msmpeg4", "mjpeg"):
            stream.bit_rate = 4_000_000
        for number, time_s in enumerate(times):
            image = show(number)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24" if image.ndim == 3 else "yuv420p")
            frame.pts, frame.time_base = round(time_s / time_base), time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_audio_only(path: Path) -> Path:
    """One second of a tone, and no picture."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        tone = np.sin(np.arange(16_000, dtype=np.float32) * 0.2)[None]
        for at in range(0, 16_000, 1024):
            frame = av.AudioFrame.from_ndarray(tone[:, at : at + 1024], format="fltp", layout="mono")
            frame.rate, frame.pts = 16_000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_text_as_video(path: Path) -> Path:
    """A text file whose name ends like a video's."""
    path.write_text("camera 7 was offline\nsee the ticket\n" * 50, encoding="utf-8")
    return path


_TURNS = {
    90: (0, -1, 1, 0),
    180: (-1, 0, 0, -1),
    270: (0, 1, -1, 0),
}


def rotate(path: Path, degrees: int) -> Path:
    """Set an MP4's display matrix so that a player turns the picture counter-clockwise, as phones and cameras do."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: flags, times, id, duration, layer, group, volume
    a, b, c, d = _TURNS[degrees]
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def truncate(path: Path, share: float) -> Path:
    """Keep only the first part of a file, as a broken copy leaves it."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def overwrite(path: Path, at_share: float, num_bytes: int, *, seed: int = 0) -> Path:
    """Overwrite bytes somewhere in a file with noise, as a failing disk does."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * at_share)
    data[at : at + num_bytes] = np.random.default_rng(seed).bytes(num_bytes)
    path.write_bytes(data)
    return path


def concatenate(path: Path, parts: Sequence[Path]) -> Path:
    """Files byte after byte, which for MPEG-TS is a valid file whose clock restarts."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
