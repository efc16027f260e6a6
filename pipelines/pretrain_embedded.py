"""Train the embedded student and teacher on the general distribution of the simulated world.

    make pretrain                              both, about two hours of one core
    python pipelines/pretrain_embedded.py --only student --scenes 200 --epochs 2

Scenes are drawn by seed: FIRST_SCENE and up for training, FIRST_CHECK_SCENE and up for the scores in the model card.
Named demo scenes have seeds of their own and are in neither. Writes NAME.safetensors and NAME.json (the figures of the
card) beside each other; an interrupted rendering starts again, an interrupted training too.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from safetensors.torch import save_file

from dataset_culling.detectors.embedded import CLASS_NAMES, EMBEDDED, STUDENT, TEACHER, build_spec
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.detectors.weights import read_weights
from dataset_culling.simulation import SimulatedCamera, random_scene
from dataset_culling.training.data import Sample
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import Detections, ImageDetections

FIRST_SCENE = 10_000_000
FIRST_CHECK_SCENE = 20_000_000
SPECS = {"tiny": STUDENT, "tiny_teacher": TEACHER}


@dataclass(frozen=True, slots=True)
class Rendered:
    """Frames as JPEG with their true boxes; picklable, so that rendering is done once for both detectors."""

    jpegs: list[bytes]
    boxes: list[ImageDetections]
    ignore: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.jpegs)

    def __getitem__(self, row: int) -> Sample:
        image = simplejpeg.decode_jpeg(self.jpegs[row], "RGB")
        boxes = self.boxes[row]
        return Sample(image, boxes.boxes_xyxy, boxes.class_ids, self.ignore[row])

    def name(self, row: int) -> str:
        return f"frame {row}"


def render(first: int, scenes: int, frames_per_scene: int, cache: Path) -> Rendered:
    """Frames at random times of `scenes` random scenes, in a fixed order."""
    file = cache / f"{first}-{scenes}-{frames_per_scene}.pickle"
    if file.is_file():
        loaded: Rendered = pickle.loads(file.read_bytes())  # our own cache, in the build folder
        return loaded
    jpegs, boxes, ignore = [], [], []
    started = time.monotonic()
    for number in range(scenes):
        camera = SimulatedCamera(random_scene(first + number))
        rng = np.random.default_rng([first + number, 7])
        for time_s in np.sort(rng.uniform(0, 86_400, frames_per_scene)):
            frame = camera.frame(round(float(time_s), 3))
            jpegs.append(simplejpeg.encode_jpeg(frame.image, quality=92, colorspace="RGB"))
            boxes.append(ImageDetections(frame.boxes_xyxy, np.ones(len(frame.boxes_xyxy), np.float32), frame.class_ids))
            ignore.append(np.asarray(frame.ignore, np.bool_))
        if number % 50 == 49:
            print(f"rendered {number + 1}/{scenes} scenes, {time.monotonic() - started:.0f} s", flush=True)
    rendered = Rendered(jpegs, boxes, ignore)
    cache.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".tmp")
    beside.write_bytes(pickle.dumps(rendered))
    os.replace(beside, file)
    return rendered


def truth_of(frames: Rendered) -> Detections:
    """The true boxes as detections, doubtful ones (small, hidden) marked to be ignored."""
    ids = np.arange(len(frames), dtype=np.int64)
    truth = Detections.from_images(frames.boxes, frame_ids=ids, time_s=ids.astype(np.float64), class_names=CLASS_NAMES)
    truth.ignore[:] = np.concatenate(frames.ignore)
    return truth


def check(detector: TorchDetector, frames: Rendered, truth: Detections) -> dict[str, float]:
    """Scores on scenes that were not trained on."""
    from dataset_culling.evaluation.coco import evaluate

    found: list[ImageDetections] = []
    for images in _chunks(frames):
        found += detector.predict(images, min_score=0.02)
    detections = Detections.from_images(found, frame_ids=truth.frame_ids, time_s=truth.time_s, class_names=CLASS_NAMES)
    result = evaluate(detections, truth)
    return {
        "map_50": result.map_50,
        "map_50_95": result.map_50_95,
        **{f"ap_50_{n}": v for n, v in result.ap_50_by_class.items()},
    }


def _chunks(frames: Rendered, size: int = 32) -> Iterator[list[np.ndarray]]:
    for start in range(0, len(frames), size):
        yield [frames[row].image for row in range(start, min(start + size, len(frames)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=EMBEDDED)
    parser.add_argument("--cache", type=Path, default=Path("build/pretrain"))
    parser.add_argument("--only", choices=["student", "teacher"])
    parser.add_argument("--scenes", type=int, default=700)
    parser.add_argument("--frames-per-scene", type=int, default=6)
    parser.add_argument("--check-scenes", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=0, help="0: 2 for the student, 4 for the teacher")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--init", type=Path, help="weights to start from instead of random ones")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    frames = render(FIRST_SCENE, options.scenes, options.frames_per_scene, options.cache)
    checked = render(FIRST_CHECK_SCENE, options.check_scenes, 5, options.cache)
    truth = truth_of(checked)
    print(f"{len(frames)} frames, {sum(len(b) for b in frames.boxes)} boxes", flush=True)
    for role, name in (("student", "tiny"), ("teacher", "tiny_teacher")):
        if options.only in (None, role):
            recipe = Recipe(
                epochs=options.epochs or (2 if role == "student" else 4),
                batch_size=options.batch_size,
                learning_rate=options.learning_rate,
                warmup_steps=100,
                photometric=0.25,
                ema_decay=0.995,
                batch_norm="train",
                seed=options.seed,
            )
            pretrain(name, recipe, frames, checked, truth, options)


def pretrain(
    name: str, recipe: Recipe, frames: Rendered, checked: Rendered, truth: Detections, options: argparse.Namespace
) -> None:
    """Train one detector and write its weights and figures."""
    torch.manual_seed(recipe.seed)
    detector = build_spec(name, SPECS[name], CLASS_NAMES)
    if options.init is not None:
        detector.load_state(read_weights(options.init)[0], where=str(options.init))
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            print(f"{name}: step {done}/{total}, {time.monotonic() - started:.0f} s", flush=True)

    record = train(detector, frames, recipe, progress=progress)
    minutes = (time.monotonic() - started) / 60
    options.out.mkdir(parents=True, exist_ok=True)
    beside = options.out / f".{name}.tmp"
    save_file(detector.state(), beside, metadata={"class_names": json.dumps(list(CLASS_NAMES)), "detector": name})
    os.replace(beside, options.out / f"{name}.safetensors")
    scores = check(detector, checked, truth)
    print(name, {key: round(value, 3) for key, value in scores.items()}, [sum(e.values()) for e in record.losses])
    card = {
        "command": "python pipelines/pretrain_embedded.py " + " ".join(sys.argv[1:]),
        "detector": name,
        "parameters": detector.num_parameters(),
        "gflops_512x288": round(detector.gflops(288, 512), 3),
        "training_scenes": options.scenes,
        "training_frames": len(frames),
        "minutes": round(minutes, 1),
        "recipe": recipe.model_dump(mode="json"),
        "scores_on_unseen_scenes": {key: round(value, 4) for key, value in scores.items()},
        "losses_by_epoch": [round(sum(epoch.values()), 4) for epoch in record.losses],
    }
    (options.out / f"{name}.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
