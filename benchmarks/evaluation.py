"""Speed of COCO's figures, and their difference from pycocotools.

    python benchmarks/evaluation.py [--json FILE] [--rounds 3] [--cores 2] [--images 21600]

The paper's validation part: 21,600 frames (six hours at one a second), ten teacher boxes and thirteen student boxes
each in four classes, a tenth of the teacher's boxes ignore regions. mAP at ten IoU thresholds and four area ranges.

    ours          `evaluate`, from arrays to figures
    pycocotools   evaluate() and accumulate() alone: conversion and index are not counted, printing is off

hotcoco and faster-coco-eval run too where they are installed (neither is a dependency), likewise without conversion.

Keys: evaluation_speedup_vs_pycocotools   seconds of pycocotools over ours, medians of the rounds    goal >= 20
      evaluation_max_abs_diff             largest difference of any class, area and IoU threshold    goal <= 1e-6
      evaluation_s, evaluation_pycocotools_s, evaluation_peak_mib   seconds, and ours' own memory at its peak
      evaluation_<other>_s, evaluation_<other>_max_abs_diff         where installed
      evaluation_<other>_index_s                 from arrays to its index, once; what a user of ours pays besides
      evaluation_awkward_max_abs_diff, evaluation_<other>_awkward_max_abs_diff
                                        the same of ties, crowds, empty classes and more than maxDets boxes: the sets
                                        of tests/awkward_boxes.py, three seeds each
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import io
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from culling import footage
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dataset_culling.evaluation.coco import _ap_table, coco_dict, evaluate
from dataset_culling.types import Detections


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=3, help="turns that every contender gets")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    parser.add_argument("--images", type=int, default=21_600, help="frames evaluated")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    student, teacher = six_hours(options.images)
    contenders: dict[str, Callable[[], tuple[float, np.ndarray]]] = {}
    index_s: dict[str, float] = {}
    index_s["pycocotools"], contenders["pycocotools"] = reference(student, teacher, COCO, COCOeval)
    others: list[tuple[str, Any, Any]] = []
    for name, module in (("hotcoco", "hotcoco"), ("faster_coco_eval", "faster_coco_eval")):
        with contextlib.suppress(ImportError):
            found = importlib.import_module(module)
            run = getattr(found, "COCOeval", None) or found.COCOeval_faster
            others.append((name, found.COCO, run))
            index_s[name], contenders[name] = reference(student, teacher, found.COCO, run)
    ours_s: list[float] = []
    theirs_s: dict[str, list[float]] = {name: [] for name in contenders}
    tables: dict[str, np.ndarray] = {}
    for _ in range(options.rounds):
        start = time.perf_counter()
        evaluate(student, teacher)
        ours_s.append(time.perf_counter() - start)
        for name, contender in contenders.items():
            seconds, tables[name] = contender()
            theirs_s[name].append(seconds)
    tracemalloc.start()
    ours = _ap_table(student, teacher)
    peak_mib = tracemalloc.get_traced_memory()[1] / 2**20
    figures = {
        "evaluation_speedup_vs_pycocotools": statistics.median(theirs_s["pycocotools"]) / statistics.median(ours_s),
        "evaluation_max_abs_diff": float(np.abs(ours - tables["pycocotools"]).max()),
        "evaluation_s": statistics.median(ours_s),
        "evaluation_peak_mib": peak_mib,
    }
    for name, seconds in theirs_s.items():
        figures[f"evaluation_{name}_s"] = statistics.median(seconds)
        figures[f"evaluation_{name}_index_s"] = index_s[name]
        if name != "pycocotools":
            figures[f"evaluation_{name}_max_abs_diff"] = float(np.abs(tables[name] - tables["pycocotools"]).max())
    for name, value in awkward(others).items():
        figures[f"evaluation_{name}_awkward_max_abs_diff" if name else "evaluation_awkward_max_abs_diff"] = value
    for name, value in figures.items():
        print(f"{name:44} {value:.3g}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def awkward(others: Sequence[tuple[str, Any, Any]]) -> dict[str, float]:
    """Largest difference of each from pycocotools on sets that are made to tell evaluations apart; "" is ours."""
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    from awkward_boxes import AWKWARD, data

    worst: dict[str, float] = {}
    sets = [data(name, seed) for name in AWKWARD for seed in range(3)]
    for student, teacher in [*sets, data("ordinary", 0, num_frames=10, false_per_frame=500)]:
        _, right = reference(student, teacher, COCO, COCOeval)[1]()
        found = {"": _ap_table(student, teacher)}
        for name, coco_class, eval_class in others:
            found[name] = reference(student, teacher, coco_class, eval_class)[1]()[1]
        for name, table in found.items():
            worst[name] = max(worst.get(name, 0.0), float(np.abs(table - right).max()))
    return worst


def six_hours(num_frames: int) -> tuple[Detections, Detections]:
    """A student's and a teacher's boxes; a tenth of the teacher's are doubtful."""
    student, teacher = footage(num_frames, seed=2)
    rng = np.random.default_rng(3)
    false = rng.integers(0, len(student.scores), 3 * num_frames)
    order = np.argsort(np.concatenate([student.frame_rows(), student.frame_rows()[false]]), kind="stable")
    moved = student.boxes_xyxy[false] + rng.uniform(-300, 300, (len(false), 1)).astype(np.float32)
    both = np.concatenate([student.boxes_xyxy, moved])[order]
    more = dataclasses.replace(
        student,
        offsets=np.concatenate([[0], np.cumsum(np.bincount(student.frame_rows(), minlength=num_frames)
                                               + np.bincount(student.frame_rows()[false], minlength=num_frames))]),
        boxes_xyxy=both,
        scores=rng.uniform(0.05, 1, len(order)).astype(np.float32),
        class_ids=np.concatenate([student.class_ids, student.class_ids[false]])[order],
        ignore=np.zeros(len(order), np.bool_),
    )  # fmt: skip
    return more, dataclasses.replace(teacher, ignore=rng.uniform(size=len(teacher.scores)) < 0.1)


def reference(
    student: Detections, teacher: Detections, coco_class: Any, eval_class: Any
) -> tuple[float, Callable[[], tuple[float, np.ndarray]]]:
    """A library with pycocotools' interface: seconds from arrays to its index, and one run of it, which gives its own
    seconds, and AP by class, area and threshold."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        sets = []
        for boxes in (teacher, student):
            described = coco_dict(boxes, boxes.ignore)
            try:
                coco = coco_class()
                coco.dataset = described
                coco.createIndex()
            except (TypeError, AttributeError):
                coco = coco_class(described)
            sets.append(coco)
    index_s = time.perf_counter() - started

    def run() -> tuple[float, np.ndarray]:
        with contextlib.redirect_stdout(io.StringIO()):
            start = time.perf_counter()
            one = eval_class(*sets, "bbox")
            one.evaluate()
            one.accumulate()
            seconds = time.perf_counter() - start
        precision = np.asarray(one.eval["precision"])
        size = (len(one.params.iouThrs), 101, len(teacher.class_names), 4, len(one.params.maxDets))
        return seconds, precision.reshape(size)[..., -1].mean(axis=1).transpose(1, 2, 0)

    return index_s, run


if __name__ == "__main__":
    main()
