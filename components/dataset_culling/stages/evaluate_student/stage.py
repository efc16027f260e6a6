"""Evaluation of raw and trained student, champion and control arm on the held-out frames, with COCO's figures.

Against the teacher's labels the figures are agreement; against true boxes, if given, they are accuracy, also of the
teacher.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.control import control_weights, read_control
from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import from_coco_json, read_labels
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.artifacts.model import read_model_card, weights_file
from dataset_culling.artifacts.replay import read_replay
from dataset_culling.detectors.base import Detector, DetectorRef
from dataset_culling.detectors.table import load_detector, load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ExportLosesAccuracy, InputError
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.evaluation.flat_metrics import for_serving, intervals, objects, quality
from dataset_culling.inference.detect import ScanLog, local_file, local_weights, scan
from dataset_culling.inference.held_out import Student, detect_with, identity_map, load_student
from dataset_culling.inference.replayed import Detect, replayed
from dataset_culling.registry.models import open_registry
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.evaluate_student.config import EvaluateStudentConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.types import ClassMap, Detections, IntArray, parse_classes

LATENCY_ROUNDS = 11
"""Runs on a single image, as in serving; the median counts."""


def run(config: EvaluateStudentConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Run all students on the held-out frames; write metrics and the detections of raw and trained student."""
    frames = FrameReader(inputs["frames"])
    frame_ids = frames.table.frame_ids
    labels = read_labels(inputs["labels"])
    if len(labels) != len(frame_ids) or np.any(labels.frame_ids != frame_ids):
        raise InputError(
            f"{inputs['labels']}: the labels are not those of the held-out frames. Pass both of the same run."
        )
    if not np.any(~labels.ignore):
        raise InputError(
            f"{inputs['labels']}: the {len(frame_ids)} held-out frames hold no object, so nothing can be measured. "
            f"Use footage with {', '.join(labels.class_names)} at its end, or lower "
            f"label_frames.min_score."
        )
    classes = parse_classes(config.classes)
    card = read_model_card(inputs["model"])
    own = DetectorRef(name=card.detector, weights=str(weights_file(inputs["model"])))
    trained = load_trainable(own, device=context.device)
    raw = load_trainable(local_weights(config.student), device=context.device)
    total = 2 * len(frame_ids)
    log = ScanLog()
    watch = Stopwatch()
    found_raw = scan(
        frames, frame_ids, raw, classes,
        side_px=config.student.side_px, min_score=config.min_score, batch_size=config.batch_size,
        log=log, precision=config.precision,
        progress=lambda done, _: context.progress(done, total),
    )  # fmt: skip
    seconds_raw, num_raw = watch.seconds(), log.num_looked
    found_trained = scan(
        frames, frame_ids, trained, identity_map(card.class_names),
        side_px=card.side_px, min_score=config.min_score, batch_size=config.batch_size,
        log=log, precision=config.precision,
        progress=lambda done, _: context.progress(len(frame_ids) + done, total),
    )  # fmt: skip
    seconds_trained, num_trained = watch.seconds() - seconds_raw, log.num_looked - num_raw
    students = {"raw": found_raw, "trained": found_trained}
    metrics: dict[str, float] = {"heldout_frames": float(len(frame_ids))}

    def with_(detector: Detector, class_map: ClassMap, side_px: int) -> Detect:
        return detect_with(
            detector, class_map, side_px, min_score=config.min_score, batch_size=config.batch_size,
            precision=config.precision, log=log,
        )  # fmt: skip

    same = identity_map(classes.names)
    on_replay = {"raw": with_(raw, classes, config.student.side_px), "trained": with_(trained, same, card.side_px)}
    version = open_registry(config.registry).champion(config.camera).version if config.registry else 0
    if version and (champion := _champion(config, classes, version, context.device)) is not None:
        metrics["champion_version"] = float(version)
        on_replay["champion"] = with_(champion.detector, same, champion.side_px)
        students["champion"] = on_replay["champion"](frames, frame_ids)
    if (control := read_control(inputs["control"]) if "control" in inputs else None) is not None:
        ref = DetectorRef(name=control.card.detector, weights=str(control_weights(inputs["control"])))
        detect = with_(load_trainable(ref, device=context.device), same, control.card.side_px)
        students["control"] = detect(frames, frame_ids)
    if "replay" in inputs and any(part.kind == "check" for part in read_replay(inputs["replay"]).slices):
        teacher = load_detector(local_weights(config.teacher), device=context.device)
        on_replay["teacher"] = with_(teacher, classes, config.teacher.side_px)
    metrics.update(replayed(inputs, on_replay))
    start_utc = frames.table.start_utc
    metrics.update(objects(labels, start_utc=start_utc))
    for name, found in students.items():
        metrics.update(quality(found, labels, name, start_utc=start_utc))
    metrics.update(intervals(students, labels, resamples=config.resamples))
    table = frames.table
    metrics.update(for_serving(found_trained, labels, table.height_px, table.width_px, floor=config.min_score))
    if config.export == "onnx":
        metrics.update(_exported(config, frames, trained, found_trained, labels, card.side_px, log))
    if config.truth:
        truth = read_truth(local_file(config.truth), classes, frames.table.time_s, frame_ids)
        for name, found in (*students.items(), ("teacher", labels.keep_boxes(~labels.ignore))):
            metrics.update(quality(found, truth, f"{name}_truth", start_utc=start_utc))
        metrics.update(intervals(students, truth, resamples=config.resamples, suffix="_truth"))
    origin = context.origin(config, inputs)
    write_detections(outputs["raw"], found_raw, origin)
    write_detections(outputs["trained"], found_trained, origin)
    write_metrics(outputs["metrics"], metrics, origin)
    return StageReport(
        counts={"frames": len(frame_ids), "teacher_boxes": int((~labels.ignore).sum())},
        figures={
            "raw_seconds_per_frame": seconds_raw / max(num_raw, 1),
            "trained_seconds_per_frame": seconds_trained / max(num_trained, 1),
        },
        notes=tuple(dict.fromkeys(log.notes)),
    )


