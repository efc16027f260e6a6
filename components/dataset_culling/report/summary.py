"""summary.json: the outcome of a run as flat figures with units in their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from dataset_culling.artifacts.timing import Timing
from dataset_culling.planning import CostRates, projected_full_training_seconds
from dataset_culling.report.run_data import Run

CULLING_TASKS = (
    "score-frames",
    "cull-confidence",
    "label-selection",
    "cull-precision",
    "choose-resolution",
    "train-student",
)
"""Tasks that replace labelling and training on everything; the others are needed either way."""


def summarise(run: Run) -> dict[str, Any]:
    """Summarise a run.

    Returns:
        All of metrics/1 and the figures of this module; flat except for stage_seconds. Unknown figures are missing:
        those against the truth without true boxes, the projection without timings of labelling and training.
    """
    summary: dict[str, Any] = {
        "camera": run.camera,
        "classes": list(run.class_names),
        "student": run.student,
        "teacher": run.teacher,
        **({"footage_start_utc": run.pool.start_utc} if run.pool.start_utc else {}),
        "frames_extracted": len(run.pool) + len(run.heldout),
        "frames_pool": len(run.pool),
        "frames_heldout": len(run.heldout),
        "frames_kept_confidence": len(run.selection),
        "frames_labeled": len(run.labels),
        "frames_kept": len(run.kept),
        **run.metrics,
        "scale": run.resolution.scale,
        "side_px": run.resolution.side_px,
        "full_side_px": run.resolution.full_side_px,
        "gflops_full": run.resolution.gflops_full,
        "gflops_chosen": run.resolution.gflops_chosen,
        "promoted": run.decision.promoted,
        "promotion_reason": run.decision.reason,
        "promoted_version": run.decision.version,
        "stage_seconds": {task: round(cost.seconds, 3) for task, cost in run.costs.items()},
    }
    summary.update(culling_gain(run.metrics))
    if run.costs:
        costs = run.costs.values()
        summary["peak_rss_mib"] = round(max(cost.peak_rss_mib for cost in costs), 1)
        summary["pipeline_seconds"] = round(sum(cost.seconds for cost in costs), 3)
        summary["gpu_seconds"] = round(sum(cost.seconds for cost in costs if cost.device.startswith("cuda")), 3)
    summary.update(projection(run.costs, num_pool=len(run.pool), epochs=int(run.training.get("epochs", 0))))
    return summary


def culling_gain(metrics: Mapping[str, float]) -> dict[str, float]:
    """Compute the gain by culling: mAP@50 of the trained student less that of the control arm's (random frames).

    Args:
        metrics: metrics/1.

    Returns:
        culling_gain_map_50 against the teacher, and culling_gain_map_50_truth if truth is known; empty without a
        control arm.
    """
    gains = {}
    for suffix in ("", "_truth"):
        trained, control = metrics.get(f"map_50_trained{suffix}"), metrics.get(f"map_50_control{suffix}")
        if trained is not None and control is not None:
            gains[f"culling_gain_map_50{suffix}"] = trained - control
    return gains


def projection(costs: Mapping[str, Timing], *, num_pool: int, epochs: int) -> dict[str, float]:
    """Project the seconds of labelling and training on the whole pool by the cost model, and compare with this run.

    This is not a measurement: it multiplies the seconds per frame of this run by all frames. Both sides are at the
    chosen resolution, which favours training on everything.

    Args:
        costs: Task -> timing, with the figures `seconds_per_frame` of score-frames and label-selection, and
            `seconds_per_image` (per image and epoch) of train-student.
        num_pool: N, frames in the pool.
        epochs: E, passes over the training set.

    Returns:
        projected_full_training_seconds = N (t + E k); culled_training_seconds, the sum over CULLING_TASKS; the first
        over the second; and the inputs. Empty if an input is missing.

    Source:
        `planning.full_cost`, the cost model behind Table 1 of Yoshioka et al., ICIP 2019.
    """
    try:
        rates = CostRates(
            student_s=costs["score-frames"].figures["seconds_per_frame"],
            teacher_s=costs["label-selection"].figures["seconds_per_frame"],
            step_s=costs["train-student"].figures["seconds_per_image"],
            epochs=epochs,
            variants=1,  # a flip replaces the frame in our recipe, so an epoch sees each frame once
        )
    except (KeyError, ValidationError):
        return {}
    full_s = projected_full_training_seconds(num_pool, rates)
    culled_s = sum(cost.seconds for task, cost in costs.items() if task in CULLING_TASKS)
    return {
        "epochs": rates.epochs,
        "student_seconds_per_frame": round(rates.student_s, 6),
        "teacher_seconds_per_frame": round(rates.teacher_s, 6),
        "train_seconds_per_image": round(rates.step_s, 6),
        "projected_full_training_seconds": round(full_s, 3),
        "culled_training_seconds": round(culled_s, 3),
        **({"projected_full_training_ratio": round(full_s / culled_s, 3)} if culled_s > 0 else {}),
    }
