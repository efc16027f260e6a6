"""A few frames of the simulated camera as artifacts, with their true boxes: for stages that look at real images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset_culling.artifacts.frames import FrameWriter, frame_id_of
from dataset_culling.artifacts.header import Origin
from dataset_culling.simulation import CLASS_NAMES, SimulatedCamera, demo_scene
from dataset_culling.types import Detections, ImageDetections

CLASSES = CLASS_NAMES[:4]  # without dogs, the rare class
ORIGIN = Origin("test")


def write_camera_frames(folder: Path, times_s: list[float]) -> Detections:
    """Write frames/1 into `folder`.

    Args:
        folder: The artifact's directory.
        times_s: When to look, rising.

    Returns:
        The true boxes, scores 1.
    """
    camera = SimulatedCamera(demo_scene("demo"))
    shown = []
    with FrameWriter(folder, origin=ORIGIN) as writer:
        for time_s in times_s:
            frame = camera.frame(time_s)
            writer.add(frame_id_of(time_s), time_s, frame.image)
            kept = ~frame.ignore & (frame.class_ids < len(CLASSES))
            shown.append(
                ImageDetections(frame.boxes_xyxy[kept], np.ones(int(kept.sum()), np.float32), frame.class_ids[kept])
            )
    return Detections.from_images(
        shown,
        frame_ids=np.array([frame_id_of(time_s) for time_s in times_s]),
        time_s=np.array(times_s, np.float64),
        class_names=CLASSES,
    )
