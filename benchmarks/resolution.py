"""Relative change of the confidence loss beside the loss of AP: the choice of optResolution's threshold.

    python benchmarks/resolution.py [--json FILE] [--frames 160] [--kept 32] [--cores 2]

The embedded student, untrained, on simulated cameras that pretraining never saw. Of the frames of each scene the
hardest by confidence are kept, as a cull would; at each size the change of their loss (what the stage compares with its
threshold) stands beside AP at IoU 0.5 against the true boxes, on the kept frames and on all of them.

For each threshold: the scale that it chooses in each scene, the points of AP that it costs there, and the share of the
cost of an image that is left. The last row is the other judge, AP within a point of the best size's.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.resolution.scale import choose_scale_by_ap, relative_change, sides_to_try
from dataset_culling.simulation import CLASS_NAMES, SimulatedCamera, demo_scene
from dataset_culling.strategies.confidence_loss import frame_loss
from dataset_culling.types import Detections, ImageDetections, parse_classes

SCENES = ("demo", "street-far", "street-night-rain", "lobby", "court")
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
CLASSES = CLASS_NAMES[:4]


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--frames", type=int, default=160, help="frames of each scene, 9 s apart")
    parser.add_argument("--kept", type=int, default=32, help="frames that the cull keeps of them")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    curves = {scene: curve_of(scene, options.frames, options.kept) for scene in SCENES}
    for scene, curve in curves.items():
        print(f"\n{scene:20} scale  change  AP kept  AP all")
        for point in curve:
            print(f"{'':20} {point['scale']:.3f}  {point['change']:6.3f}  {100 * point['ap_kept']:7.1f}  "
                  f"{100 * point['ap_all']:6.1f}")  # fmt: skip
    print("\nthreshold: scale, points of AP lost on all frames, by scene; mean; share of an image's cost left")
    for threshold in THRESHOLDS:
        report(f"{threshold:5.2f}", curves, [choose(curve, threshold) for curve in curves.values()])
    report("by AP", curves, [choose_by_ap(curve) for curve in curves.values()])
    if options.json:
        options.json.write_text(json.dumps(curves, indent=1) + "\n", encoding="utf-8")


def curve_of(scene: str, num_frames: int, num_kept: int) -> list[dict[str, float]]:
    """Change of the loss and AP at every size, the full one first."""
    camera, student = SimulatedCamera(demo_scene(scene)), load_trainable(DetectorRef(name="tiny"))
    times_s = 40.0 + 9.0 * np.arange(num_frames)
    shown = [camera.frame(float(time_s)) for time_s in times_s]
    images = [frame.image for frame in shown]
    truth = gathered(
        [
            ImageDetections(f.boxes_xyxy[k], np.ones(int(k.sum()), np.float32), f.class_ids[k])
            for f in shown
            for k in (~f.ignore & (f.class_ids < len(CLASSES)),)
        ],
        times_s,
    )
    height, width = images[0].shape[:2]
    full = min(student.network_size(height, width))
    sides = sides_to_try(full, 0.9, lambda side: min(student.network_size(height, width, side)), down=7)
    class_map = parse_classes(CLASSES)
    index = class_map.index_for(student.name, student.class_names)
    curve: list[dict[str, float]] = []
    kept = np.zeros(0, np.int64)
    full_loss = np.zeros(0)
    for scale, side in sides.items():
        boxes = student.predict(images, side_px=side)
        found = gathered([class_map.apply(image, index) for image in boxes], times_s)
        loss = frame_loss(found)
        if not curve:
            kept = np.sort(np.argsort(-loss, kind="stable")[:num_kept])
            full_loss = loss[kept]
        curve.append(
            {
                "scale": scale,
                "change": relative_change(full_loss, loss[kept]),
                "ap_kept": evaluate(found.take(kept), truth.take(kept)).map_50,
                "ap_all": evaluate(found, truth).map_50,
            }
        )
    return curve


def gathered(images: list[ImageDetections], times_s: np.ndarray) -> Detections:
    """Boxes of frames at the given times."""
    return Detections.from_images(images, frame_ids=np.arange(len(images)), time_s=times_s, class_names=CLASSES)


def report(name: str, curves: dict[str, list[dict[str, float]]], chosen: list[dict[str, float]]) -> None:
    """One row: what a rule chooses in each scene, and what that costs."""
    lost = [100 * (curve[0]["ap_all"] - point["ap_all"]) for curve, point in zip(curves.values(), chosen, strict=True)]
    cells = "  ".join(f"{point['scale']:.2f} {points:+5.1f}" for point, points in zip(chosen, lost, strict=True))
    cost = float(np.mean([point["scale"] ** 2 for point in chosen]))
    print(f"{name}: {cells}   mean {np.mean(lost):+.1f}   cost {cost:.2f}")


def choose_by_ap(curve: list[dict[str, float]]) -> dict[str, float]:
    """The smallest size within a point of the best one's AP on all frames."""
    ap = np.array([point["ap_all"] for point in curve])
    scale = choose_scale_by_ap([point["scale"] for point in curve], ap, tolerance=0.01)
    return next(point for point in curve if point["scale"] == scale)


def choose(curve: list[dict[str, float]], threshold: float) -> dict[str, float]:
    """The last size before the first whose change exceeds the threshold, as the stage chooses."""
    chosen = curve[0]
    for point in curve[1:]:
        if point["change"] > threshold:
            break
        chosen = point
    return chosen


if __name__ == "__main__":
    main()
