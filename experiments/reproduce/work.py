"""The work itself: a camera's footage, what all its cells share, and one cell from culling to evaluation.

OUT/
|-- footage/CAMERA-IDENTITY.mp4       simulated, with its true boxes beside it
|-- cameras/CAMERA/tasks/...          frames, scores, the teacher's labels of all of them and of the held-out ones: once
|-- cameras/CAMERA+gate/tasks/...     frames without near-duplicates, and their scores; +logged: scores from a log
`-- cells/CAMERA/CELL/tasks/...       culls, training, evaluation of one arm, size and seed; made.json: by which commit
Each is a run of the engine, so what is finished is not done again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.artifacts.resolution import read_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.artifacts.timing import Timing, read_timing
from dataset_culling.config import merge, parse_config
from dataset_culling.engine.interruption import locked, writing_to
from dataset_culling.engine.local import RunResult, run_pipeline
from dataset_culling.engine.simulate import scene_text, simulate_in_child, truth_path
from dataset_culling.errors import ConfigError
from dataset_culling.pipeline.graph import WIRING, PipelineConfig, TaskSpec
from dataset_culling.pipeline.presets import read_preset
from dataset_culling.storage.transfer import write_page
from dataset_culling.types import Detections
from experiments.reproduce.about import Made
from experiments.reproduce.arms import LOG_LEFT_OUT
from experiments.reproduce.cells import Cell
from experiments.reproduce.config import CameraSpec, ReproduceConfig
from experiments.reproduce.queue import Worker
from experiments.reproduce.results import CurvePoint, Row

_TASKS = {task.name: task for task in WIRING}
_LABEL_POOL = TaskSpec("label-pool", "label-frames", "Teacher labeling (whole pool)", {"frames": "extract-frames.pool"})
SHARED = (_TASKS["extract-frames"], _TASKS["score-frames"], _LABEL_POOL, _TASKS["label-heldout"])
"""Done once a camera. The full and the precision arm need all labels; the others pay for what they would have asked."""
MOST_GAP_SHARE = 0.5
MADE = "made.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Results of one cell."""

    row: Row
    kept: frozenset[int]  # frame ids
    curve: tuple[CurvePoint, ...]
    made: Made


# --- footage -------------------------------------------------------------------------------------------------------


def footage_path(config: ReproduceConfig, camera: str, out: Path) -> Path:
    """Return the path of a camera's video: its own, or the simulated one, named by all its settings."""
    spec = config.cameras[camera]
    if spec.video:
        return Path(spec.video).absolute()
    text = f"{scene_text(spec.scene, duration_s(config, spec), config.frames_per_second)} {spec.frames}"
    return (out / "footage" / f"{camera}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.mp4").absolute()


def duration_s(config: ReproduceConfig, spec: CameraSpec) -> float:
    """Seconds of a simulated camera's footage."""
    return (spec.frames + spec.heldout_frames) / config.frames_per_second + config.gap_s


def film(config: ReproduceConfig, camera: str, out: Path, worker: Worker) -> bool:
    """Simulate a camera, unless that is done; a day passes while the pool is filmed. Whether there was work."""
    spec, video = config.cameras[camera], footage_path(config, camera, out)
    if spec.video or (video.is_file() and truth_path(video).is_file()):
        return False
    day_s = spec.frames / config.frames_per_second
    with writing_to(out):
        video.parent.mkdir(parents=True, exist_ok=True)
    worker.display.step("Simulated camera")
    simulate_in_child(
        video, spec.scene, duration_s(config, spec), config.frames_per_second, day_length_s=day_s,
        log=out / "logs" / f"simulate-{camera}.log", progress=worker.display.progress,
    )  # fmt: skip
    return True


# --- what all cells of a camera share ------------------------------------------------------------------------------


