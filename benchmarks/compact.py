"""Cost and accuracy of smaller students on simulated cameras: DecomposeMe, joint training and pruning, low ranks.

    python benchmarks/compact.py [--quick] [--json FILE] [--scenes demo,street-far,street-night-rain] [--seeds 0,1,2]
                                 [--frames 64] [--held-out 120] [--epochs 30] [--prune 0.15] [--low-rank 1.5]
                                 [--energy 0.9] [--side 0] [--rounds 200] [--cores 2]

Every student begins from the shipped weights (tiny_1d from tiny's, split), is trained on true boxes of the same frames
with the default recipe for as many steps, and judged on later frames of the camera:

tiny            as it is
tiny_1d         3x1 and 1x3 filters
prune           tiny with the technique pruning
then_prune      tiny trained for half of the epochs, its weakest neurons taken away until it is as large as `prune`
                became, trained for the other half
low_rank        tiny with the technique low_rank
then_low_rank   tiny trained plainly, its kernels factorised afterwards to the same energy: no training for it, and as
                large as that makes it, so it is matched by energy and not by size
then_prune_lr   as then_prune, but as large as `low_rank` became

Rows: parameters, GFLOPs of one frame at the side it runs at, file size, latency of one frame in ms (torch, median of
--rounds, the students taking turns), mAP@50 against true boxes (0..100; mean and sample standard deviation over seeds),
training time.
--quick tries the command and says nothing: one scene, one seed, few frames, 96 px.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("tiny", "tiny_1d", "prune", "then_prune", "low_rank", "then_low_rank", "then_prune_lr")
FIGURES = ("parameters", "gflops", "file_mib", "latency_ms", "map_50", "train_s")
APART_S = 9.0


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--quick", action="store_true", help="the smallest try that runs every arm")
    parser.add_argument("--scenes", default="demo,street-far,street-night-rain", help="of `culling simulate`")
    parser.add_argument("--seeds", default="0,1,2", help="of the training")
    parser.add_argument("--frames", type=int, default=64, help="trained on")
    parser.add_argument("--held-out", type=int, default=120, help="frames judged on, later ones")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the frames, at least 2")
    parser.add_argument("--prune", type=float, default=0.15, help="recipe.techniques.pruning.strength")
    parser.add_argument("--low-rank", type=float, default=1.5, help="recipe.techniques.low_rank.strength")
    parser.add_argument("--energy", type=float, default=0.9, help="recipe.techniques.low_rank.energy")
    parser.add_argument("--side", type=int, default=0, help="short side in px; 0: the student's own")
    parser.add_argument("--rounds", type=int, default=200, help="frames that each student is timed on")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    options = parser.parse_args()
    if options.quick:
        options.scenes, options.seeds, options.frames, options.held_out = "demo", "0", 4, 4
        options.epochs, options.side, options.rounds, options.prune, options.low_rank = 2, 96, 5, 30.0, 30.0
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    results: dict[str, dict[str, list[float]]] = {}
    for scene in options.scenes.split(","):
        shown = [Shown(scene, 40.0, options.frames), Shown(scene, 40.0 + APART_S * options.frames, options.held_out)]
        for seed in options.seeds.split(","):
            for arm, figures in one(shown[0], shown[1], int(seed), options).items():
                for key, value in figures.items():
                    results.setdefault(f"{scene} {arm}", {}).setdefault(key, []).append(value)
        report({name: row for name, row in results.items() if name.startswith(f"{scene} ")})
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


class Shown:
    """Frames of a simulated camera with their true boxes (a `training.data.TrainingSet`)."""

    def __init__(self, scene: str, start_s: float, count: int) -> None:
        from dataset_culling.simulation import SimulatedCamera, demo_scene

        camera = SimulatedCamera(demo_scene(scene))
        self.frames = [camera.frame(start_s + APART_S * place) for place in range(count)]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, row: int) -> Any:
        from dataset_culling.training.data import Sample

        frame = self.frames[row]
        return Sample(frame.image, frame.boxes_xyxy, frame.class_ids, frame.ignore)

    def name(self, row: int) -> str:
        """The frame's number."""
        return f"frame {row}"


