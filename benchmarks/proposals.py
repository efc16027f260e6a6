"""Doubtful frames first: share of the teacher's mistakes that an annotator has fixed after a part of the frames.

    python benchmarks/proposals.py [--json FILE] [--scenes demo,street-far,lobby] [--frames 120] [--parts 10,25,50]
                                   [--draws 3] [--quick]

The embedded teacher labels frames of simulated cameras, evenly over stretches of the day that do not meet (--draws);
the student runs on them, too. A mistake is a box that is no object of its class at IoU 0.5, or a true object without
one; what the truth marks as too small or hidden counts neither way. Orders in which a person goes through the frames:
    doubt      `culling propose`'s: `evaluation.doubt.doubt_of`, labels and student
    labels     the same without the student
    score      the teacher's least sure box first, as uncertainty sampling has it
    time       as they were filmed
Printed as Markdown: share of all mistakes (%) on the first --parts (%) of the frames, mean and standard deviation over
the stretches. Keys: SCENE_ORDER_PART_DRAW, and SCENE_mistakes_DRAW.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from tracks import Watched, watch  # benchmarks/tracks.py, beside this

ORDERS = ("doubt", "labels", "score", "time")
STRETCH_S = 1800.0
SURE = 0.5
"""Least score of a student's box that counts; the job takes the run's thresholds."""


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--scenes", default="demo,street-far,lobby", help="of `culling simulate`")
    parser.add_argument("--frames", type=int, default=120, help="of each stretch")
    parser.add_argument("--parts", default="10,25,50", help="of the frames, %%")
    parser.add_argument("--draws", type=int, default=3, help="stretches of half an hour")
    parser.add_argument("--quick", action="store_true", help="a few frames of one camera, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.scenes, options.frames, options.draws = "demo", 12, 1
    parts = [int(one) for one in options.parts.split(",")]
    figures: dict[str, float] = {}
    print(f"| camera | order | {' | '.join(f'{part} % of frames' for part in parts)} | mistakes |")
    print(f"|---|---|{'---|' * (len(parts) + 1)}")
    for scene in options.scenes.split(","):
        for draw in range(options.draws):
            times_s = 40.0 + STRETCH_S * draw + np.arange(options.frames) * (STRETCH_S / options.frames)
            figures |= {
                f"{scene}_{key}_{draw}": value for key, value in one_stretch(watch(scene, times_s), parts).items()
            }
        report(scene, figures, parts, options.draws)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def one_stretch(watched: Watched, parts: list[int]) -> dict[str, float]:
    """Share of the mistakes that each order has on the first frames, 0..100."""
    from dataset_culling.review.doubtful_boxes import doubt_of

    labels = watched.teacher
    wrong = mistakes(watched)
    rows = labels.frame_rows()
    least = np.ones(len(labels))
    np.minimum.at(least, rows, labels.scores)
    sure = dict.fromkeys(labels.class_names, SURE)
    keys = {
        "doubt": -doubt_of(labels, student=watched.student, min_scores=sure).of_frames,
        "labels": -doubt_of(labels).of_frames,
        "score": least,
        "time": np.arange(len(labels), dtype=np.float64),
    }
    found = {"mistakes": float(wrong.sum())}
    for order in ORDERS:
        sorted_wrong = wrong[np.argsort(keys[order], kind="stable")]
        for part in parts:
            first = round(len(labels) * part / 100)
            found[f"{order}_{part}"] = 100 * float(sorted_wrong[:first].sum()) / max(1.0, float(wrong.sum()))
    return found


def mistakes(watched: Watched) -> np.ndarray:
    """Of each frame: boxes that are nothing, and objects without a box."""
    from dataset_culling.labeling.self_consistency import agreement

    labels, truth = watched.teacher, watched.truth
    false = labels.frame_rows()[agreement(labels, [truth]) == 0]
    missed = truth.frame_rows()[(agreement(truth, [labels]) == 0) & ~truth.ignore]
    return np.bincount(false, minlength=len(labels)) + np.bincount(missed, minlength=len(labels))


def report(scene: str, figures: dict[str, float], parts: list[int], draws: int) -> None:
    """A line for each order."""

    def over_draws(key: str) -> str:
        values = [figures[f"{scene}_{key}_{draw}"] for draw in range(draws)]
        spread = f" ± {np.std(values, ddof=1):.0f}" if draws > 1 else ""
        return f"{np.mean(values):.0f}{spread}"

    for order in ORDERS:
        shares = " | ".join(over_draws(f"{order}_{part}") for part in parts)
        print(f"| {scene} | {order} | {shares} | {over_draws('mistakes')} |", flush=True)


if __name__ == "__main__":
    main()