def camera_config(config: ReproduceConfig, camera: str, out: Path) -> PipelineConfig:
    """The settings of every cell of a camera, but for what the cell changes.

    Raises:
        ConfigError: If the configuration's settings do not fit a run's.
    """
    spec, video = config.cameras[camera], footage_path(config, camera, out)
    extract: dict[str, Any] = {
        "sources": [str(video)], "frames_per_second": config.frames_per_second, "gap_s": config.gap_s,
        "max_gap_share": MOST_GAP_SHARE, "near_duplicates": "keep",
    }  # fmt: skip
    if spec.scene:  # half a frame more than wanted, as the share is cut to whole frames
        total = round(duration_s(config, spec) * config.frames_per_second)
        extract["heldout_share"] = (spec.heldout_frames + 0.5) / total
    values = {
        "camera": camera, "classes": list(spec.classes), "student": config.student.model_dump(),
        "teacher": config.teacher.model_dump(), "truth": str(truth_path(video)) if spec.scene else "",
        "extract_frames": extract,
    }  # fmt: skip
    return parse_config(PipelineConfig, merge(values, config.settings), where="settings")


def share(config: ReproduceConfig, camera: str, out: Path, worker: Worker, *, device: str) -> RunResult:
    """Extract, score, label: once for a camera."""
    return run_pipeline(
        camera_config(config, camera, out), out / "cameras" / camera, display=worker.display, device=device,
        wiring=SHARED,
    )  # fmt: skip


def share_gated(config: ReproduceConfig, camera: str, out: Path, worker: Worker, *, device: str) -> bool:
    """Extract again without near-duplicates, and score what is left. Whether there was work."""
    plain = camera_config(config, camera, out)
    gated = plain.replace(extract_frames=plain.extract_frames.replace(near_duplicates="drop"))
    result = run_pipeline(
        gated, out / "cameras" / f"{camera}+gate", display=worker.display, device=device, wiring=SHARED[:2],
    )  # fmt: skip
    return len(result.skipped) < 2


def share_logged(
    config: ReproduceConfig, camera: str, out: Path, worker: Worker, *, device: str, gate: bool = False
) -> bool:
    """Score from a log of what the student saw, every LOG_LEFT_OUT-th frame missing in it. Whether there was work."""
    source = out / "cameras" / (f"{camera}+gate" if gate else camera) / "tasks"
    folder = out / "cameras" / f"{camera}{'+gate' if gate else ''}+logged"
    frames = source / "extract-frames" / "pool"
    plain = camera_config(config, camera, out)
    with locked(folder):
        log = folder / "detections.jsonl"
        text = log_of(
            read_detections(source / "score-frames" / "detections"), FrameReader(frames), plain.student.name,
            plain.score_frames.min_score,
        )  # fmt: skip
        if not log.is_file() or log.read_text(encoding="utf-8") != text:
            write_page(log, text)
    logged = plain.replace(score_frames=plain.score_frames.replace(logged=str(log.absolute())))
    result = run_pipeline(
        logged, folder, display=worker.display, device=device, wiring=(_TASKS["score-frames"],),
        given={"extract-frames.pool": frames},
    )  # fmt: skip
    return not result.skipped


def log_of(detections: Detections, frames: FrameReader, detector: str, min_score: float) -> str:
    """A detection-log/1 of detections, as a deployed student would have written it; docs/serving.md has the form."""
    head = {
        "log": "detection-log/1",
        "model": {"detector": detector, "model_digest": "", "camera": "", "version": 0},
        "class_names": list(detections.class_names),
        "score_thresholds": dict.fromkeys(detections.class_names, min_score),
        "side_px": 0,
        "start_utc": frames.table.start_utc,
        "frames_per_second": 0.0,
        "sources": [],
        "made_by": "python -m experiments.reproduce",
    }
    lines = [json.dumps(head)]
    for row in range(len(detections)):
        if row % LOG_LEFT_OUT == LOG_LEFT_OUT - 1:
            continue
        image = detections.image(row)
        record = {
            "frame": row,
            "frame_id": int(detections.frame_ids[row]),
            "time_s": round(float(detections.time_s[row]), 6),
            "source": 0,
            "width_px": int(frames.table.width_px[row]),
            "height_px": int(frames.table.height_px[row]),
            "boxes_xyxy": np.round(image.boxes_xyxy.astype(np.float64), 2).tolist(),
            "scores": np.round(image.scores.astype(np.float64), 5).tolist(),
            "classes": [detections.class_names[class_id] for class_id in image.class_ids],
        }
        lines.append(json.dumps(record))
    return "\n".join(lines) + "\n"


