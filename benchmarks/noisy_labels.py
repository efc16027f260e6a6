"""Remedies for a student that learns from incomplete labels: ignore regions, soft labels, boxes filled along tracks.

    python benchmarks/noisy_labels.py [--json FILE] [--scenes demo,street-night-rain,crossing] [--minutes 20] [--fps 1]
                                      [--misses 10,20,40] [--kinds boxes,objects,faint] [--seeds 3] [--epochs 20]
                                      [--arms plain,ignore,soft,tracks,all] [--pool 256] [--frames 64]
                                      [--device cpu] [--quick]

The embedded teacher labels the frames that the confidence cull keeps of a simulated camera; on purpose it then misses a
share: random boxes (boxes), all of some objects (objects), or it sees random boxes with a score below the bar, of
which some are left as doubtful (faint). The embedded student learns from the frames that the precision cull keeps by
the labels as they were, so that all arms learn from the same frames, and is measured on later frames against the truth:
    plain    sure boxes are objects, all else is background
    ignore   doubtful boxes are ignore regions: the job's default
    soft     doubtful boxes are objects too, and each counts by its score (recipe.soft_labels 1)
    tracks   plain, with labels repaired along tracks (label_frames.tracks), which may make ignore regions of its own
    all      ignore, tracks and soft labels
Printed as Markdown: mean and spread (smallest to largest) over seeds of both misses and training, and what an arm after
`plain` has more than it by the same seed, with the standard deviation. Keys, 0..100:
    SCENE_raw                          the student before
    SCENE_none_0_ARM_SEED              mAP@50 against the truth with nothing missed
    SCENE_KIND_MISSED_ARM_SEED         the same with labels missing
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tracks import INDOORS, STREET, Watched, spoil, watch  # benchmarks/tracks.py, beside this

if TYPE_CHECKING:
    from dataset_culling.training.data import Sample
    from dataset_culling.types import Detections, ImageArray, IntArray

ARMS = ("plain", "ignore", "soft", "tracks", "all")
GAP_S = 60.0
"""Between the last frame learned from and the first one judged on."""
JUDGED_EVERY_S = 4.0


@dataclass(frozen=True, slots=True)
class InMemory:
    """Labelled frames (see `training.data.TrainingSet`)."""

    images: list[ImageArray]
    labels: Detections

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Sample:
        from dataset_culling.training.data import Sample

        boxes = self.labels.image(row)
        return Sample(self.images[row], boxes.boxes_xyxy, boxes.class_ids, self.labels.image_ignore(row), boxes.scores)

    def name(self, row: int) -> str:
        """The frame's number."""
        return f"frame {self.labels.frame_ids[row]}"


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--scenes", default="demo,street-night-rain,crossing", help="of `culling simulate`")
    parser.add_argument("--minutes", type=float, default=20.0, help="learned from; a third more is judged on")
    parser.add_argument("--fps", type=float, default=1.0, help="frames a second")
    parser.add_argument("--misses", default="10,20,40", help="shares that the teacher misses, %%")
    parser.add_argument("--kinds", default="boxes,objects,faint", help="kinds of misses")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--epochs", type=int, default=20, help="of each training")
    parser.add_argument("--arms", default=",".join(ARMS), help="of those above")
    parser.add_argument("--pool", type=int, default=256, help="frames that the teacher labels")
    parser.add_argument("--frames", type=int, default=64, help="frames learned from")
    parser.add_argument("--device", default="cpu", help="device of the training")
    parser.add_argument("--quick", action="store_true", help="one camera, one seed, one share, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.scenes, options.minutes, options.misses, options.kinds = "demo", 1.0, "40", "boxes"
        options.seeds, options.epochs, options.pool, options.frames = 1, 6, 24, 8
    if unknown := sorted(set(options.arms.split(",")) - set(ARMS)):
        parser.error(f"--arms: expected some of {', '.join(ARMS)}, found {unknown[0]!r}")
    arms = options.arms.split(",")
    figures: dict[str, float] = {}
    print(f"| camera | missed | {' | '.join(arms)} |\n|---|---|{'---|' * len(arms)}")
    for scene in options.scenes.split(","):
        one_camera(scene, arms, options, figures)


def one_camera(scene: str, arms: list[str], options: argparse.Namespace, figures: dict[str, float]) -> None:
    """Every arm at every share of one camera; the file is written after each share, so that a stop loses one."""
    started = time.perf_counter()
    seconds = options.minutes * 60
    pool = watch(scene, np.arange(0, seconds, 1 / options.fps))
    judged = watch(scene, np.arange(seconds + GAP_S, seconds * 4 / 3 + GAP_S, JUDGED_EVERY_S))
    labelled, kept = culled(pool, options)
    images = [pool.camera.frame(float(pool.truth.time_s[row])).image for row in kept]
    exam = [judged.camera.frame(time_s).image for time_s in judged.truth.time_s.tolist()]
    figures[f"{scene}_raw"] = judge(judged, judged.student)
    misses = [
        ("none", 0),
        *((kind, int(one)) for kind in options.kinds.split(",") for one in options.misses.split(",")),
    ]
    for kind, percent in misses:
        cells = []
        for arm in arms:
            found = []
            for seed in range(options.seeds):
                spoilt = pool.teacher if kind == "none" else spoil(pool, kind, percent / 100, seed=seed)
                labels = prepared(spoilt.take(labelled), pool.student, arm)
                samples = InMemory(images, labels.take(labels.rows_of(pool.truth.frame_ids[kept])))
                found.append(learned(scene, samples, judged, exam, arm, seed, options))
                figures[f"{scene}_{kind}_{percent}_{arm}_{seed}"] = found[-1]
            plain = [figures.get(f"{scene}_{kind}_{percent}_plain_{seed}", math.nan) for seed in range(options.seeds)]
            more = np.subtract(found, plain)
            spread = f" ± {more.std(ddof=1):.1f}" if len(more) > 1 else ""
            beside = "" if arm == "plain" or np.isnan(more).any() else f"; {more.mean():+.1f}{spread}"
            cells.append(f"{np.mean(found):.1f} ({min(found):.1f} to {max(found):.1f}{beside})")
        if options.json:
            options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        missed = "nothing" if kind == "none" else f"{percent} % of {kind}"
        print(f"| {scene} | {missed} | {' | '.join(cells)} |", flush=True)
    print(f"{scene}: {figures[f'{scene}_raw']:.1f} before training; {time.perf_counter() - started:.0f} s", flush=True)


def culled(pool: Watched, options: argparse.Namespace) -> tuple[IntArray, IntArray]:
    """Rows that the teacher labels and rows that are learned from, both ascending; by labels that lack nothing."""
    from dataset_culling.strategies.base import CullInput
    from dataset_culling.strategies.table import choose_frames

    first = np.sort(choose_frames("confidence", CullInput(pool.student), budget=options.pool, seed=0).frame_ids)
    rows = pool.student.rows_of(first)
    both = CullInput(pool.student, pool.teacher).take(rows)
    second = choose_frames("precision", both, budget=options.frames, seed=0).frame_ids
    return rows, pool.student.rows_of(np.sort(second))


def prepared(labels: Detections, student: Detections, arm: str) -> Detections:
    """The labels as an arm learns from them."""
    from dataset_culling.labeling.tracks import TrackRules, mend

    if arm == "soft":
        return replace(labels, ignore=np.zeros_like(labels.ignore))
    if arm in ("plain", "tracks"):
        doubtful = labels.ignore
    else:
        doubtful = np.zeros_like(labels.ignore)
    if arm in ("tracks", "all"):
        mended = mend(labels, TrackRules(enabled=True), student=student)
        # What was doubtful and is not confirmed by its track goes where the arm without tracks has it.
        still = doubtful[mended.stands_on] & mended.labels.ignore & (np.array(mended.source) == "teacher")
        return mended.labels.keep_boxes(~still)
    return labels.keep_boxes(~doubtful)


def learned(
    scene: str,
    samples: InMemory,
    judged: Watched,
    exam: list[ImageArray],
    arm: str,
    seed: int,
    options: argparse.Namespace,
) -> float:
    """mAP@50 against the truth of a student that learned from the samples, 0..100."""
    import torch

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.training.loop import train
    from dataset_culling.training.recipe import Recipe
    from dataset_culling.types import ClassMap, Detections

    classes = ("person",) if scene in INDOORS else STREET
    student = load_trainable(DetectorRef(name="tiny"), device=options.device)
    student = student.specialise(ClassMap({name: (name,) for name in classes}))
    recipe = Recipe(epochs=options.epochs, seed=seed, soft_labels=1.0 if arm in ("soft", "all") else 0.0)
    train(student, samples, recipe)
    with torch.inference_mode():
        found = [student.detect([student.prepare(image)], min_score=0.05)[0] for image in exam]
    truth = judged.truth
    return judge(
        judged,
        Detections.from_images(found, frame_ids=truth.frame_ids, time_s=truth.time_s, class_names=truth.class_names),
    )


def judge(judged: Watched, found: Detections) -> float:
    """mAP@50 against the truth, 0..100."""
    from dataset_culling.evaluation.coco import evaluate

    return 100 * evaluate(found, judged.truth).map_50


if __name__ == "__main__":
    main()
