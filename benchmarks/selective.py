"""Selective-Backprop beside plain training on simulated cameras: accuracy, time, and images that were trained on.

    python benchmarks/selective.py [--json FILE] [--scenes street-night-rain] [--seeds 0] [--student tiny]
                                   [--interrupts 2,3] [--keep 0.5] [--batch 4] [--epochs 30] [--rate 5e-4]
                                   [--frames 192] [--kept 64] [--probes 96] [--cores 2] [--device cpu] [--quick]

As in the job: of the frames of a scene, 9 s apart, those that the student is least sure about are kept, the teacher
labels them, the student trains on its labels. It is judged against the true boxes of later frames. All arms of a seed
train the same student on the same frames in the same order, and take turns at being first:
    base         every image
    sb2, sb3     Selective-Backprop from half of the epochs to nine tenths; every 2nd or 3rd batch is trained on whole
Keys, for each SCENE and ARM, the mean over the seeds, and with _spread behind the standard deviation (0 with one seed):
    SCENE_ARM_map, _map_small, _map_medium, _map_large    mAP at IoU [.5:.95], 0..100; left out where no box is so large
    SCENE_ARM_seconds                   of training
    SCENE_ARM_t_diff_s                  mean seconds of an epoch outside [start, end) less those inside
    SCENE_ARM_images_backpropagated     over the whole training
    SCENE_raw_map, ...                  the student before training
`--quick` runs the whole of it once on a few frames, in seconds; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = {"lobby": ("person",), "court": ("person",)}
STREET = ("person", "bicycle", "car", "truck")
APART_S = 9.0
FIRST_S = 40.0
SURE, DOUBTFUL = 0.5, 0.3  # scores of the teacher's boxes that are labels, and of those that are ignored
SIZES = ("map", "map_small", "map_medium", "map_large")
QUICK = {"epochs": 4, "frames": 12, "kept": 8, "probes": 4}


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--scenes", default="street-night-rain", help="scenes of `culling simulate`, with commas")
    parser.add_argument("--seeds", default="0", help="of the trainings, with commas")
    parser.add_argument("--student", default="tiny", help="of `culling detectors`")
    parser.add_argument("--weights", default="", help="its weights; 'none' for random ones")
    parser.add_argument("--interrupts", default="2,3", help="each an arm; 0: no batch is trained on whole")
    parser.add_argument("--keep", type=float, default=0.5, help="share of a batch's images that are trained on")
    parser.add_argument("--batch", type=int, default=4, help="images in a step")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the kept frames")
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate")
    parser.add_argument("--frames", type=int, default=192, help="frames of each scene to choose from")
    parser.add_argument("--kept", type=int, default=64, help="frames that are trained on")
    parser.add_argument("--probes", type=int, default=96, help="later frames that the student is judged on")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--quick", action="store_true", help="a few frames, to see that it runs")
    options = parser.parse_args()
    for name, value in QUICK.items() if options.quick else ():
        setattr(options, name, value)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    figures: dict[str, float] = {}
    for scene in options.scenes.split(","):
        figures |= one_scene(scene, options)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def one_scene(scene: str, options: argparse.Namespace) -> dict[str, float]:
    """All arms and seeds on one camera."""

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.simulation import SimulatedCamera, demo_scene
    from dataset_culling.training.loop import train
    from dataset_culling.training.recipe import Recipe
    from dataset_culling.types import parse_classes

    classes = parse_classes(CLASSES.get(scene, STREET))
    start = load_trainable(DetectorRef(name=options.student, weights=options.weights), device=options.device)
    start = start.specialise(classes)
    camera = SimulatedCamera(demo_scene(scene))
    pool, probes = (
        [camera.frame(FIRST_S + APART_S * k) for k in range(first, first + count)]
        for first, count in ((0, options.frames), (options.frames, options.probes))
    )
    samples = taught(start, [frame.image for frame in pool], options.kept, classes)
    raw = judged(start, probes)
    print(f"{scene:20} raw  {shown(raw)}", flush=True)
    plain = Recipe(epochs=options.epochs, batch_size=options.batch, learning_rate=options.rate)
    arms = {"base": plain}
    for interrupt in (int(word) for word in options.interrupts.split(",")):
        arms[f"sb{interrupt}"] = plain.replace(
            techniques={"selective_backprop": {"enabled": True, "interrupt": interrupt, "keep": options.keep}}
        )
    found: dict[str, list[dict[str, float]]] = {arm: [] for arm in arms}
    for turn, seed in enumerate(int(word) for word in options.seeds.split(",")):
        first = turn % len(arms)
        for arm in [*arms, *arms][first : first + len(arms)]:
            recipe = arms[arm].replace(seed=seed)
            student = copy.deepcopy(start)
            started_s = time.perf_counter()
            record = train(student, samples, recipe)
            result = {
                "seconds": time.perf_counter() - started_s,
                "images_backpropagated": float(sum(record.images_backpropagated)),
                **judged(student, probes),
            }
            result |= record.figures
            found[arm].append(result)
            print(f"{scene:20} {arm:4} {shown(result)}  seed {seed}", flush=True)
    figures = {f"{scene}_raw_{name}": value for name, value in raw.items()}
    for arm, results in found.items():
        for name in results[0]:
            values = [result[name] for result in results]
            figures[f"{scene}_{arm}_{name}"] = float(np.mean(values))
            figures[f"{scene}_{arm}_{name}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        means = {name: figures[f"{scene}_{arm}_{name}"] for name in results[0]}
        print(f"{scene:20} {arm:4} {shown(means)}  mean of {len(results)}", flush=True)
    return figures


class Taught:
    """Frames with a teacher's boxes (a `training.data.TrainingSet`)."""

    def __init__(self, images: list[Any], labels: list[Any]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Any:
        """Boxes that the teacher is not sure of are marked."""
        from dataset_culling.training.data import Sample

        boxes = self.labels[row]
        return Sample(self.images[row], boxes.boxes_xyxy, boxes.class_ids, boxes.scores < SURE, boxes.scores)

    def name(self, row: int) -> str:
        """Its number."""
        return f"frame {row}"


def taught(student: Any, images: list[Any], num_kept: int, classes: Any) -> Taught:
    """The frames that the student is least sure about, in the order of time, with the embedded teacher's labels."""
    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.strategies.confidence_loss import frame_loss

    loss = frame_loss(gathered(student.predict(images), student.class_names))
    rows = np.sort(np.argsort(-loss, kind="stable")[:num_kept])
    teacher = load_trainable(DetectorRef(name="tiny_teacher"), device=str(student.device)).specialise(classes)
    kept = [images[row] for row in rows]
    return Taught(kept, teacher.predict(kept, min_score=DOUBTFUL))


def judged(student: Any, probes: list[Any]) -> dict[str, float]:
    """COCO's figures against the true boxes, 0..100."""
    from dataset_culling.evaluation.coco import evaluate
    from dataset_culling.simulation import CLASS_NAMES
    from dataset_culling.types import ImageDetections

    names = student.class_names
    place = np.array([names.index(name) if name in names else -1 for name in CLASS_NAMES])
    true, ignored = [], []
    for frame in probes:
        ids = place[frame.class_ids]
        kept = ids >= 0
        true.append(ImageDetections(frame.boxes_xyxy[kept], np.ones(int(kept.sum()), np.float32), ids[kept]))
        ignored.append(frame.ignore[kept])
    truth = gathered(true, names)
    truth.ignore[:] = np.concatenate(ignored)
    found = evaluate(gathered(student.predict([frame.image for frame in probes], min_score=0.01), names), truth)
    values = (found.map_50_95, found.map_small, found.map_medium, found.map_large)
    return {name: 100 * value for name, value in zip(SIZES, values, strict=True) if value >= 0}


def gathered(images: list[Any], class_names: tuple[str, ...]) -> Any:
    """Boxes of frames by position."""
    from dataset_culling.types import Detections

    rows = np.arange(len(images))
    return Detections.from_images(images, frame_ids=rows, time_s=APART_S * rows, class_names=class_names)


def shown(result: dict[str, float]) -> str:
    """One row for people."""
    return "  ".join(f"{name.removeprefix('images_')} {value:.2f}" for name, value in result.items())


if __name__ == "__main__":
    main()
