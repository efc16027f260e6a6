"""Ten nights of one simulated camera whose look drifts: is anything forgotten, does a broken teacher do harm?

    python benchmarks/nights.py [--json FILE] [--arms full,no-replay,no-gate,base-start] [--minutes 4] [--epochs 10]
                                [--nights 10] [--poison 6] [--seed 0]

The scenery stays, light, weather and traffic do not: nights of rain, clear days, haze. In one night the teacher is
broken on purpose: the rows of its classifier are swapped, so that it calls people cars and cars people. Arms:
    full         replay, gate, training starts from the champion
    base-start   the same, but every training starts from the base student
    no-replay    nothing of earlier nights is kept: neither trained on nor judged on; the gate sees tonight only
    no-gate      as no-replay, and every night's model is promoted, as a plain nightly job would
After each night the camera's champion looks at one probe of every condition, frames of its own that no night holds, and
is compared with the true boxes. Keys, 0..100 and counts, for each ARM:
    ARM_CONDITION          mAP@50 against the truth after the last night, of night_rain, day, haze
    ARM_mean, ARM_worst    over the conditions, after the last night
    ARM_worst_ever         the least of any condition that was met before, after any night
    ARM_promoted           nights that were promoted
    ARM_poison_promoted    1 if the broken teacher's night was, else 0
    raw_CONDITION          the base student
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = ("person", "bicycle", "car", "truck")
CONDITIONS: dict[str, dict[str, float]] = {
    "night_rain": {"start_hour": 22.5, "rain": 1.0, "noise_levels": 6.0, "night_share": 0.6},
    "day": {"start_hour": 12.0, "rain": 0.0, "noise_levels": 2.0},
    "haze": {"start_hour": 9.0, "rain": 0.0, "haze": 0.6, "contrast": 0.6, "blur_px": 0.8},
}
DRIFT = ("night_rain", "night_rain", "day", "day", "haze", "day", "day", "haze", "haze", "day")
APART_S = 20_000.0
"""Seconds of the camera's time between two nights, so that no two hold the same traffic."""
PROBE_FRAMES = 60
ARMS: dict[str, tuple[tuple[str, str], ...]] = {
    "full": (("train_student.start", "champion"),),
    "base-start": (("train_student.start", "base"),),
    "no-replay": (("train_student.start", "champion"), ("keep_night.keep", "never")),
    "no-gate": (("train_student.start", "champion"), ("keep_night.keep", "never")),
}


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--arms", default=",".join(ARMS), help="of those above")
    parser.add_argument("--minutes", type=float, default=4.0, help="of video each night")
    parser.add_argument("--epochs", type=int, default=10, help="of each training")
    parser.add_argument("--nights", type=int, default=10, help="number of nights")
    parser.add_argument("--poison", type=int, default=6, help="the night whose teacher is broken, from 1; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="of the trainings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="culling-nights-") as name:
        folder = Path(name)
        drift = [DRIFT[night % len(DRIFT)] for night in range(options.nights)]
        videos = [film(condition, night, folder, options.minutes * 60) for night, condition in enumerate(drift)]
        probes = {condition: probe(condition, number) for number, condition in enumerate(CONDITIONS)}
        poisoned = broken_teacher(folder)
        figures = {f"raw_{name}": score(None, frames) for name, frames in probes.items()}
        print("raw", {name: round(figures[f"raw_{name}"], 1) for name in probes}, flush=True)
        for arm in options.arms.split(","):
            figures |= run_arm(arm, options, drift, videos, probes, poisoned, folder)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def run_arm(
    arm: str,
    options: argparse.Namespace,
    drift: list[str],
    videos: list[tuple[Path, Path]],
    probes: dict[str, list[Any]],
    poisoned: Path,
    folder: Path,
) -> dict[str, float]:
    """Ten nights over one registry, and the champion's accuracy after each."""
    from dataset_culling.registry.models import open_registry

    registry = open_registry(str(folder / arm / "registry"))
    prefix = arm.replace("-", "_")
    table: list[dict[str, float]] = []
    promoted: list[bool] = []
    seen: set[str] = set()
    for night, (condition, (video, truth)) in enumerate(zip(drift, videos, strict=True), start=1):
        started = time.perf_counter()
        out = folder / f"night-{night}"  # what does not depend on the arm is done once: extraction, scoring, labels
        changes = [*ARMS[arm], ("train_student.recipe.epochs", str(options.epochs))]
        changes += [("train_student.recipe.seed", str(options.seed + night))]
        weights = ["--teacher-weights", str(poisoned)] if night == options.poison else []
        done = subprocess.run(
            [
                sys.executable, "-m", "dataset_culling", "run", "--preset", "demo", "--video", video, "--truth", truth,
                "--out", out, "--registry", folder / arm / "registry", "--json", "--camera", "drifting", *weights,
                "--set", "cull_confidence.budget", "64", "--set", "cull_precision.budget", "32",
                "--set", "extract_frames.gap_s", "10", "--set", "extract_frames.heldout_share", "0.25",
                *(word for key, value in changes for word in ("--set", key, value)),
            ],
            check=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        summary = json.loads(done.stdout)
        if arm == "no-gate":
            before, newest = registry.champion("drifting").version, registry.versions("drifting")[-1].version
            registry.promote("drifting", newest, expected=before, reason="every night's model")
        promoted.append(bool(summary["promoted"]) or arm == "no-gate")
        champion = registry.champion("drifting").version
        model = registry.fetch_model("drifting", champion, folder / arm / "model") if champion else None
        table.append({name: score(model, frames) for name, frames in probes.items()})
        seen.add(condition)
        row = {name: round(value, 1) for name, value in table[-1].items()}
        print(
            f"{arm:10} night {night:2} {condition:10}{' POISONED' if night == options.poison else ''} "
            f"{'promoted' if promoted[-1] else 'not promoted'} {row} {time.perf_counter() - started:.0f} s\n"
            f"           {summary['promotion_reason']}",
            flush=True,
        )
        table[-1] |= {"least_seen": min(table[-1][name] for name in seen)}
        shutil.rmtree(folder / arm / "model", ignore_errors=True)
    last = {name: table[-1][name] for name in probes}
    return {
        **{f"{prefix}_{name}": value for name, value in last.items()},
        f"{prefix}_mean": float(np.mean(list(last.values()))),
        f"{prefix}_worst": min(last.values()),
        f"{prefix}_worst_ever": min(row["least_seen"] for row in table),
        f"{prefix}_promoted": float(sum(promoted)),
        f"{prefix}_poison_promoted": float(bool(options.poison) and promoted[options.poison - 1]),
    }


class Later:
    """A camera filmed from a later time on."""

    def __init__(self, camera: Any, offset_s: float) -> None:
        self.camera, self.offset_s, self.scene = camera, offset_s, camera.scene

    def frame(self, time_s: float) -> Any:
        """The picture `offset_s` later."""
        return self.camera.frame(time_s + self.offset_s)


def camera_at(condition: str, offset_s: float) -> Later:
    """The same street, in a condition; its hour is the condition's whatever the offset."""
    from dataset_culling.simulation.camera import SimulatedCamera
    from dataset_culling.simulation.config import SCENES

    looks = dict(CONDITIONS[condition])
    hour = (looks.pop("start_hour") - offset_s / 3600) % 24
    scene = SCENES["demo"].replace(day_length_s=86_400.0, start_hour=hour, **looks)
    return Later(SimulatedCamera(scene), offset_s)


def film(condition: str, night: int, folder: Path, seconds: float) -> tuple[Path, Path]:
    """A night's video and its true boxes."""
    from dataset_culling.simulation.video import write_video

    video, truth = folder / f"night{night}.mp4", folder / f"night{night}.truth.json"
    write_video(camera_at(condition, night * APART_S), video, fps=2.0, duration_s=seconds, truth_path=truth)
    return video, truth


def probe(condition: str, number: int) -> list[Any]:
    """Frames of a condition that no night holds, ten seconds apart, with their true boxes."""
    camera = camera_at(condition, (100 + number) * APART_S)
    return [camera.frame(10.0 * k) for k in range(PROBE_FRAMES)]


def score(model: Path | None, frames: list[Any]) -> float:
    """mAP@50 of a model/1, or of the base student, against the truth, 0..100."""
    import torch

    from dataset_culling.artifacts.model import read_model_card, weights_file
    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.evaluation.coco import evaluate
    from dataset_culling.simulation.config import CLASS_NAMES
    from dataset_culling.types import ClassMap, Detections, ImageDetections

    ref = DetectorRef(name="tiny", weights="" if model is None else str(weights_file(model)))
    student = load_trainable(ref).specialise(ClassMap({name: (name,) for name in CLASSES}))
    side_px = 0 if model is None else read_model_card(model).side_px
    with torch.inference_mode():
        found = [student.detect([student.prepare(frame.image, side_px=side_px)], min_score=0.05)[0] for frame in frames]
    place = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in CLASS_NAMES])
    true, ignored = [], []
    for frame in frames:
        ids = place[frame.class_ids]
        kept = ids >= 0
        true.append(ImageDetections(frame.boxes_xyxy[kept], np.ones(kept.sum(), np.float32), ids[kept]))
        ignored.append(frame.ignore[kept])
    names = {"frame_ids": np.arange(len(frames)), "time_s": np.arange(float(len(frames))), "class_names": CLASSES}
    truth = Detections.from_images(true, **names)
    truth.ignore[:] = np.concatenate(ignored)
    return 100 * evaluate(Detections.from_images(found, **names), truth).map_50


def broken_teacher(folder: Path) -> Path:
    """The embedded teacher with the classes person and car swapped in its classifier."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable

    teacher = load_trainable(DetectorRef(name="tiny_teacher"))
    other = {"person": "car", "car": "person"}
    names = [other.get(name, name) for name in teacher.class_names]
    file = folder / "broken-teacher.safetensors"
    save_file(teacher.state(), file, metadata={"class_names": json.dumps(names)})
    with safe_open(file, "pt") as read:
        assert json.loads(read.metadata()["class_names"]) != list(teacher.class_names)
    return file


if __name__ == "__main__":
    main()