# --- one cell ------------------------------------------------------------------------------------------------------


def cell_config(config: ReproduceConfig, cell: Cell, out: Path) -> PipelineConfig:
    """The settings of one cell.

    Raises:
        ConfigError: If they do not fit a run's.
    """
    arm, variant = cell.how, cell.beyond
    factor, beyond = config.pool_factor, dict(variant.settings)
    if variant.preset:
        preset = read_preset(variant.preset)
        factor = preset["cull_confidence"]["budget"] / preset["cull_precision"]["budget"]
        beyond = {"train_student": preset["train_student"]}
    kept = max(cell.size, 1)
    wide = round(factor * kept) if arm.labels == "pool" else kept
    recipe: dict[str, Any] = {"seed": cell.seed}
    if cell.arm == "full" and config.full_epochs:
        recipe["epochs"] = config.full_epochs
    if cell.source is not None:
        recipe["subset_replay"] = str(model_of(cell.source, out).absolute())
    modes: Mapping[str, dict[str, Any]] = {
        "off": {"mode": "off"},
        "loss": {"mode": "curve", "judge": "loss"},
        "ap": {"mode": "curve", "judge": "ap"},
    }
    changes: dict[str, Any] = {
        "cull_confidence": {**arm.first, "budget": wide, "seed": cell.seed},
        "cull_precision": {**arm.second, "budget": kept, "seed": cell.seed},
        "choose_resolution": modes[cell.opt_resolution],
        "train_student": {"recipe": recipe},
    }
    plain = camera_config(config, cell.camera, out).model_dump(mode="json")
    if variant.rate != 1:
        recipe["learning_rate"] = variant.rate * plain["train_student"]["recipe"]["learning_rate"]
    where = f"{cell.camera} {cell.name}"
    return parse_config(PipelineConfig, merge(merge(plain, beyond), changes), where=where)


def model_of(cell: Cell, out: Path) -> Path:
    """Return the folder of the model that a cell trains."""
    return cell_folder(cell, out) / "tasks" / "train-student" / "model"


def cell_folder(cell: Cell, out: Path) -> Path:
    """The run of a cell."""
    return out / "cells" / cell.camera / cell.name


def cell_wiring(*, own_labels: bool) -> tuple[TaskSpec, ...]:
    """A cell's tasks. Where it has labels of its own, the teacher is asked again, else they are taken from all."""
    labels = "label-selection.labels" if own_labels else "label-pool.labels"
    wired = {"labels": labels, "selection": "cull-confidence.selection", "detections": "score-frames.detections"}
    tasks = [_TASKS["cull-confidence"]]
    if own_labels:
        tasks.append(_TASKS["label-selection"])
    tasks.append(replace(_TASKS["cull-precision"], inputs=wired))
    tasks.append(
        replace(
            _TASKS["choose-resolution"],
            inputs={"frames": "extract-frames.pool", "selection": "cull-precision.kept", "labels": labels},
        )
    )
    tasks.append(
        replace(
            _TASKS["train-student"],
            inputs={
                "frames": "extract-frames.pool",
                "labels": labels,
                "selection": "cull-precision.kept",
                "resolution": "choose-resolution.resolution",
            },
        )
    )
    tasks.append(
        replace(
            _TASKS["evaluate-student"],
            inputs={
                "frames": "extract-frames.heldout",
                "labels": "label-heldout.labels",
                "model": "train-student.model",
            },
        )
    )
    return tuple(tasks)


