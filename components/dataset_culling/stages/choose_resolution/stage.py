"""optResolution: shrink the image step by step until the student's confidence changes (paper, section 2.2).

Or, as an option, try sizes in both directions and choose by AP against the teacher's labels.

N = frames that the sizes are tried on, S = sizes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.resolution import BucketResolution, Resolution, ResolutionPoint, write_resolution
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import InputError
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.inference.detect import ScanLog, local_weights, scan
from dataset_culling.resolution.scale import (
    ScaleChoice,
    choose_scale,
    choose_scale_by_ap,
    choose_scale_per_bucket,
    hour_buckets,
    relative_change,
    sides_to_try,
    size_buckets,
)
from dataset_culling.stages.base import Inputs, Outputs, StageContext, StageReport
from dataset_culling.stages.choose_resolution.config import ChooseResolutionConfig
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.strategies.base import Float64Array
from dataset_culling.strategies.confidence_loss import ConfidenceConfig, frame_loss
from dataset_culling.types import Detections, IntArray, Selection, parse_classes


def run(config: ChooseResolutionConfig, inputs: Inputs, outputs: Outputs, context: StageContext) -> StageReport:
    """Run the student on the frames at several sizes; write the choice and the curve."""
    frames = FrameReader(inputs["frames"])
    labels = read_labels(inputs["labels"])
    frame_ids = frames_to_judge(config, read_selection(inputs["selection"]), labels)
    wanted = labels.take(labels.rows_of(frame_ids))
    if config.judge == "ap" and config.mode != "off" and not np.any(~wanted.ignore):
        raise InputError(
            f"{inputs['labels']}: the {len(wanted)} frames that sizes are judged on hold no object. "
            f"Raise choose_resolution.max_frames, or set choose_resolution.judge to loss."
        )
    student = load_trainable(local_weights(config.student), device=context.device)
    classes = parse_classes(config.classes)
    row = int(np.searchsorted(frames.table.frame_ids, frame_ids[0]))
    height, width = int(frames.table.height_px[row]), int(frames.table.width_px[row])
    full_side = min(student.network_size(height, width, config.student.side_px))
    down, up = (0, 0) if config.mode == "off" else (config.max_steps, config.max_steps_up)
    sides = sides_to_try(
        full_side, config.factor, lambda side: min(student.network_size(height, width, side)), down=down, up=up
    )
    found: dict[float, Detections] = {}
    log = ScanLog()
    watch = Stopwatch()

    loss_config = _loss_config(config)

    def losses_at(scale: float) -> Float64Array:
        done = len(found) * len(frame_ids)
        found[scale] = scan(
            frames, frame_ids, student, classes, side_px=sides[scale], min_score=min(config.min_score, 0.05),
            batch_size=config.batch_size, log=log,
            progress=lambda now, _: context.progress(done + now, len(sides) * len(frame_ids)),
        )  # fmt: skip
        return frame_loss(found[scale], loss_config)

    if config.judge == "ap":
        losses = {scale: losses_at(scale) for scale in sides}
        ap = {scale: evaluate(boxes, wanted).map_50 for scale, boxes in found.items()}
        best = 1.0
        if config.mode != "off":
            best = choose_scale_by_ap(list(sides), np.array(list(ap.values())), tolerance=config.tolerance)
        changes = tuple(relative_change(losses[1.0], loss) for loss in losses.values())
        choice = ScaleChoice(best, tuple(sides), changes)
    else:
        choice = choose_scale(losses_at, list(sides), threshold=config.threshold, whole_curve=config.mode == "curve")
        ap = {scale: evaluate(boxes, wanted).map_50 for scale, boxes in found.items()}
    seconds = watch.seconds()
    context.progress(1, 1)
    gflops = {scale: student.gflops(height, width, sides[scale]) for scale in choice.scales}
    buckets = [
        BucketResolution(name, num_frames, scale, sides[scale], gflops[scale])
        for name, num_frames, scale in _choices_per_bucket(config, found, wanted)
    ]
    write_resolution(
        outputs["resolution"],
        Resolution(
            scale=choice.scale,
            side_px=sides[choice.scale],
            full_side_px=full_side,
            threshold=config.threshold,
            gflops_full=gflops[1.0],
            gflops_chosen=gflops[choice.scale],
            reason=_reason_by_ap(config, choice.scale, ap) if config.judge == "ap" else _reason_by_loss(config, choice),
            curve=tuple(
                ResolutionPoint(scale, sides[scale], change, gflops[scale], ap[scale])
                for scale, change in zip(choice.scales, choice.changes, strict=True)
            ),
            judge=config.judge,
        ),
        context.origin(config, inputs),
        buckets=buckets,
    )
    return StageReport(
        counts={"frames": len(frame_ids), "scales": len(choice.scales), "side_px": sides[choice.scale]},
        figures={"seconds_per_frame": seconds / max(log.num_looked, 1)},
        notes=(
            *dict.fromkeys(log.notes),
            *(f"{one.bucket}: {one.side_px} px for {one.num_frames} frames" for one in buckets),
        ),
    )


def _loss_config(config: ChooseResolutionConfig) -> ConfidenceConfig:
    return ConfidenceConfig(q=config.q, b=config.b, min_score=config.min_score)


def frames_to_judge(config: ChooseResolutionConfig, culled: Selection, labels: Detections) -> IntArray:
    """Choose the frames to try sizes on: ids, ascending, shape (N,), N at most `max_frames`.

    The loss is judged on the hardest of the culled frames, as in the paper. AP is judged on the whole labelled pool,
    evenly spread in time, because culled frames are those on which the raw student is worst.
    """
    if config.judge == "loss":
        return np.sort(culled.frame_ids[: config.max_frames])
    rows = np.linspace(0, len(labels) - 1, min(config.max_frames, len(labels)))
    return labels.frame_ids[np.unique(rows.round().astype(np.int64))]


def _choices_per_bucket(
    config: ChooseResolutionConfig, found: Mapping[float, Detections], wanted: Detections
) -> list[tuple[str, int, float]]:
    """Choose a scale for each bucket of frames, among those tried: (name, number of frames, scale).

    Args:
        config: Kind of buckets, and judge.
        found: Scale -> the student's boxes there, scales falling, N frames.
        wanted: The teacher's boxes on the same frames. Judge ap leaves out a bucket without any.
    """
    if config.buckets == "off":
        return []
    if config.buckets == "hour":
        bucket, names = hour_buckets(wanted.time_s)
    else:
        bucket, names = size_buckets(found[1.0], min_score=config.min_score)
    scales = list(found)
    if config.judge == "loss":
        losses = np.stack([frame_loss(boxes, _loss_config(config)) for boxes in found.values()])
        chosen = choose_scale_per_bucket(losses, scales, bucket, threshold=config.threshold)
    else:
        chosen = {}
        for one in np.unique(bucket).tolist():
            rows = np.flatnonzero(bucket == one)
            ap = np.array([evaluate(boxes.take(rows), wanted.take(rows)).map_50 for boxes in found.values()])
            if np.all(ap >= 0):
                chosen[int(one)] = choose_scale_by_ap(scales, ap, tolerance=config.tolerance)
    return [(names[one], int(np.sum(bucket == one)), scale) for one, scale in sorted(chosen.items())]


def _reason_by_loss(config: ChooseResolutionConfig, choice: ScaleChoice) -> str:
    """Explain a choice by the confidence loss in one line."""
    if config.mode == "off":
        return "full size, as configured"
    over = next((row for row, change in enumerate(choice.changes) if change > config.threshold), None)
    if over is None:
        return (
            f"the loss changed by no more than {max(choice.changes):.3f} down to scale {choice.scale:.2f}, the "
            f"smallest tried"
        )
    return (
        f"at scale {choice.scales[over]:.2f} the loss changes by {choice.changes[over]:.3f}, over the threshold of "
        f"{config.threshold:g}; {choice.scale:.2f} is the last below it"
    )


def _reason_by_ap(config: ChooseResolutionConfig, scale: float, ap: Mapping[float, float]) -> str:
    """Explain a choice by AP in one line."""
    if config.mode == "off":
        return "full size, as configured"
    best = max(ap, key=lambda one: (ap[one], -one))
    return (
        f"scale {scale:.2f} agrees with the teacher to {100 * ap[scale]:.1f} points, the smallest within "
        f"{100 * config.tolerance:g} of the best, {100 * ap[best]:.1f} at {best:.2f}; full size has "
        f"{100 * ap[1.0]:.1f}"
    )