def _exported(
    config: EvaluateStudentConfig,
    frames: FrameReader,
    trained: TorchDetector,
    found_trained: Detections,
    labels: Detections,
    side_px: int,
    log: ScanLog,
) -> dict[str, float]:
    """Export the trained student to ONNX and measure mAP@50, its loss, the latency and the size on the same frames.

    Raises:
        ExportLosesAccuracy: If it loses more than the configuration allows.
    """
    from dataset_culling.detectors.export import export_onnx
    from dataset_culling.detectors.exported import load_exported

    sizes, counts = np.unique(np.stack([frames.table.height_px, frames.table.width_px]), axis=1, return_counts=True)
    height_px, width_px = (int(side) for side in sizes[:, counts.argmax()])
    with tempfile.TemporaryDirectory(prefix="culling-export-") as folder:
        description = export_onnx(
            trained.to("cpu"), Path(folder), height_px=height_px, width_px=width_px, side_px=side_px,
            min_score=config.min_score,
        )  # fmt: skip
        network_bytes = sum(file.stat().st_size for file in Path(folder).glob("*.onnx"))
        exported = load_exported(description)
        found = scan(
            frames, frames.table.frame_ids, exported, identity_map(labels.class_names),
            side_px=0, min_score=config.min_score, batch_size=config.batch_size, log=log,
            progress=lambda done, total: None,
        )  # fmt: skip
        one = [exported.prepare(frames.image(int(frames.table.frame_ids[0])))]
        latencies_s = []
        for _ in range(LATENCY_ROUNDS):
            watch = Stopwatch()
            exported.detect(one, min_score=config.min_score)
            latencies_s.append(watch.seconds())
    before, after = evaluate(found_trained, labels).map_50, evaluate(found, labels).map_50
    if before - after > config.export_max_loss:
        raise ExportLosesAccuracy(
            f"{exported.name}: expected the ONNX export within {config.export_max_loss:g} of mAP@50 {before:.4f} on "
            f"the held-out frames, found {after:.4f}. Deploy the model itself, or raise export_max_loss."
        )
    return {
        "map_50_exported": after,
        "export_loss_map_50": before - after,
        "exported_latency_s": float(np.median(latencies_s)),
        "exported_mib": network_bytes / 2**20,
    }


def _champion(config: EvaluateStudentConfig, classes: ClassMap, version: int, device: str) -> Student | None:
    with tempfile.TemporaryDirectory(prefix="culling-champion-") as folder:
        model = open_registry(config.registry).fetch_model(config.camera, version, Path(folder))
        return load_student(model, classes.names, device=device)


def read_truth(path: Path, classes: ClassMap, time_s: np.ndarray, frame_ids: IntArray) -> Detections:
    """Read the true boxes of N frames from a COCO json, joined by time.

    Args:
        path: COCO json; images need `time_s`, seconds from the start of the footage.
        classes: The camera's classes, which are also the result's; boxes of others are dropped.
        time_s: Time of each frame, shape (N,).
        frame_ids: The frames, ascending, shape (N,).

    Raises:
        InputError: If the file is missing or invalid, or a frame has no image within half the images' spacing.
    """
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        times = np.array([image["time_s"] for image in coco["images"]], np.float64)
        ids = np.array([image["id"] for image in coco["images"]], np.int64)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of true boxes. Check --truth.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected COCO json whose images have time_s, found {error!r}.") from None
    order = np.argsort(times, kind="stable")
    times, ids = times[order], ids[order]
    if len(times) == 0:
        raise InputError(f"{path}: the COCO json has no image. Check --truth.")
    nearest = np.clip(np.searchsorted(times, time_s), 1, max(len(times) - 1, 1))
    left = np.clip(nearest - 1, 0, len(times) - 1)
    right = np.clip(nearest, 0, len(times) - 1)
    pick = np.where(np.abs(times[left] - time_s) <= np.abs(times[right] - time_s), left, right)
    spacing = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    if (far := np.flatnonzero(np.abs(times[pick] - time_s) > spacing / 2 + 1e-3)).size:
        raise InputError(
            f"{path}: expected true boxes at {time_s[far[0]]:.2f} s, found the nearest at {times[pick[far[0]]]:.2f} s. "
            f"The file belongs to other footage."
        )
    try:
        truth = from_coco_json(coco, frame_ids=dict(zip(ids[pick].tolist(), frame_ids.tolist(), strict=True)))
    except (ValueError, KeyError) as error:
        raise InputError(f"{path}: expected COCO json, found {error}.") from None
    index = classes.index_for(str(path), truth.class_names)
    kept = truth.keep_boxes(index[truth.class_ids] >= 0)
    return dataclasses.replace(kept, class_ids=index[kept.class_ids], class_names=classes.names)
