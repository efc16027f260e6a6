"""Speed of training a student, against torchvision's reference loop on the same frames, model, batch and optimiser.

    python benchmarks/training.py [--json FILE] [--rounds 3] [--cores 2] [--frames 48] [--epochs 3] [--student tiny]
                                  [--weights ""] [--side 0] [--batch 4] [--size 1280x720] [--device cpu]

reference   torchvision's references/detection (train_one_epoch, preset hflip): a DataLoader with one worker a core
            reads and decodes JPEGs with Pillow, mirrors at random and makes floats; the model resizes to the same
            size; sum of the losses, backward, step; its AMP is on where ours is
train       `training.loop.train` with the default recipe: the same mirroring, and light, clipping and a mean of weights

Both start from the same weights with AdamW at the same rates (warm-up, cosine), batch norms frozen, and see the same
number of images. Turns alternate, and each starts anew: what ours prepares once is counted. Labels are true boxes of
drawn frames. The loss is what both final models have on all frames, in training mode, with one seed for proposals; it
falls as training goes on, so that a loop that is fast because it learns less shows.

Keys: training_speedup_vs_reference   images a second, ours over theirs, medians of the rounds       goal >= 1.5
      training_images_per_s, training_reference_images_per_s
      training_loss, training_reference_loss, training_loss_before
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def main() -> None:
    """Measure and print; with --json also write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each of the two gets")
    parser.add_argument("--cores", type=int, default=2, help="cores to be confined to")
    parser.add_argument("--frames", type=int, default=48, help="labelled frames")
    parser.add_argument("--epochs", type=int, default=3, help="passes over them in a turn")
    parser.add_argument("--student", default="tiny", help="an R-CNN of 'culling detectors'")
    parser.add_argument("--weights", default="", help="its weights; 'none' for random ones")
    parser.add_argument("--side", type=int, default=0, help="short side in px; 0: the detector's own")
    parser.add_argument("--batch", type=int, default=4, help="images in a step")
    parser.add_argument("--size", default="1280x720", help="of the frames, WIDTHxHEIGHT px")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])

    import torch  # after the affinity, which decides how many threads it takes

    from dataset_culling.detectors.base import DetectorRef
    from dataset_culling.detectors.table import load_trainable
    from dataset_culling.training.loop import train
    from dataset_culling.training.recipe import Recipe

    width, height = (int(side) for side in options.size.split("x"))
    torch.manual_seed(0)
    start = load_trainable(DetectorRef(name=options.student, weights=options.weights), device=options.device)
    recipe = Recipe(epochs=options.epochs, batch_size=options.batch)
    with tempfile.TemporaryDirectory() as folder:
        frames = JpegFrames(Path(folder), options.frames, height, width, len(start.class_names))
        turns: dict[str, Callable[[Any], object]] = {
            "train": lambda student: train(student, frames, recipe, side_px=options.side),
            "reference": lambda student: reference(student, frames, recipe, options.side, options.cores),
        }
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        losses: dict[str, float] = {"before": loss_on(start, frames, options.side)}
        for _ in range(options.rounds):
            for name, turn in turns.items():
                student = copy.deepcopy(start)
                started_s = time.perf_counter()
                turn(student)
                seconds[name].append(time.perf_counter() - started_s)
                losses[name] = loss_on(student, frames, options.side)
    images = options.frames * options.epochs
    ours_s, theirs_s = (statistics.median(seconds[name]) for name in ("train", "reference"))
    figures = {
        "training_speedup_vs_reference": theirs_s / ours_s,
        "training_images_per_s": images / ours_s,
        "training_reference_images_per_s": images / theirs_s,
        "training_loss": losses["train"],
        "training_reference_loss": losses["reference"],
        "training_loss_before": losses["before"],
    }
    for key, value in figures.items():
        print(f"{key:34} {value:10.3f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


class JpegFrames:
    """Drawn street-like frames as JPEG files, three coloured boxes each (a `training.data.TrainingSet`)."""

    def __init__(self, folder: Path, count: int, height: int, width: int, num_classes: int) -> None:
        self.files: list[Path] = []
        self.boxes: list[np.ndarray] = []
        self.class_ids: list[np.ndarray] = []
        rng = np.random.default_rng(0)
        ground = cv2.resize(rng.integers(60, 160, (height // 16, width // 16, 3)).astype(np.uint8), (width, height))
        for row in range(count):
            image = cv2.add(ground, rng.integers(0, 12, ground.shape).astype(np.uint8))
            boxes = []
            for class_id in range(3):
                w, h = width // (6 + 2 * class_id), height // (4 + class_id)
                x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
                cv2.rectangle(
                    image, (x, y), (x + w, y + h), ((20, 30, 230), (230, 40, 20), (40, 220, 60))[class_id], -1
                )
                boxes.append((x, y, x + w, y + h))
            self.files.append(folder / f"{row:05d}.jpg")
            cv2.imwrite(str(self.files[-1]), image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            self.boxes.append(np.array(boxes, np.float32))
            self.class_ids.append(np.arange(3) % num_classes)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Any:
        """The frame as the stage reads it: decoded by simplejpeg."""
        import simplejpeg

        from dataset_culling.training.data import Sample

        image = simplejpeg.decode_jpeg(self.files[row].read_bytes())
        return Sample(image, self.boxes[row], self.class_ids[row], np.zeros(3, np.bool_))

    def name(self, row: int) -> str:
        """The file's name."""
        return self.files[row].name


def reference(student: Any, frames: JpegFrames, recipe: Any, side_px: int, workers: int) -> None:
    """torchvision's references/detection/engine.py (BSD-3-Clause), without its printing."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.models.detection.transform import GeneralizedRCNNTransform
    from torchvision.transforms import v2

    class Photos(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(frames)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            image = v2.functional.pil_to_tensor(Image.open(frames.files[row]).convert("RGB"))
            boxes = torch.from_numpy(frames.boxes[row].copy())
            if torch.rand(1) < 0.5:
                image = v2.functional.horizontal_flip(image)
                boxes[:, [0, 2]] = image.shape[2] - boxes[:, [2, 0]]
            image = v2.functional.to_dtype(image, torch.float, scale=True)
            labels = torch.from_numpy(frames.class_ids[row]) + 1
            return image, {"boxes": boxes, "labels": labels, "ignore_boxes": boxes[:0]}

    module, device = student.module, student.device
    ours = module.transform
    side = side_px or student.full_side_px
    module.transform = GeneralizedRCNNTransform(
        side, student.max_side_px, ours.image_mean, ours.image_std, size_divisible=ours.size_divisible
    )
    loader = DataLoader(
        Photos(),
        batch_size=recipe.batch_size,
        shuffle=True,
        num_workers=workers,
        collate_fn=lambda batch: tuple(zip(*batch, strict=True)),
        generator=torch.Generator().manual_seed(0),
    )
    total = recipe.epochs * len(loader)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / (recipe.warmup_steps + 1)) * 0.5 * (1 + math.cos(math.pi * step / total)),
    )
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()
    amp = device.type == "cuda"
    scaler = torch.amp.GradScaler("cuda") if amp else None
    for _ in range(recipe.epochs):
        for images, targets in loader:
            images = [image.to(device) for image in images]
            targets = [{key: value.to(device) for key, value in target.items()} for target in targets]
            with torch.autocast(device.type, enabled=amp):
                loss_dict = module(images, targets)
                loss = sum(part for part in loss_dict.values())
            if not math.isfinite(loss.item()):
                raise RuntimeError(f"loss is {loss.item()}")
            optimizer.zero_grad()
            if scaler is not None:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            else:
                loss.backward()
                optimizer.step()
            scheduler.step()
    module.eval()
    module.transform = ours


def loss_on(student: Any, frames: JpegFrames, side_px: int) -> float:
    """Mean loss over all frames, as training sees them without augmentation."""
    import torch

    from dataset_culling.training.data import Loader, to_device
    from dataset_culling.training.freezing import set_training_mode

    loader = Loader(student, frames, side_px)
    set_training_mode(student.module, batch_norm="frozen", frozen=[])
    total = 0.0
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for row in range(len(frames)):
            sample = loader[row]
            batch, target = sample.image[None].to(student.device), to_device(sample.target, student.device)
            total += float(sum(student.losses(batch, [target]).values()))
    student.module.eval()
    return total / len(frames)


if __name__ == "__main__":
    main()
