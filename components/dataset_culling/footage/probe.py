"""Read a video file's header; report in one line why a file cannot be opened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.codec.hwaccel import HWAccel

from dataset_culling.errors import FootageError
from dataset_culling.footage.paths import RemoteVideo, VideoPath
from dataset_culling.storage import open_object

_NO_VIDEO_FORMATS = ("tty", "image2", "gif")  # FFmpeg also opens text and stills as video
_REMOTE_BUFFER_BYTES = 2**18
_EARLIEST_YEAR = 1990  # writers without a clock stamp 1904 or 1970


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """One video file as its header describes it; the header may be wrong about the duration."""

    path: VideoPath
    container: str  # FFmpeg's name, as "mov,mp4,m4a,3gp,3g2,mj2"
    codec: str  # as "h264"
    width_px: int  # as shown: after rotation, with square pixels
    height_px: int
    rotation_deg: int  # counter-clockwise quarter turns that show it upright: 0, 90, 180 or 270
    pixel_aspect: float  # width of a stored pixel over its height
    frames_per_second: float  # nominal; 0.0: not in the header
    duration_s: float  # 0.0: not in the header
    created_utc: datetime | None  # start of the recording, if the container holds it


def probe(path: VideoPath) -> VideoInfo:
    """Read a video's header.

    Raises:
        FootageError: If the file is missing, empty, not a video, cut off before its index, or without a video stream.
    """
    with open_video(path) as container:
        stream = video_stream(container, path)
        context = stream.codec_context
        rotation = _rotation(stream)
        aspect = float(stream.sample_aspect_ratio or 0) or 1.0
        width, height = shown_size(context.width, context.height, aspect, rotation)
        rate = stream.average_rate or stream.guessed_rate
        duration = stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
        # FFmpeg lowers an AVI's duration to what its bytes hold; the number of frames is what the header promises.
        if container.format.name == "avi" and rate:
            duration = max(duration, stream.frames / rate)
        return VideoInfo(
            path=path,
            container=container.format.name,
            codec=context.name,
            width_px=width,
            height_px=height,
            rotation_deg=rotation,
            pixel_aspect=aspect,
            frames_per_second=float(rate or 0),
            duration_s=max(0.0, float(duration)),
            created_utc=_created({**container.metadata, **stream.metadata}),
        )


def open_video(path: VideoPath, *, nvdec: bool = False) -> Any:
    """Open a video with FFmpeg, with `nvdec` for decoding on an NVIDIA GPU.

    Returns:
        PyAV's InputContainer; the caller closes it.

    Raises:
        FootageError: If FFmpeg cannot open the file, or `nvdec` is set without such a decoder.
    """
    if isinstance(path, Path) and not path.is_file():
        what = "a folder" if path.is_dir() else "nothing there"
        raise FootageError(f"{path}: expected a video file, found {what}. Check the path.")
    if _num_bytes(path) == 0:
        raise FootageError(f"{path}: expected a video, found an empty file. Copy it again.")
    hwaccel = HWAccel("cuda", allow_software_fallback=False) if nvdec else None
    try:
        # Broken tags must not stop a run; they are not used.
        if isinstance(path, RemoteVideo):
            file = open_object(path.uri)
            return av.open(file, metadata_errors="replace", hwaccel=hwaccel, buffer_size=_REMOTE_BUFFER_BYTES)
        return av.open(str(path), metadata_errors="replace", hwaccel=hwaccel)
    except av.error.FFmpegError as error:
        if nvdec:
            raise FootageError(
                f"{path}: expected NVDEC to decode it, found {error.strerror} when opening the GPU's decoder. "
                f"Set extract_frames.decoder to cpu."
            ) from None
        raise FootageError(f"{path}: expected a video, found {_what_it_is(path, error)}") from None
    except OSError as error:
        raise FootageError(f"{path}: expected a readable video, found {error.strerror}. Check permissions.") from None


def video_stream(container: Any, path: VideoPath) -> Any:
    """Return the first video stream that is not a cover picture.

    Raises:
        FootageError: If the file has no such stream, or FFmpeg does not know its codec.
    """
    pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    name = container.format.name
    if name in _NO_VIDEO_FORMATS or name.endswith("_pipe"):
        raise FootageError(f"{path}: expected a video, found a file that reads as {name}. Give an MP4, MKV or AVI.")
    if not pictures:
        kinds = sorted({stream.type for stream in container.streams}) or ["no stream at all"]
        raise FootageError(
            f"{path}: expected a video stream, found only {', '.join(kinds)}. Give a file with pictures."
        )
    if pictures[0].codec_context is None:
        raise FootageError(f"{path}: FFmpeg does not know its video codec. Re-encode it as H.264.")
    return pictures[0]


def shown_size(width_px: int, height_px: int, pixel_aspect: float, rotation_deg: int) -> tuple[int, int]:
    """Return width and height of a stored picture after rotation and with square pixels."""
    width = max(1, round(width_px * pixel_aspect))
    return (height_px, width) if rotation_deg in (90, 270) else (width, height_px)


def _rotation(stream: Any) -> int:
    """Read the rotation from the first decodable picture: in PyAV only frames carry the display matrix."""
    try:
        for count, packet in enumerate(stream.container.demux(stream)):
            for frame in packet.decode():
                return quarter_turn(frame.rotation)
            if count > 100:
                break
    except av.error.FFmpegError:
        pass  # the decoder counts damage at the start; without a picture there is no rotation
    return 0


def quarter_turn(rotation_deg: float) -> int:
    """Round to the nearest quarter turn, 0..270; cameras are not mounted at 45 degrees."""
    return round(rotation_deg / 90) * 90 % 360


def _created(metadata: dict[str, str]) -> datetime | None:
    for key in ("com.apple.quicktime.creationdate", "creation_time", "date"):
        text = metadata.get(key, "")
        try:
            created = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            continue
        if len(text) > len("2026-11-20") and created.year >= _EARLIEST_YEAR:
            return created.replace(tzinfo=created.tzinfo or UTC).astimezone(UTC)
    return None


def _num_bytes(path: VideoPath) -> int:
    return path.stat().st_size if isinstance(path, Path) else path.num_bytes


def _what_it_is(path: VideoPath, error: Exception) -> str:
    """Describe a file that does not open by its first bytes."""
    with path.open("rb") if isinstance(path, Path) else open_object(path.uri) as file:
        head = file.read(4096)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            if not _has_box(file, b"moov", _num_bytes(path)):
                return (
                    "an MP4 without its index (no moov box): the recording or the download was cut off. "
                    "Copy it again, or rebuild the index with a repair tool."
                )
            return f"an MP4 that cannot be opened ({error.args[-1] if error.args else error}). Copy it again."
    if not any(byte < 9 or 13 < byte < 32 for byte in head):
        return "a text file. Give an MP4, MKV or AVI."
    return "bytes that FFmpeg does not know. Give an MP4, MKV or AVI."


def _has_box(file: BinaryIO, wanted: bytes, num_bytes: int) -> bool:
    """Search the top-level boxes of an ISO media file."""
    at = 0
    while at + 8 <= num_bytes:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if head[4:8] == wanted:
            return at + length <= num_bytes
        length = int.from_bytes(head[8:16], "big") if length == 1 else length or num_bytes - at
        if length < 8:
            return False
        at += length
    return False
