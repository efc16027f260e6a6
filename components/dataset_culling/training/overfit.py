"""The overfit check: a detector that cannot overfit eight pictures has a broken loss, label map or box format.

It goes the way of the stages: a head for other classes, the loop with a recipe, predictions in px of the original,
COCO's figures. So whatever is broken on that way shows here, in seconds and without a data set.

Source: "Overfitting = unit test of machine learning" (Hirner, Transfer Learning for Fun and Profit, 2017).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.evaluation.coco import evaluate
from dataset_culling.training.data import Sample, ground_truth, predictions_of
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from dataset_culling.types import ClassMap

PASSING_MAP_50 = 0.95
NUM_FRAMES = 8
CLASSES = ("disc", "bar")

ROUND = Recipe(
    epochs=40,
    batch_size=4,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="cosine",
    warmup_steps=10,
    flip=False,
    photometric=0.0,
    ema_decay=0.0,
    batch_norm="train",
)
"""The first round, without anything that makes overfitting harder. It also gives batch norms their statistics, which
random weights lack; in later rounds they are frozen, so that what learns is what predicts. Statistics of batches of
four, averaged slowly as in SSDlite and YOLOX, would hide for hundreds of steps what has been learnt."""


@dataclass(frozen=True, slots=True)
class OverfitResult:
    """Result of the check."""

    map_50: float  # 0..1
    steps: int
    seconds: float

    @property
    def passed(self) -> bool:
        """True if the bar was reached."""
        return self.map_50 > PASSING_MAP_50


@dataclass(frozen=True, slots=True)
class DrawnFrames:
    """Frames with two bright shapes each, a disc and a bar, on a background that is the same in all of them.

    They are wider than high, and the shapes are not square: swapped sides or axes cannot pass.
    """

    side_px: int  # the short side
    seed: int = 0

    def __len__(self) -> int:
        return NUM_FRAMES

    def __getitem__(self, row: int) -> Sample:
        height, width = self.side_px, self.side_px * 3 // 2
        background = np.random.default_rng(self.seed).integers(60, 110, (height // 8 + 1, width // 8 + 1, 3))
        image = background.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)
        rng = np.random.default_rng([self.seed, row])
        boxes = []
        for class_id, (share_h, share_w) in enumerate(((0.4, 0.35), (0.25, 0.55))):
            h, w = (round(self.side_px * share * rng.uniform(0.85, 1.15)) for share in (share_h, share_w))
            # A third of the frame for the disc, the rest for the bar: none hides the other.
            left, right = ((0, width // 3), (width // 3, width))[class_id if row % 2 else 1 - class_id]
            w = min(w, right - left)
            x, y = rng.integers(left, right - w + 1), rng.integers(0, height - h + 1)
            ys, xs = np.mgrid[0:h, 0:w]
            inside = np.ones((h, w), np.bool_)
            if class_id == 0:
                inside = ((ys + 0.5) / h * 2 - 1) ** 2 + ((xs + 0.5) / w * 2 - 1) ** 2 <= 1
            image[y : y + h, x : x + w][inside] = ((240, 70, 60), (50, 90, 250))[class_id]
            boxes.append([x, y, x + w, y + h])
        return Sample(image, np.array(boxes, np.float32), np.arange(2), np.zeros(2, np.bool_))

    def name(self, row: int) -> str:
        """Its number."""
        return f"drawn frame {row}"


def overfit(
    detector: TorchDetector,
    *,
    side_px: int,
    rounds: int = 5,
    recipe: Recipe = ROUND,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> OverfitResult:
    """Overfit a copy of a detector on eight drawn frames, and evaluate it on them.

    Args:
        detector: With at least two classes; it is not changed.
        side_px: Short side of the network's input, and of half the frames' own, so that boxes are scaled on the way.
        rounds: Most rounds of training; it stops as soon as the bar is reached.
        recipe: What one round is.
        progress: Told steps done and most steps.

    Returns:
        mAP at IoU 0.5, and what it took.

    Raises:
        TrainingDiverged: If a loss is not finite.
    """
    frames = DrawnFrames(side_px * 3 // 2)
    # The camera's classes in the other order than the detector's, so that a label map that is skipped cannot pass.
    names = detector.class_names
    student = detector.specialise(ClassMap({CLASSES[0]: (names[1],), CLASSES[1]: (names[0],)}))
    truth = ground_truth(frames, student.class_names)
    steps_a_round = recipe.epochs * -(-NUM_FRAMES // recipe.batch_size)
    started_s, steps, map_50 = time.monotonic(), 0, 0.0
    for number in range(rounds):
        done = number * steps_a_round
        record = train(
            student,
            frames,
            recipe.replace(seed=recipe.seed + number, batch_norm="frozen" if number else recipe.batch_norm),
            side_px=side_px,
            progress=lambda step, _, done=done: progress(done + step, rounds * steps_a_round),  # type: ignore[misc]
        )
        steps += record.steps
        found = predictions_of(student, frames, student.class_names, side_px=side_px)
        map_50 = evaluate(found, truth).map_50
        if map_50 > PASSING_MAP_50:
            break
    return OverfitResult(map_50, steps, time.monotonic() - started_s)
