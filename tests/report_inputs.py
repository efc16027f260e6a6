"""A complete small set of a run's artifacts, written by the real writers: what the render-report stage reads.

Frames and true boxes come from the simulated camera. The detectors' boxes are the true ones, spoilt as such detectors
spoil them: the raw student misses small and dark things and sees some that are none, the trained one less so, the
teacher hardly. Selections and metrics are then worked out from these boxes by the package itself.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataset_culling.artifacts.control import write_control
from dataset_culling.artifacts.decision import Decision, write_decision
from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.frames import REPORT, FrameWriter, frame_id_of
from dataset_culling.artifacts.header import Origin, digest
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.artifacts.replay import Replay, write_replay
from dataset_culling.artifacts.resolution import Resolution, ResolutionPoint, write_resolution
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.artifacts.timing import Timing, write_timing
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.evaluation.promotion_rule import Check
from dataset_culling.pipeline.graph import STAGES, WIRING, PipelineConfig
from dataset_culling.report.run_data import Run
from dataset_culling.simulation import CLASS_NAMES, SimulatedCamera, demo_scene
from dataset_culling.stages.render_report.stage import read_run
from dataset_culling.strategies.base import CullInput
from dataset_culling.types import Detections, ImageDetections

CLASSES = CLASS_NAMES[:4]  # without dogs, the rare class


@dataclasses.dataclass(frozen=True)
class Eye:
    """How well a detector sees: chance to miss at 10 px and at 100 px, false boxes a frame, spread of its corners."""

    miss_small: float
    miss_large: float
    false_rate: float
    jitter: float


RAW = Eye(0.75, 0.3, 0.9, 0.09)
TRAINED = Eye(0.25, 0.03, 0.15, 0.045)
TEACHER = Eye(0.06, 0.01, 0.02, 0.015)


def write_run(
    folder: Path,
    *,
    num_pool: int = 48,
    num_heldout: int = 16,
    num_labelled: int = 20,
    num_kept: int = 8,
    step_s: float = 9.0,
    truth: bool = True,
    timings: bool = True,
    start_utc: str = "2026-11-20T05:00:00Z",
    class_names: tuple[str, ...] = CLASSES,
) -> dict[str, Path]:
    """Write every input of render-report below `folder`.

    Args:
        folder: Made if missing.
        num_pool: Frames to learn from.
        num_heldout: Frames held out.
        num_labelled: Frames that the confidence cull keeps.
        num_kept: Frames that the precision cull keeps.
        step_s: Seconds between two frames.
        truth: Whether metrics hold figures against truth.
        timings: Whether the artifacts carry a timing.json.
        start_utc: Wall clock at the start; "" where it is not known.
        class_names: Four names.

    Returns:
        Input name -> artifact directory.
    """
    config = PipelineConfig(camera="high-street", classes=class_names)
    made: dict[str, Path] = {}
    camera = SimulatedCamera(demo_scene("demo"))
    pool_s = 40 + step_s * np.arange(num_pool)
    heldout_s = pool_s[-1] + 60 + step_s * np.arange(num_heldout)
    report = _footage_report(pool_s, heldout_s, start_utc)

    def path_of(output: str) -> Path:
        return folder / output.replace(".", "/")

    def origin(output: str) -> Origin:
        """As the local engine would write it: the stage, its configuration, the digests of its inputs."""
        task = next(task for task in WIRING if task.name == output.partition(".")[0])
        inputs = {name: digest(made[source]) for name, source in task.inputs.items()}
        return Origin(task.stage, config.stage_config(task.stage).model_dump(mode="json"), inputs)

    true: dict[str, Detections] = {}
    for part, times in (("pool", pool_s), ("heldout", heldout_s)):
        output = f"extract-frames.{part}"
        shown = []
        with FrameWriter(path_of(output), origin=origin(output), start_utc=start_utc) as writer:
            writer.json(REPORT, report)
            for time_s in times:
                frame = camera.frame(float(time_s))
                writer.add(frame_id_of(time_s), float(time_s), frame.image)
                kept = ~frame.ignore & (frame.class_ids < len(CLASSES))
                shown.append(
                    ImageDetections(frame.boxes_xyxy[kept], np.ones(int(kept.sum()), np.float32), frame.class_ids[kept])
                )
        made[output] = path_of(output)
        ids = np.array([frame_id_of(time_s) for time_s in times])
        true[part] = Detections.from_images(shown, frame_ids=ids, time_s=times, class_names=class_names)
    height_px, width_px = frame.image.shape[:2]

    def seen(part: str, eye: Eye, seed: int) -> Detections:
        return spoil(true[part], eye, np.random.default_rng(seed), width_px=width_px, height_px=height_px)

    def keep(output: str, write: Any) -> None:
        write(path_of(output), origin(output))
        made[output] = path_of(output)

    nothing = Detections.from_images([], frame_ids=np.zeros(0), time_s=np.zeros(0), class_names=class_names)
    none = np.zeros(0, np.int64)
    keep("recall-replay.replay", lambda path, by: write_replay(path, Replay(0, "", ()), by))
    keep("recall-replay.frames", lambda path, by: FrameWriter(path, origin=by).__enter__().__exit__(None, None, None))
    keep("recall-replay.labels", lambda path, by: write_labels(path, nothing, none, none, by))
    scored = seen("pool", RAW, 1)
    keep("score-frames.detections", lambda path, by: write_detections(path, scored, by))
    config = config.replace(
        cull_confidence=config.cull_confidence.replace(budget=num_labelled),
        cull_precision=config.cull_precision.replace(budget=num_kept),
    )
    selection = config.cull_confidence.choose(CullInput(scored))
    keep("cull-confidence.selection", lambda path, by: write_selection(path, selection, by))
    labels = _doubtful(seen("pool", TEACHER, 2).take(scored.rows_of(np.sort(selection.frame_ids))))
    sizes = (np.full(len(labels), width_px), np.full(len(labels), height_px))
    keep("label-selection.labels", lambda path, by: write_labels(path, labels, *sizes, by))
    kept = config.cull_precision.choose(CullInput(scored.take(scored.rows_of(labels.frame_ids)), labels))
    keep("cull-precision.kept", lambda path, by: write_selection(path, kept, by))
    keep("choose-resolution.resolution", lambda path, by: write_resolution(path, _resolution(), by))
    card = ModelCard("tiny", class_names, 233, {"epochs": 30, "steps": 480, "frames": num_kept, "losses": _losses(30)})
    keep("train-student.model", lambda path, by: write_model(path, card, {"weight": torch.zeros(8, 8)}, by))
    keep("train-control.control", lambda path, by: write_control(path, by, None, {}))
    heldout_labels = _doubtful(seen("heldout", TEACHER, 3))
    sizes = (np.full(num_heldout, width_px), np.full(num_heldout, height_px))
    keep("label-heldout.labels", lambda path, by: write_labels(path, heldout_labels, *sizes, by))
    raw, trained = seen("heldout", RAW, 4), seen("heldout", TRAINED, 5)
    figures = _metrics(raw, trained, heldout_labels, true["heldout"] if truth else None)
    keep("evaluate-student.metrics", lambda path, by: write_metrics(path, figures, by))
    keep("evaluate-student.raw", lambda path, by: write_detections(path, raw, by))
    keep("evaluate-student.trained", lambda path, by: write_detections(path, trained, by))
    gain = figures["map_50_trained"] - figures["map_50_raw"]
    reason = f"mAP@50 against the teacher is {gain:+.3f} from the raw student's, more than the 0.01 asked for"
    checks = (
        Check("gain", "tonight", True, reason),
        Check("class car", "class", None, "class car: 0.400 -> 0.500 (+0.100), not judged: 3 objects, 30 are needed"),
    )
    decision = Decision(True, reason, "high-street", 1, 0, 1, True, checks)
    keep("promote-student.decision", lambda path, by: write_decision(path, decision, by))
    if timings:
        for output, path in made.items():
            if (task := output.partition(".")[0]) in TIMINGS:
                write_timing(path, TIMINGS[task])
    wiring = next(task for task in WIRING if task.stage == "render-report").inputs
    assert set(wiring) == set(STAGES["render-report"].reads)
    return {name: made[output] for name, output in wiring.items()}


@functools.cache
def shared_run() -> Run:
    """A small run, read as the stage reads it, made once for all tests that only look at it."""
    folder = tempfile.TemporaryDirectory(prefix="report-")
    atexit.register(folder.cleanup)  # frames are read from it as long as tests run
    return read_run(write_run(Path(folder.name), num_pool=36, num_heldout=12), camera="high-street")


def spoil(true: Detections, eye: Eye, rng: np.random.Generator, *, width_px: int, height_px: int) -> Detections:
    """True boxes as a detector of this eye would report them."""
    images = []
    for row in range(len(true)):
        image = true.image(row)
        side = np.sqrt(np.prod(image.boxes_xyxy[:, 2:] - image.boxes_xyxy[:, :2], axis=1))
        ease = np.clip((side - 10) / 90, 0, 1)
        miss = eye.miss_small + (eye.miss_large - eye.miss_small) * ease
        kept = rng.random(len(image)) >= miss
        boxes = image.boxes_xyxy[kept]
        boxes = boxes + rng.normal(0, 1, boxes.shape) * eye.jitter * side[kept, None]
        scores = np.clip(1 - 0.8 * miss[kept] - np.abs(rng.normal(0, 0.12, int(kept.sum()))), 0.06, 0.99)
        num_false = int(rng.poisson(eye.false_rate))
        corner = rng.random((num_false, 2)) * [width_px * 0.9, height_px * 0.5] + [0, height_px * 0.35]
        size = rng.uniform(10, 50, (num_false, 2))
        boxes = np.concatenate([boxes, np.concatenate([corner, corner + size], axis=1)])
        boxes = np.clip(boxes, 0, [width_px, height_px] * 2)
        images.append(
            ImageDetections(
                boxes.astype(np.float32),
                np.concatenate([scores, rng.uniform(0.1, 0.6, num_false)]).astype(np.float32),
                np.concatenate([image.class_ids[kept], rng.integers(0, len(true.class_names), num_false)]),
            )
        )
    return Detections.from_images(images, frame_ids=true.frame_ids, time_s=true.time_s, class_names=true.class_names)


def _doubtful(labels: Detections) -> Detections:
    return dataclasses.replace(labels, ignore=labels.scores < 0.4)


def _resolution() -> Resolution:
    scales = 0.9 ** np.arange(5)
    changes = [0.0, 0.012, 0.031, 0.074, 0.16]
    map_50 = [0.41, 0.412, 0.398, 0.371, 0.322]
    curve = tuple(
        ResolutionPoint(float(scale), round(288 * scale), change, 0.62 * float(scale) ** 2, score)
        for scale, change, score in zip(scales, changes, map_50, strict=True)
    )
    return Resolution(0.81, 233, 288, 0.05, 0.62, 0.62 * 0.81**2, "0.729 changes the loss by 0.074", curve)


def _losses(epochs: int) -> list[dict[str, float]]:
    fall = np.exp(-np.arange(epochs) / 9)
    return [
        {"loss_objectness": float(0.1 + 0.5 * one), "loss_box": float(0.2 + 0.6 * one**0.8), "loss_class": 0.4 * one}
        for one in fall.tolist()
    ]


def _metrics(raw: Detections, trained: Detections, labels: Detections, true: Detections | None) -> dict[str, float]:
    figures: dict[str, float] = {"heldout_frames": float(len(raw))}

    def put(name: str, found: Detections, wanted: Detections) -> None:
        result = evaluate(found, wanted)
        values = {
            f"map_50_{name}": result.map_50,
            f"map_50_95_{name}": result.map_50_95,
            f"map_small_{name}": result.map_small,
            f"map_medium_{name}": result.map_medium,
            f"map_large_{name}": result.map_large,
        }
        for label, value in result.ap_50_by_class.items():
            plain = "".join(letter if letter.isalnum() else "_" for letter in label.lower())
            values[f"ap_50_{plain}_{name}"] = value
        figures.update({key: float(value) for key, value in values.items() if value >= 0})

    put("raw", raw, labels)
    put("trained", trained, labels)
    if true is not None:
        put("raw_truth", raw, true)
        put("trained_truth", trained, true)
        put("teacher_truth", labels.keep_boxes(~labels.ignore), true)
    return figures


def _footage_report(pool_s: np.ndarray, heldout_s: np.ndarray, start_utc: str) -> dict[str, Any]:
    last_s = float(heldout_s[-1])
    middle = float(pool_s[len(pool_s) // 2])
    return {
        "start_utc": start_utc,
        "files": [
            {"name": "morning-1.mp4", "codec": "h264", "width_px": 512, "height_px": 288, "start_s": 0.0,
             "end_s": middle - 20, "frames": 4000, "keyframes": 80, "read_errors": 0, "clock_restarts": 0},
            {"name": "morning-2.mp4", "codec": "h264", "width_px": 512, "height_px": 288, "start_s": middle - 14,
             "end_s": last_s + 5, "frames": 4100, "keyframes": 82, "read_errors": 2, "clock_restarts": 0},
        ],
        "counts": {"sampled": len(pool_s) + len(heldout_s) + 75, "gap": 5, "damaged": 4, "near_duplicates": 66,
                   "pool": len(pool_s), "heldout": len(heldout_s)},
        "damage": {"corrupt": 3, "grey": 1, "green": 0, "black": 0, "frozen": 0, "truncated": 0},
        "damaged_stretches": [
            {"kind": "corrupt", "start_s": middle + 30, "end_s": middle + 33, "samples": 3},
            {"kind": "grey", "start_s": middle + 90, "end_s": middle + 90, "samples": 1},
        ],
        "missing_stretches_s": [[middle - 20, middle - 14]],
        "split": {"pool_end_s": float(pool_s[-1]), "heldout_start_s": float(heldout_s[0]), "gap_s": 60.0,
                  "gap_s_asked": 60.0, "closest_s": float(heldout_s[0] - pool_s[-1])},
        "notes": ["2 files: start times from their names"],
    }  # fmt: skip


def _timing(task: str, seconds: float, peak_rss_mib: float, figures: Mapping[str, float] | None = None) -> Timing:
    stage = next(one.stage for one in WIRING if one.name == task)
    return Timing(stage, task, seconds, peak_rss_mib, "cpu", {}, dict(figures or {}), ())


TIMINGS = {
    timing.task: timing
    for timing in (
        _timing("extract-frames", 14.2, 210.0),
        _timing("score-frames", 16.8, 702.5, {"seconds_per_frame": 0.012}),
        _timing("cull-confidence", 0.3, 140.1),
        _timing("label-selection", 22.4, 811.9, {"seconds_per_frame": 0.085}),
        _timing("cull-precision", 0.4, 141.7),
        _timing("choose-resolution", 6.1, 690.2),
        _timing("train-student", 54.0, 1180.4, {"seconds_per_image": 0.028}),
        _timing("train-control", 0.1, 130.0),
        _timing("label-heldout", 24.9, 808.0, {"seconds_per_frame": 0.083}),
        _timing("evaluate-student", 8.6, 720.3),
        _timing("promote-student", 0.2, 120.0),
    )
}
