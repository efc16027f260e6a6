"""Write a simulated camera's footage as a video, with the true boxes beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av

from dataset_culling.simulation.camera import SimulatedFrame
from dataset_culling.simulation.config import CLASS_NAMES, SceneConfig


class Camera(Protocol):
    """The part of a simulated camera that `write_video` needs."""

    scene: SceneConfig

    def frame(self, time_s: float) -> SimulatedFrame: ...


def write_video(
    camera: Camera,
    path: Path,
    *,
    fps: float,
    duration_s: float,
    truth_path: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write an H.264 video and its true boxes as COCO json, frame by frame; both appear completely or not at all.

    Args:
        camera: Renders the frames.
        path: The video, .mp4 or .mkv; a keyframe every two seconds.
        fps: Frames per second.
        duration_s: Seconds of video; at least one frame is written.
        truth_path: COCO json: image ids are frame numbers, images carry time_s, annotations track_id; objects too small
            or too hidden have iscrowd 1.
        on_progress: Called with (frames done, frames in all).

    Raises:
        OSError: If either cannot be written.
    """
    total = max(1, round(fps * duration_s))
    rate = Fraction(fps).limit_denominator(1000)
    video_part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    truth_part = truth_path.with_name(f".{truth_path.name}.{os.getpid()}.part")
    boxes_part = truth_path.with_name(f".{truth_path.name}.{os.getpid()}.boxes")
    try:
        with (
            av.open(str(video_part), "w") as container,
            truth_part.open("w", encoding="utf-8") as truth,
            boxes_part.open("w+", encoding="utf-8") as boxes,
        ):
            options = {"preset": "superfast", "crf": "26", "g": str(max(1, round(2 * fps))), "threads": "1"}
            stream = container.add_stream("libx264", rate=rate, options=options)
            stream.width, stream.height, stream.pix_fmt = camera.scene.width_px, camera.scene.height_px, "yuv420p"
            stream.thread_count = 1  # x264's slices, and so the bytes, depend on its threads
            categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES)]
            info = {"description": "simulated camera", "scene": camera.scene.model_dump(mode="json"), "fps": fps}
            truth.write(f'{{"info": {json.dumps(info)}, "categories": {json.dumps(categories)},\n"images": [\n')
            number = 0
            for index in range(total):
                frame = camera.frame(round(index / float(rate), 6))
                for packet in stream.encode(av.VideoFrame.from_ndarray(frame.image, format="rgb24")):
                    container.mux(packet)
                image = {
                    "id": index,
                    "file_name": f"{index:08d}.jpg",
                    "width": camera.scene.width_px,
                    "height": camera.scene.height_px,
                    "time_s": round(index / float(rate), 6),
                    "hour": round(frame.hour, 4),
                }
                truth.write(json.dumps(image) + (",\n" if index + 1 < total else "\n"))
                for k in range(len(frame.class_ids)):
                    number += 1
                    x1, y1, x2, y2 = (float(value) for value in frame.boxes_xyxy[k])
                    box = {
                        "id": number,
                        "image_id": index,
                        "category_id": int(frame.class_ids[k]) + 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": int(frame.ignore[k]),
                        "track_id": int(frame.track_ids[k]),
                        "visible": round(float(frame.visible_fraction[k]), 3),
                    }
                    boxes.write(("" if number == 1 else ",\n") + json.dumps(box))
                if on_progress is not None:
                    on_progress(index + 1, total)
            for packet in stream.encode():
                container.mux(packet)
            truth.write('],\n"annotations": [\n')
            boxes.seek(0)
            while chunk := boxes.read(1 << 20):
                truth.write(chunk)
            truth.write("\n]}\n")
        os.replace(truth_part, truth_path)
        os.replace(video_part, path)
    finally:
        for part in (video_part, truth_part, boxes_part):
            part.unlink(missing_ok=True)
