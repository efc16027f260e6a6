"""Effect of linking objects over time on the teacher's labels, against the truth of simulated cameras.

    python benchmarks/tracks.py [--json FILE] [--scenes demo,street-night-rain,lobby,crossing] [--minutes 20] [--fps 1]
                                [--budget 256] [--misses 0,10,20,40] [--kinds boxes,objects] [--seed 0]
                                [--set KEY VALUE ...] [--quick]

Embedded student and teacher run on every frame of the camera. Two sets of labels: `culled`, the frames that the
confidence cull keeps, as the labelling of the pool has them, with the student's boxes on all others to link by; and
`all`, every frame with the teacher alone, as the labelling of the held-out part has them. On purpose the teacher then
misses a share of its boxes: random ones (boxes), or all of some objects (objects; nothing tells of those). `--set`
changes a key of label_frames.tracks, --quick is a minute of one camera. Printed as Markdown; keys, for each SCENE, SET,
KIND and MISSED (%), each before and after:
    SCENE_SET_KIND_MISSED_precision_before, ..._after     at IoU 0.5, 0..100; ignore regions are left out
    ..._recall, ..._map_50                                the same; mAP with the labels' scores
    ..._recall_all                                        over all true objects: those in ignore regions count as missed
    ..._class_errors                                      labels on an object of another class
    ..._filled, _confirmed, _guessed, _doubted, _flicker, _reclassed, _duplicates    boxes that were touched
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from dataset_culling.simulation.camera import SimulatedCamera
    from dataset_culling.types import Detections, IntArray

INDOORS = ("lobby", "court", "court-far", "court-near")
STREET = ("person", "bicycle", "car", "truck")
DOUBTFUL_SCORE, MIN_SCORE = 0.3, 0.5
"""The defaults of label_frames."""
FIGURES = ("precision", "recall", "recall_all", "map_50", "class_errors")
TOUCHED = ("filled", "confirmed", "guessed", "doubted", "flicker", "reclassed", "duplicates")


@dataclass(frozen=True, slots=True)
class Watched:
    """A camera's frames with true boxes and the boxes of both detectors."""

    camera: SimulatedCamera
    truth: Detections
    object_ids: IntArray  # of each true box
    teacher: Detections  # doubtful boxes marked
    student: Detections


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--scenes", default="demo,street-night-rain,lobby,crossing", help="of `culling simulate`")
    parser.add_argument("--minutes", type=float, default=20.0, help="of each camera")
    parser.add_argument("--fps", type=float, default=1.0, help="frames a second")
    parser.add_argument("--budget", type=int, default=256, help="frames that the cull keeps")
    parser.add_argument("--misses", default="0,10,20,40", help="shares that the teacher misses, %%")
    parser.add_argument("--kinds", default="boxes,objects", help="kinds of misses")
    parser.add_argument("--seed", type=int, default=0, help="of the misses")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="a rule to try")
    parser.add_argument("--quick", action="store_true", help="a minute of one camera, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.scenes, options.minutes, options.budget, options.misses = "demo", 1.0, 20, "0,40"
    figures: dict[str, float] = {}
    print(
        "| camera | frames | missed | precision | recall | recall of all | mAP@50 | misnamed "
        "| filled, confirmed | doubted, flicker |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for scene in options.scenes.split(","):
        started = time.perf_counter()
        watched = watch(scene, np.arange(0, options.minutes * 60, 1 / options.fps))
        figures |= one_camera(scene, watched, options)
        print(f"{scene}: {time.perf_counter() - started:.0f} s", flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def one_camera(scene: str, watched: Watched, options: argparse.Namespace) -> dict[str, float]:
    """Labels of one camera before and after, for each set, kind and share."""
    from dataset_culling.config import parse_config
    from dataset_culling.labeling.tracks import TrackRules, mend
    from dataset_culling.strategies.base import CullInput
    from dataset_culling.strategies.table import choose_frames
    from experiments.label_noise import label_quality

    rules = parse_config(TrackRules, {"enabled": True, **dict(options.set)}, where="--set")
    chosen = choose_frames("confidence", CullInput(watched.student), budget=options.budget, seed=0).frame_ids
    culled = watched.student.rows_of(np.sort(chosen))
    figures: dict[str, float] = {}
    for name, rows, student in (("culled", culled, watched.student), ("all", np.arange(len(watched.truth)), None)):
        for kind in options.kinds.split(","):
            for percent in (int(one) for one in options.misses.split(",")):
                if percent == 0 and kind != options.kinds.split(",")[0]:
                    continue  # nothing is missed, whatever the kind
                labels = spoil(watched, kind, percent / 100, seed=options.seed).take(rows)
                mended = mend(labels, rules, student=student)
                truth = watched.truth.take(rows)
                before, after = label_quality(labels, truth), label_quality(mended.labels, truth)
                key = f"{scene}_{name}_{kind}_{percent}"
                cells = []
                for figure in FIGURES:
                    scale = 1 if figure == "class_errors" else 100
                    pair = [scale * float(getattr(side, figure)) for side in (before, after)]
                    figures[f"{key}_{figure}_before"], figures[f"{key}_{figure}_after"] = pair
                    cells.append(" → ".join(f"{one:.0f}" if scale == 1 else f"{one:.1f}" for one in pair))
                figures |= {f"{key}_{what}": float(mended.counts[what]) for what in TOUCHED}
                count = mended.counts
                print(
                    f"| {scene} | {name} {len(rows)} | {percent} % of {kind} | {' | '.join(cells)} "
                    f"| {count['filled']}, {count['confirmed']} | {count['doubted']}, {count['flicker']} |",
                    flush=True,
                )
    return figures


def spoil(watched: Watched, kind: str, share: float, *, seed: int) -> Detections:
    """The teacher's labels as if it missed a share: of boxes, of objects, or faint: they lose score, not all."""
    from experiments.label_noise import miss_boxes, miss_objects

    if kind == "boxes":
        return miss_boxes(watched.teacher, share, seed=seed)
    if kind == "objects":
        return miss_objects(watched.teacher, watched.truth, watched.object_ids, share, seed=seed)
    if kind == "faint":
        return faint(watched.teacher, share, seed=seed)
    raise SystemExit(f"--kinds: expected boxes, objects or faint, found {kind!r}")


def faint(labels: Detections, share: float, *, seed: int) -> Detections:
    """Give random boxes a score from 0 to `MIN_SCORE`: some become doubtful, most of them vanish."""
    rng = np.random.default_rng(seed)
    hit = (rng.random(len(labels.scores)) < share) & ~labels.ignore
    scores = np.where(hit, MIN_SCORE * rng.random(len(hit)), labels.scores).astype(np.float32)
    faded = replace(labels, scores=scores, ignore=labels.ignore | hit)
    return faded.keep_boxes(scores >= np.float32(DOUBTFUL_SCORE))


def watch(scene: str, times_s: np.ndarray) -> Watched:
    """Film the camera at the given seconds; run the embedded student and teacher on every frame."""
    import torch

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.simulation.camera import SimulatedCamera
    from dataset_culling.simulation.config import CLASS_NAMES, SCENES
    from dataset_culling.types import ClassMap, Detections, ImageDetections

    classes = ("person",) if scene in INDOORS else STREET
    camera = SimulatedCamera(SCENES[scene])
    lookers = [load_trainable(DetectorRef(name=name)) for name in ("tiny_teacher", "tiny")]
    mapping = ClassMap({name: (name,) for name in classes})
    index = [mapping.index_for(one.name, one.class_names) for one in lookers]
    place = np.array([classes.index(name) if name in classes else -1 for name in CLASS_NAMES])
    seen: list[list[ImageDetections]] = [[], []]
    true: list[ImageDetections] = []
    ignored, object_ids = [], []
    for time_s in times_s.tolist():
        frame = camera.frame(time_s)
        for looker, columns, found in zip(lookers, index, seen, strict=True):
            with torch.inference_mode():
                boxes = looker.detect([looker.prepare(frame.image)], min_score=0.05)[0]
            found.append(mapping.apply(boxes, columns))
        ids = place[frame.class_ids]
        kept = ids >= 0
        true.append(ImageDetections(frame.boxes_xyxy[kept], np.ones(int(kept.sum()), np.float32), ids[kept]))
        ignored.append(frame.ignore[kept])
        object_ids.append(frame.track_ids[kept])
    names = {"frame_ids": np.arange(len(times_s)), "time_s": times_s, "class_names": classes}
    teacher, student, truth = (Detections.from_images(images, **names) for images in (*seen, true))
    teacher = teacher.keep_boxes(teacher.scores >= np.float32(DOUBTFUL_SCORE))
    teacher = replace(teacher, ignore=teacher.scores < np.float32(MIN_SCORE))
    truth = replace(truth, ignore=np.concatenate(ignored))
    return Watched(camera, truth, np.concatenate(object_ids).astype(np.int64), teacher, student)


if __name__ == "__main__":
    main()
