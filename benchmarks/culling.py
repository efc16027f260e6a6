"""Speed of scoring and choosing frames, and of comparing student and teacher.

    python benchmarks/culling.py [--json FILE] [--rounds 3] [--cores 2] [--frames 86400] [--images 10000]

A day: 86,400 frames of ten student boxes in four classes, as a detections artifact. The cull-confidence stage runs in a
process of its own, confined to the cores: it reads the artifact, scores every frame, chooses 1,024 and writes the
selection. Then each strategy of the table chooses from the same day, in this process.

Comparing: per-image AP at IoU 0.5 of 10,000 frames of ten boxes in four classes, against pycocotools in a loop over the
images, as fast as it goes: its index built beforehand and not counted, one IoU, one area range, printing off.

Keys: select_86400_s          seconds of the stage, artifact to artifact, imports apart   goal < 5
      select_peak_mib         resident memory of its process at its peak                  goal < 1024
      ap_speedup_vs_pycocotools   seconds of the loop over ours, medians of the rounds    goal >= 20
      ap_max_abs_diff         largest difference of any image's AP                        goal <= 1e-9
      ap_s, ap_pycocotools_s  the seconds themselves
      choose_<strategy>_s     seconds to choose 256 of the day
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.header import Origin
from dataset_culling.evaluation.coco import coco_dict
from dataset_culling.strategies.base import CullInput
from dataset_culling.strategies.precision_loss import per_image_ap
from dataset_culling.strategies.table import STRATEGIES, choose_frames
from dataset_culling.types import Detections

CLASSES = ("person", "bicycle", "car", "truck")

STAGE = """
import sys, json, time
from pathlib import Path
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.cull_confidence.config import CullConfidenceConfig
from dataset_culling.stages.cull_confidence.stage import run
folder = Path(sys.argv[1])
start = time.perf_counter()
report = run(CullConfidenceConfig(budget=1024), {"detections": folder / "detections"},
             {"selection": folder / "selection"}, StageContext("cull-confidence"))
seconds = time.perf_counter() - start
status = Path("/proc/self/status").read_text()
peak_kib = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
print(json.dumps({"seconds": seconds, "peak_mib": peak_kib / 1024, "kept": report.counts["kept"]}))
"""


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=3, help="turns that every contender gets")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    parser.add_argument("--frames", type=int, default=86_400, help="frames of the day")
    parser.add_argument("--images", type=int, default=10_000, help="images compared")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    figures: dict[str, float] = {}
    figures.update(stage(options.frames, options.rounds))
    figures.update(strategies(options.frames))
    figures.update(comparing(options.images, options.rounds))
    for name, value in figures.items():
        print(f"{name:32} {value:.3g}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def footage(num_frames: int, *, seed: int) -> tuple[Detections, Detections]:
    """A student's and a teacher's boxes: ten each in every frame, the student's shifted, some missed and some false."""
    rng = np.random.default_rng(seed)
    total = 10 * num_frames
    corner, sides = rng.uniform(0, 1000, (total, 2)), rng.uniform(10, 150, (total, 2))
    teacher = np.concatenate([corner, corner + sides], axis=1)
    student = teacher + rng.normal(0, 4, teacher.shape)
    elsewhere = rng.uniform(size=total) < 0.3
    student[elsewhere] += 500
    student[:, 2:] = np.maximum(student[:, 2:], student[:, :2] + 1)
    classes = rng.integers(0, len(CLASSES), total)
    return tuple(
        Detections(
            frame_ids=np.arange(num_frames),
            time_s=np.arange(float(num_frames)),
            offsets=np.arange(0, total + 1, 10),
            boxes_xyxy=boxes.astype(np.float32),
            scores=rng.uniform(0.05, 1, total).astype(np.float32),
            class_ids=classes,
            class_names=CLASSES,
            scored=np.ones(num_frames, np.bool_),
            ignore=np.zeros(total, np.bool_),
        )
        for boxes in (student, teacher)
    )  # type: ignore[return-value]


def stage(num_frames: int, rounds: int) -> dict[str, float]:
    """The stage in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_detections(folder / "detections", footage(num_frames, seed=0)[0], Origin("benchmark"))
        runs = [
            json.loads(subprocess.run([sys.executable, "-c", STAGE, name], capture_output=True, check=True).stdout)
            for _ in range(rounds)
        ]
    return {
        "select_86400_s" if num_frames == 86_400 else f"select_{num_frames}_s": statistics.median(
            run["seconds"] for run in runs
        ),
        "select_peak_mib": max(run["peak_mib"] for run in runs),
    }


def strategies(num_frames: int) -> dict[str, float]:
    """Every strategy on the same day, once."""
    pool = CullInput(*footage(num_frames, seed=0))
    figures = {}
    for name in STRATEGIES:
        start = time.perf_counter()
        choose_frames(name, pool, budget=256, min_gap_s=2.0)
        figures[f"choose_{name.replace('-', '_').replace('+', '_')}_s"] = time.perf_counter() - start
    return figures


def comparing(num_images: int, rounds: int) -> dict[str, float]:
    """Ours and pycocotools in turns on the same boxes."""
    student, teacher = footage(num_images, seed=1)
    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        for coco, boxes in ((truth, teacher), (found, student)):
            coco.dataset = coco_dict(boxes, boxes.ignore)
            coco.createIndex()
    ours_s, theirs_s = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        ours = per_image_ap(student, teacher)
        ours_s.append(time.perf_counter() - start)
        start = time.perf_counter()
        theirs = pycocotools_loop(truth, found, student, teacher)
        theirs_s.append(time.perf_counter() - start)
    return {
        "ap_speedup_vs_pycocotools": statistics.median(theirs_s) / statistics.median(ours_s),
        "ap_max_abs_diff": float(np.abs(ours - theirs).max()),
        "ap_s": statistics.median(ours_s),
        "ap_pycocotools_s": statistics.median(theirs_s),
    }


def pycocotools_loop(truth: COCO, found: COCO, student: Detections, teacher: Detections) -> np.ndarray:
    """Per-image AP at IoU 0.5 as a user of pycocotools would get it: one evaluation for each image."""
    result = np.ones(len(teacher))
    with contextlib.redirect_stdout(io.StringIO()):
        run = COCOeval(truth, found, "bbox")  # made once: making it sorts all image ids
        run.params.iouThrs = np.array([0.5])
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [100]
        for row, frame_id in enumerate(teacher.frame_ids.tolist()):
            run.params.imgIds = [frame_id]
            run.evaluate()
            run.accumulate()
            ap = run.eval["precision"][0, :, :, 0, 0].mean(axis=0)
            seen = np.isin(np.arange(len(ap)), student.image(row).class_ids)
            present = (ap >= 0) | seen  # a class that only the student sees has no figure there, and 0 here
            if present.any():
                result[row] = np.maximum(ap[present], 0).mean()
    return result


if __name__ == "__main__":
    main()