def run_cell(
    config: ReproduceConfig, cell: Cell, shared: RunResult, out: Path, worker: Worker, *, device: str, made: Made
) -> tuple[Outcome, bool]:
    """Cull, train and judge; what it came to, and whether there was work.

    Args:
        config: The reproduction.
        cell: Which.
        shared: What `share` gave for its camera.
        out: Folder of the reproduction.
        worker: Who does it.
        device: As `culling run` takes it.
        made: Where the work is done, for the page.

    Raises:
        CullingError: Whatever a stage refuses.
    """
    variant = cell.beyond
    # optResolution by AP looks at labels; only those that the arm has paid for may tell it anything.
    wiring = cell_wiring(own_labels=variant.own_labels or cell.opt_resolution == "ap")
    given = dict(shared.artifacts)
    scoring = _scoring(cell, out, shared)
    given["score-frames.detections"] = scoring.detections
    result = run_pipeline(
        cell_config(config, cell, out), cell_folder(cell, out), display=worker.display, device=device,
        wiring=wiring, given=given,
    )  # fmt: skip
    if "train-student" not in result.skipped:
        write_made(cell_folder(cell, out), made.at_now())
    return _outcome(config, cell, out, shared, scoring, result), len(result.skipped) < len(wiring)


@dataclass(frozen=True, slots=True)
class _Scoring:
    """Source and cost of a cell's scores."""

    detections: Path
    pool: int  # frames scored or read
    seconds: float


def _scoring(cell: Cell, out: Path, shared: RunResult) -> _Scoring:
    variant = cell.beyond
    folder = out / "cameras" / f"{cell.camera}{'+gate' if variant.gate else ''}{'+logged' if variant.logged else ''}"
    if not (variant.gate or variant.logged):
        detections, timing = shared.artifacts["score-frames.detections"], shared.timings["score-frames"]
    else:
        detections = folder / "tasks" / "score-frames" / "detections"
        read = read_timing(detections)
        if read is None:
            raise ConfigError(
                f"{detections}: the seconds that scoring took are missing. Delete {folder} and run again."
            )
        timing = read
    looked = timing.counts.get("looked_at_frames", timing.counts["frames"])
    seconds = timing.figures["seconds_per_frame"] * looked + timing.figures.get("seconds_reading_log", 0.0)
    return _Scoring(detections, timing.counts["frames"], seconds)


