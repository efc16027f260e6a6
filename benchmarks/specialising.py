"""Gain of specialising on simulated cameras that neither embedded detector has seen: the main job, once for each.

    python benchmarks/specialising.py [--json FILE] [--scenes street-night-rain,lobby,court] [--minutes 30] [--seed 0]
                                      [--set KEY VALUE ...]

Each scene is a video of its own with true boxes; the preset is `demo`, changed by
`--set` as `culling run` takes it, which shows what an option is worth. Keys, 0..100, for each SCENE:
    SCENE_raw, SCENE_trained                 mAP@50 against the teacher's labels of the held-out frames
    SCENE_raw_truth, SCENE_trained_truth     mAP@50 against the true boxes
    SCENE_teacher_truth                      the teacher's own
    SCENE_seconds                            wall time of `culling run`
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLASSES = {"lobby": "person", "court": "person"}
STREET = "person,bicycle,car,truck"
FIGURES = ("raw", "trained", "raw_truth", "trained_truth", "teacher_truth")


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--scenes", default="street-night-rain,lobby,court", help="scenes of `culling simulate`")
    parser.add_argument("--minutes", type=float, default=30.0, help="of video from each camera")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument(
        "--set", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="an option to try"
    )
    options = parser.parse_args()
    figures: dict[str, float] = {}
    for scene in options.scenes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            figures.update(one(scene, options.minutes * 60, options.seed, Path(folder), options.set))
        print(scene, {key: round(value, 1) for key, value in figures.items() if key.startswith(scene)}, flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def one(scene: str, seconds: float, seed: int, folder: Path, changes: list[list[str]]) -> dict[str, float]:
    """Simulate the camera and run the job on it."""
    culling = [sys.executable, "-m", "dataset_culling.cli"]
    video, truth = folder / "camera.mp4", folder / "camera.truth.json"
    subprocess.run(
        [*culling, "simulate", video, "--scene", scene, "--duration", str(seconds), "--fps", "2", "--truth", truth],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    start = time.perf_counter()
    done = subprocess.run(
        [
            *culling, "run", "--preset", "demo", "--video", video, "--truth", truth, "--out", folder / "run", "--json",
            "--classes", CLASSES.get(scene, STREET), "--set", "train_student.recipe.seed", str(seed),
            *(word for key, value in changes for word in ("--set", key, value)),
        ],
        check=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    took = time.perf_counter() - start
    summary = json.loads(done.stdout)
    return {
        **{f"{scene}_{name}": 100 * summary[f"map_50_{name}"] for name in FIGURES},
        f"{scene}_kept": float(summary["frames_kept"]),
        f"{scene}_seconds": took,
    }


if __name__ == "__main__":
    main()
