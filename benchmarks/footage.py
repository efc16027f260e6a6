"""Speed and memory of extracting frames, and the cost of a random read.

    python benchmarks/footage.py [--json FILE] [--rounds 3] [--minutes 20] [--cores 2]

The video is made here: a procedural scene with moving objects and sensor noise, 768x576, 25 fps, H.264 as x264 makes
it, repeated to the length asked for. Every contender is a process of its own on the same cores, measured from start to
exit, imports included, in turns; medians are compared:

    ours    the extract-frames stage, every sampled frame kept: tar shards with an index
    (a)     OpenCV `read()` of every frame, each 25th resized and written as a JPEG file
    (b)     `ffmpeg -i VIDEO -vf fps=1 %05d.jpg`; its keys are left out where there is no ffmpeg
            (Debian: apt-get install ffmpeg)
    (c)     torchcodec, frames asked for by time, simplejpeg to files; left out where torchcodec is not installed

Keys: speedup_vs_opencv_jpegs      seconds of (a) over ours, keyframe every 2 s     goal >= 2.5
      time_ratio_vs_ffmpeg         ours over seconds of (b), keyframe every 2 s     goal <= 0.7
      time_ratio_vs_ffmpeg_gop250  the same, keyframe every 10 s                    goal <= 1.0
      time_ratio_vs_torchcodec     ours over seconds of (c), keyframe every 2 s
      peak_mib_2min, peak_mib_20min  resident memory of ours at its peak            goal < 400, equal
      random_read_amplification    bytes read over bytes of 200 frames out of 86,400, index included   goal < 1.5
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

from dataset_culling.artifacts.frames import FrameReader, FrameWriter, encode_jpeg
from dataset_culling.artifacts.header import Origin

SIZE = (768, 576)
FPS = 25
MADE_S = 20  # seconds encoded; repeated without encoding again

OURS = """
import sys, json
from pathlib import Path
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig
from dataset_culling.stages.extract_frames.stage import run
out = Path(sys.argv[2])
config = ExtractFramesConfig(sources=(sys.argv[1],), gap_s=0, near_duplicates="keep")
report = run(config, {}, {"pool": out / "pool", "heldout": out / "heldout"}, StageContext("extract-frames"))
status = Path("/proc/self/status").read_text()
peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
print(json.dumps({"frames": report.counts["pool"] + report.counts["heldout"], "peak_mib": peak_kib / 1024}))
"""

OPENCV = """
import sys, json, cv2
video, number, written = cv2.VideoCapture(sys.argv[1]), 0, 0
while True:
    there, image = video.read()
    if not there:
        break
    if number % 25 == 0:
        image = cv2.resize(image, (768, 576), interpolation=cv2.INTER_AREA)
        cv2.imwrite(f"{sys.argv[2]}/{number:06d}.jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
        written += 1
    number += 1
print(json.dumps({"frames": written}))
"""

TORCHCODEC = """
import sys, json, simplejpeg
from torchcodec.decoders import VideoDecoder
video = VideoDecoder(sys.argv[1], dimension_order="NHWC", seek_mode="approximate", num_ffmpeg_threads=0)
times = [float(second) for second in range(int(video.metadata.duration_seconds + 0.5))]
for start in range(0, len(times), 32):
    for number, image in enumerate(video.get_frames_played_at(times[start : start + 32]).data.numpy(), start=start):
        with open(f"{sys.argv[2]}/{number:06d}.jpg", "wb") as file:
            file.write(simplejpeg.encode_jpeg(image, quality=92))
print(json.dumps({"frames": len(times)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=3, help="turns that every contender gets")
    parser.add_argument("--minutes", type=float, default=20, help="length of the video")
    parser.add_argument("--cores", type=int, default=2, help="cores that every contender is confined to")
    parser.add_argument("--frames", type=int, default=86_400, help="frames in the shard set for random reads")
    options = parser.parse_args()
    cores = set(sorted(os.sched_getaffinity(0))[: options.cores])
    os.sched_setaffinity(0, cores)
    with tempfile.TemporaryDirectory(prefix="bench-footage-") as folder:
        figures = compare(Path(folder), options.minutes, options.rounds)
        figures |= random_reads(Path(folder), options.frames)
    for name, value in figures.items():
        print(f"{name:32s} {value:.3f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def compare(folder: Path, minutes: float, rounds: int) -> dict[str, float]:
    """Seconds of all contenders on both videos, and the memory of ours on two lengths."""
    videos: dict[tuple[int, float], Path] = {}
    for gop in (50, 250):
        part = encode(folder / f"part{gop}.mp4", gop)
        for length in {2.0, minutes}:
            videos[gop, length] = repeat(part, folder / f"gop{gop}-{length:g}min.mp4", length * 60)
    seconds: dict[str, list[float]] = {}
    wanted = round(minutes * 60)
    for turn in range(rounds):
        for gop in (50, 250):
            for name, command in contenders(videos[gop, minutes], folder / "out", gop).items():
                taken, said = timed(command, folder / "out")
                frames = said.get("frames") or len(list((folder / "out").glob("*.jpg")))
                # The ffmpeg fps filter may add or drop one frame at the ends.
                assert abs(frames - wanted) <= 1, f"{name}: {frames} frames instead of {wanted}"
                seconds.setdefault(f"{name}_gop{gop}", []).append(taken)
                print(f"turn {turn + 1}: {name:8s} GOP {gop:3d}  {taken:6.1f} s", file=sys.stderr)
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    figures = {"speedup_vs_opencv_jpegs": median["opencv_gop50"] / median["ours_gop50"]}
    if "ffmpeg_gop50" in median:
        figures["time_ratio_vs_ffmpeg"] = median["ours_gop50"] / median["ffmpeg_gop50"]
        figures["time_ratio_vs_ffmpeg_gop250"] = median["ours_gop250"] / median["ffmpeg_gop250"]
    if "torchcodec_gop50" in median:
        figures["time_ratio_vs_torchcodec"] = median["ours_gop50"] / median["torchcodec_gop50"]
    for length in (2.0, minutes):
        _, said = timed([sys.executable, "-c", OURS, str(videos[50, length]), str(folder / "out")], folder / "out")
        figures[f"peak_mib_{length:g}min"] = said["peak_mib"]
    return figures | {f"seconds_{name}": taken for name, taken in median.items()}


def contenders(video: Path, out: Path, gop: int) -> dict[str, list[str]]:
    """The command of each; OpenCV's time hardly depends on the keyframes, so it runs on one of the videos."""
    commands = {"ours": [sys.executable, "-c", OURS, str(video), str(out)]}
    if gop == 50:
        commands["opencv"] = [sys.executable, "-c", OPENCV, str(video), str(out)]
    if importlib.util.find_spec("torchcodec"):
        commands["torchcodec"] = [sys.executable, "-c", TORCHCODEC, str(video), str(out)]
    if shutil.which("ffmpeg"):
        commands["ffmpeg"] = ["ffmpeg", "-v", "error", "-i", str(video), "-vf", "fps=1", str(out / "%05d.jpg")]
    else:
        print("no ffmpeg here: the ratios against it are left out", file=sys.stderr)
    return commands


def timed(command: list[str], out: Path) -> tuple[float, dict[str, float]]:
    """Seconds of a command that writes into an empty folder, and the JSON that it prints."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    started_s = time.monotonic()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken_s = time.monotonic() - started_s
    return taken_s, json.loads(done.stdout) if done.stdout.strip() else {}


def encode(path: Path, gop: int) -> Path:
    """A fixed camera on a textured street with things moving through it, and sensor noise."""
    rng = np.random.default_rng(2019)
    width, height = SIZE
    ground = np.kron(rng.normal(0, 14, (height // 8, width // 8)), np.ones((8, 8))) + rng.normal(0, 8, (height, width))
    background = np.clip(110 + ground + np.linspace(-40, 40, height)[:, None], 0, 255)
    things = [
        {
            "size": (int(rng.integers(24, 110)), int(rng.integers(16, 90))),
            "start": rng.uniform(0, width),
            "speed": rng.uniform(-90, 90),
            "top": int(rng.integers(0, height - 120)),
            "level": rng.uniform(20, 235),
        }
        for _ in range(14)
    ]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.options = {"x264-params": "scenecut=0"}
        for number in range(MADE_S * FPS):
            image = background.copy()
            for thing in things:
                tall, wide = thing["size"]
                left = int(thing["start"] + thing["speed"] * number / FPS) % (width - wide)
                stripes = thing["level"] + 25 * np.sin(np.arange(wide) / 3)
                image[thing["top"] : thing["top"] + tall, left : left + wide] = stripes
            image += rng.normal(0, 2.5, image.shape)
            grey = np.clip(image, 0, 255).astype(np.uint8)
            colour = np.stack([grey, np.roll(grey, 2, 1), 255 - grey // 2], axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour, format="rgb24")))
        container.mux(stream.encode())
    return path


def repeat(part: Path, path: Path, seconds: float) -> Path:
    """The part over and over, packets copied, until it is so long."""
    with av.open(str(path), "w") as out:
        stream = None
        for turn in range(round(seconds / MADE_S)):
            with av.open(str(part)) as container:
                video = container.streams.video[0]
                stream = stream or out.add_stream_from_template(video)
                shift = round(turn * MADE_S / video.time_base)
                for packet in container.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                    out.mux(packet)
    return path


def random_reads(folder: Path, count: int) -> dict[str, float]:
    """Bytes that a process reads for 200 frames out of many, index and all, over the bytes of those frames.

    The frames are a quarter of the size that a day would have (so that the disk need not hold 9 GB), which makes the
    index weigh more, not less.
    """
    reader = FrameReader(folder / "out" / "pool")
    few = [reader.image(int(frame_id))[::2, ::2] for frame_id in reader.table.frame_ids[:25]]
    jpegs = [encode_jpeg(image, quality=92) for image in few]
    with FrameWriter(folder / "day", origin=Origin("bench")) as frames:
        for number in range(count):
            frames.add_jpeg(1000 * number, float(number), jpegs[number % len(jpegs)])
    wanted = 1000 * np.random.default_rng(1).choice(count, 200, replace=False)
    before = bytes_read()
    day = FrameReader(folder / "day")
    for _ in day.images(wanted):
        pass
    read = bytes_read() - before
    size = sum(len(jpeg) for jpeg in day.jpegs(wanted))
    started_s = time.monotonic()
    sequential = sum(len(images) for _, images in zip(range(200), (images for _, images in day.iter(16)), strict=False))
    seconds = time.monotonic() - started_s
    return {
        "random_read_amplification": read / size,
        "random_read_bytes_per_frame": size / len(wanted),
        "sequential_frames_per_second": sequential / seconds,
    }


def bytes_read() -> int:
    """Bytes that this process has asked the kernel for, cached or not."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


if __name__ == "__main__":
    main()