def one(frames: Shown, held_out: Shown, seed: int, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Every arm on one camera with one seed."""
    import torch

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.training.loop import train
    from dataset_culling.training.recipe import Recipe
    from dataset_culling.training.techniques.low_rank.ranks import factorise
    from dataset_culling.training.techniques.pruning.neurons import remove, weakest
    from dataset_culling.training.techniques.pruning.wiring import wiring_of

    recipe = Recipe(epochs=options.epochs, seed=seed)
    half = recipe.replace(epochs=max(1, options.epochs // 2))
    start = {name: load_trainable(DetectorRef(name=name)) for name in ("tiny", "tiny_1d")}
    students: dict[str, Any] = {}
    seconds: dict[str, float] = {}

    def learn(student: Any, how: Recipe) -> Any:
        train(student, frames, how, side_px=options.side)
        return student

    def plain(name: str) -> Callable[[], Any]:
        return lambda: learn(copy.deepcopy(start[name]), recipe)

    def cut_to(arm: str) -> Callable[[], Any]:
        def run() -> Any:
            student = learn(copy.deepcopy(start["tiny"]), half)
            wiring = wiring_of(student)
            remove(student, wiring, weakest(student.module, wiring, students[arm].num_parameters()))
            return learn(student, half.replace(epochs=max(1, options.epochs - half.epochs)))

        return run

    def factorised() -> Any:
        student = copy.deepcopy(students["tiny"])
        factorise(student, options.energy)
        return student

    pruning = {"pruning": {"strength": options.prune}}
    shrinking = {"low_rank": {"strength": options.low_rank, "energy": options.energy}}
    arms: dict[str, Callable[[], Any]] = {
        "tiny": plain("tiny"),
        "tiny_1d": plain("tiny_1d"),
        "prune": lambda: learn(copy.deepcopy(start["tiny"]), recipe.replace(techniques=pruning)),
        "then_prune": cut_to("prune"),
        "low_rank": lambda: learn(copy.deepcopy(start["tiny"]), recipe.replace(techniques=shrinking)),
        "then_low_rank": factorised,
        "then_prune_lr": cut_to("low_rank"),
    }
    for arm in ARMS:
        started_s = time.perf_counter()
        students[arm] = arms[arm]()
        seconds[arm] = time.perf_counter() - started_s
    seconds["then_low_rank"] += seconds["tiny"]
    height, width = frames.frames[0].image.shape[:2]
    latency = latencies(students, frames, options.side, options.rounds)
    with torch.inference_mode():
        return {
            arm: {
                "parameters": float(student.num_parameters()),
                "gflops": student.gflops(height, width, options.side),
                "file_mib": file_mib(student),
                "latency_ms": latency[arm],
                "map_50": score(student, held_out, options.side),
                "train_s": seconds[arm],
            }
            for arm, student in students.items()
        }


def latencies(students: dict[str, Any], frames: Shown, side_px: int, rounds: int) -> dict[str, float]:
    """Median time of one frame in ms; students take turns, each on the same frames."""
    taken: dict[str, list[float]] = {arm: [] for arm in students}
    for student in students.values():
        student.ready("float32")
    for place in range(rounds + 3):
        image = frames.frames[place % len(frames)].image
        for arm, student in students.items():
            prepared = [student.prepare(image, side_px)]
            started_s = time.perf_counter()
            student.detect(prepared, min_score=0.05)
            if place >= 3:
                taken[arm].append(1000 * (time.perf_counter() - started_s))
    return {arm: statistics.median(each) for arm, each in taken.items()}


def file_mib(student: Any) -> float:
    """Of the weights as a model artifact holds them."""
    from dataset_culling.artifacts.model import ModelCard, save_weights

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        save_weights(file, ModelCard(student.name, student.class_names, 0, {}, student.layers()), student.state())
        return file.stat().st_size / 2**20


def score(student: Any, frames: Shown, side_px: int) -> float:
    """mAP@50 against the true boxes, 0..100."""
    from dataset_culling.evaluation.coco import evaluate
    from dataset_culling.training.data import ground_truth, predictions_of

    truth = ground_truth(frames, student.class_names)
    found = predictions_of(student, frames, truth.class_names, side_px=side_px, min_score=0.05)
    return 100 * evaluate(found, truth).map_50


def report(results: dict[str, dict[str, list[float]]]) -> None:
    """A line for each arm: medians, and mean and spread of the accuracy."""
    print(f"\n{'':32}" + "".join(f"{figure:>13}" for figure in FIGURES))
    for name, row in results.items():
        cells = [f"{statistics.median(row[figure]):13.3f}" for figure in FIGURES]
        cells[0] = f"{statistics.median(row['parameters']):13.0f}"
        many = len(row["map_50"]) > 1
        spread = f"{float(np.std(row['map_50'], ddof=1)):4.1f}" if many else "   -"
        cells[4] = f"{statistics.fmean(row['map_50']):7.1f} ±{spread}"
        beside = "  matched to low_rank by energy, not by size" if name.endswith(" then_low_rank") else ""
        print(f"{name:32}" + "".join(cells) + beside, flush=True)


if __name__ == "__main__":
    main()
