"""Evaluations as flat metrics, without figures that have no truth boxes (COCO's -1).

map_50_S map_50_95_S map_small_S map_medium_S map_large_S ap_50_CLASS_S    0..1; S: raw, trained, champion, with
                                       `_truth` if compared with the true boxes, not with the teacher's
false_positives_per_empty_frame_S      boxes of at least 0.5 on frames without objects
hour_07_map_50_S                       frames of one hour of the day (UTC), if the footage's clock is known
elapsed_hour_00_map_50_S               else of one hour since the footage began
low_95_map_50_S high_95_map_50_S       95 % interval by block bootstrap
objects_class_CLASS objects_hour_07    true boxes of a class and of an hour, to recognise figures of few objects
gain_map_50 low_95_gain_map_50 high_95_gain_map_50    trained less raw, drawn together; `gain_over_champion_...`
score_threshold_CLASS                  least score of the trained student's boxes in serving
frame_height_px frame_width_px         the camera's frames, or most of them
"""

from __future__ import annotations

import datetime

import numpy as np

from dataset_culling.evaluation.by_time import evaluate_by_hour, hours_of
from dataset_culling.evaluation.coco import Evaluation, evaluate
from dataset_culling.evaluation.interval import (
    Interval,
    map_50_gain_interval,
    map_50_interval,
    num_blocks,
    suggest_block_s,
)
from dataset_culling.evaluation.promotion_rule import GAINS
from dataset_culling.evaluation.thresholds import best_scores
from dataset_culling.types import Detections, IntArray

_SEED = 0  # of the draws; every figure gets the same ones


def quality(found: Detections, truth: Detections, name: str, *, start_utc: str) -> dict[str, float]:
    """Evaluate detections on all frames and by hour.

    Args:
        found: Boxes of N frames.
        truth: Boxes of the same frames, taken as true.
        name: S in the names above.
        start_utc: Wall clock at the start of the footage, ISO 8601; "" if unknown.
    """
    figures = _figures(evaluate(found, truth), name)
    prefix, start_hour = _clock(start_utc)
    for hour, result in evaluate_by_hour(found, truth, start_hour=start_hour).items():
        if result.map_50 >= 0:
            figures[f"{prefix}_{hour:02d}_map_50_{name}"] = result.map_50
    return figures


def objects(truth: Detections, *, start_utc: str) -> dict[str, float]:
    """Count the true boxes of each class and in each hour, without ignored ones.

    Args:
        truth: Boxes of N frames, taken as true.
        start_utc: Wall clock at the start of the footage, ISO 8601; "" if unknown.
    """
    sure = truth.keep_boxes(~truth.ignore)
    by_class = np.bincount(sure.class_ids, minlength=len(truth.class_names))
    figures = {
        f"objects_class_{metric_name(name)}": float(num) for name, num in zip(truth.class_names, by_class, strict=True)
    }
    prefix, start_hour = _clock(start_utc)
    by_hour = np.bincount(hours_of(sure.time_s, start_hour=start_hour)[sure.frame_rows()], minlength=24)
    return figures | {f"objects_{prefix}_{hour:02d}": float(num) for hour, num in enumerate(by_hour) if num}


def _clock(start_utc: str) -> tuple[str, float]:
    """Return the metrics' word for hours, and the time of day at which the footage starts, in hours."""
    if not start_utc:
        return "elapsed_hour", 0.0
    start = datetime.datetime.fromisoformat(start_utc)
    return "hour", start.hour + start.minute / 60 + start.second / 3600


def _figures(result: Evaluation, name: str) -> dict[str, float]:
    figures = {
        f"map_50_{name}": result.map_50,
        f"map_50_95_{name}": result.map_50_95,
        f"map_small_{name}": result.map_small,
        f"map_medium_{name}": result.map_medium,
        f"map_large_{name}": result.map_large,
        f"false_positives_per_empty_frame_{name}": result.false_positives_per_empty_frame,
        **{f"ap_50_{metric_name(label)}_{name}": value for label, value in result.ap_50_by_class.items()},
    }
    return {key: float(value) for key, value in figures.items() if value >= 0}


def metric_name(label: str) -> str:
    """Turn a class name into a part of a metric's name: lower case, underscores."""
    return "".join(letter if letter.isalnum() else "_" for letter in label.lower())


def threshold_metric(label: str) -> str:
    """Return the metric's name of a class's score threshold."""
    return f"score_threshold_{metric_name(label)}"


def for_serving(
    found: Detections, labels: Detections, height_px: IntArray, width_px: IntArray, *, floor: float
) -> dict[str, float]:
    """Compute the figures that serving needs: the frames' usual size, and each class's score threshold.

    Args:
        found: The trained student's boxes on N held-out frames.
        labels: The teacher's on the same frames.
        height_px: Height of each frame, shape (N,).
        width_px: Width of each frame, shape (N,).
        floor: Least score of the kept boxes.
    """
    sizes, counts = np.unique(np.stack([height_px, width_px]), axis=1, return_counts=True)
    height, width = sizes[:, counts.argmax()]
    best = best_scores(found, labels, floor=floor)
    return {
        "frame_height_px": float(height),
        "frame_width_px": float(width),
        **{threshold_metric(label): score for label, score in best.items()},
    }


def intervals(found: dict[str, Detections], truth: Detections, *, resamples: int, suffix: str = "") -> dict[str, float]:
    """Compute the gains of training, and intervals of gains and mAP@50 if the footage is long enough.

    Args:
        found: S -> boxes of N frames; raw and trained are required, champion is optional.
        truth: Boxes of the same frames, taken as true.
        resamples: Draws; 0: none.
        suffix: Appended to every name.
    """
    figures: dict[str, float] = {}
    score = {name: evaluate(boxes, truth).map_50 for name, boxes in found.items()}
    if min(score.values()) >= 0:  # below: there are no objects
        for before, name in GAINS.items():
            if before in score:
                figures[f"{name}{suffix}"] = score["trained"] - score[before]
    block_s = suggest_block_s(truth.time_s)
    if resamples == 0 or len(truth) == 0 or num_blocks(truth, block_s) < 2 or not np.any(~truth.ignore):
        return figures

    def put(name: str, interval: Interval) -> None:
        figures[f"low_95_{name}"], figures[f"high_95_{name}"] = interval.low, interval.high

    for name, boxes in found.items():
        rng = np.random.default_rng(_SEED)
        put(f"map_50_{name}{suffix}", map_50_interval(boxes, truth, block_s=block_s, rng=rng, resamples=resamples))
    for before, name in GAINS.items():
        if before in found:
            rng = np.random.default_rng(_SEED)
            gain = map_50_gain_interval(
                found[before], found["trained"], truth, block_s=block_s, rng=rng, resamples=resamples
            )
            figures[f"{name}{suffix}"] = gain.value
            put(f"{name}{suffix}", gain)
    return figures