def _outcome(
    config: ReproduceConfig, cell: Cell, out: Path, shared: RunResult, scoring: _Scoring, result: RunResult
) -> Outcome:
    """A cell's row, out of its artifacts and the seconds that lie beside them."""
    arm, timings = cell.how, result.timings
    teacher_s = shared.timings["label-pool"].figures["seconds_per_frame"]
    frames = shared.timings["extract-frames"].counts["pool"]
    kept = read_selection(result.artifacts["cull-precision.kept"]).frame_ids
    widely = timings["cull-confidence"].counts["kept"]
    labelled = {"none": 0, "kept": len(kept), "pool": widely, "all": scoring.pool}[arm.labels]
    labelled_s = labelled * teacher_s
    if cell.beyond.own_labels:
        own = timings["label-selection"]
        labelled_s = own.counts["looks"] * own.figures["seconds_per_frame"] + own.figures.get("linking_s", 0.0)
    training, looking = timings["train-student"], timings["choose-resolution"]
    metrics = read_metrics(result.artifacts["evaluate-student.metrics"])
    resolution = read_resolution(result.artifacts["choose-resolution.resolution"])
    row = Row(
        camera=cell.camera,
        group=config.cameras[cell.camera].group,
        arm=cell.arm,
        size=cell.size,
        opt_resolution=cell.opt_resolution,
        variant=cell.variant,
        seed=cell.seed,
        frames=frames,
        pool=scoring.pool,
        labelled=labelled,
        trained_on=len(kept),
        epochs=cell_config(config, cell, out).train_student.recipe.epochs,
        passes=_passes(training),
        heldout_frames=int(metrics["heldout_frames"]),
        agreement=metrics.get("map_50_trained", math.nan),
        accuracy=metrics.get("map_50_trained_truth", math.nan),
        raw_agreement=metrics.get("map_50_raw", math.nan),
        raw_accuracy=metrics.get("map_50_raw_truth", math.nan),
        teacher_accuracy=metrics.get("map_50_teacher_truth", math.nan),
        student_s=shared.timings["score-frames"].figures["seconds_per_frame"],
        teacher_s=teacher_s,
        step_s=training.figures["seconds_per_image"],
        scored_s=scoring.seconds if arm.scores else 0.0,
        labelled_s=labelled_s,
        select_s=sum(timings[name].figures["select_seconds"] for name in ("cull-confidence", "cull-precision")),
        opt_s=0.0
        if cell.opt_resolution == "off"
        else looking.figures["seconds_per_frame"] * looking.counts["frames"] * looking.counts["scales"],
        # Seconds a step times steps, not the stage's: a training that was killed and resumed is counted whole.
        training_s=training.figures["seconds_per_step"] * training.counts["steps"]
        + training.figures.get("choosing_s", 0.0),
        scale=resolution.scale,
        side_px=resolution.side_px,
        gflops=resolution.gflops_chosen,
        gflops_full=resolution.gflops_full,
        object_px=object_px(read_labels(shared.artifacts["label-heldout.labels"])),
        device=training.device,
    )
    curve = tuple(
        CurvePoint(
            cell.camera, cell.size, cell.seed, point.scale, point.side_px, point.gflops, point.loss_change,
            point.map_50, int(point.scale == resolution.scale),
        )
        for point in (resolution.curve if cell.opt_resolution == "loss" and cell.variant == "plain" else ())
    )  # fmt: skip
    return Outcome(row, frozenset(kept.tolist()), curve, read_made(cell_folder(cell, out)))


def write_made(folder: Path, made: Made) -> None:
    """Say where a cell's training was done, beside it, and of which training that is said.

    Raises:
        OutputError: If it cannot be written.
    """
    write_page(folder / MADE, json.dumps({"training": _training_of(folder), **asdict(made)}) + "\n")


def read_made(folder: Path) -> Made:
    """Read the origin of a cell's training; empty where it was not recorded or is of an earlier training."""
    try:
        found = json.loads((folder / MADE).read_text(encoding="utf-8"))
        return Made(**found) if found.pop("training") == _training_of(folder) else Made()
    except (OSError, ValueError, KeyError, TypeError):
        return Made()


def _training_of(folder: Path) -> str:
    """Return the digest by which the engine identifies a cell's training."""
    done = json.loads((folder / "tasks" / "train-student" / "done.json").read_text(encoding="utf-8"))
    return str(done["identity"])


def _passes(training: Timing) -> float:
    """Over the kept frames: images that training looked at, by its own seconds, over frames."""
    per_image, per_step = training.figures["seconds_per_image"], training.figures["seconds_per_step"]
    return per_step * training.counts["steps"] / max(per_image * training.counts["frames"], 1e-12)


def object_px(labels: Detections) -> float:
    """Median root of the area of the boxes that the teacher is sure of; NaN without such boxes."""
    boxes = labels.boxes_xyxy[~labels.ignore].astype(np.float64)
    if len(boxes) == 0:
        return math.nan
    return float(np.median(np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))))


def untrained(rows: Sequence[Row]) -> list[Row]:
    """The untrained student's row of each camera, as any of its cells has judged it."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.camera not in found:
            found[row.camera] = replace(
                row, arm="untrained", size=0, opt_resolution="off", variant="plain", seed=0, pool=row.frames,
                labelled=0, trained_on=0, epochs=0, passes=0.0, agreement=row.raw_agreement, accuracy=row.raw_accuracy,
                step_s=0.0, scored_s=0.0, labelled_s=0.0, select_s=0.0, opt_s=0.0, training_s=0.0, scale=1.0,
                gflops=row.gflops_full,
            )  # fmt: skip
    return list(found.values())
