"""The learning-rate range test of a finished run: its culled set, its labels, its recipe.

python -m experiments.lr_range RUN      writes RUN/lr-range.csv and RUN/lr-range.png
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn.utils import parametrize

from dataset_culling.artifacts.labels import read_labels
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.engine.finished import TRAINING, check_classes, inputs_of, settings_of
from dataset_culling.engine.stage_main import choose_device
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.inference.detect import local_weights
from dataset_culling.stages.train_student.stage import read_material
from dataset_culling.training.augment import augment
from dataset_culling.training.data import Loader, TrainingSet, to_device
from dataset_culling.training.freezing import set_training_mode
from dataset_culling.training.recipe import Recipe
from dataset_culling.training.replay import start_of
from dataset_culling.training.techniques.expand_nets.factors import expand
from dataset_culling.types import parse_classes
from experiments.command import run as run_command
from experiments.lr_range.range_test import RangeTest, range_rates, range_test

EXPANSION = "expand_nets"
"""The technique that the steps take part in; they leave out all others."""


def step_at(detector: TorchDetector, samples: TrainingSet, recipe: Recipe, side_px: int) -> Callable[[float], float]:
    """Return a function that takes one step at a learning rate and returns the loss before it; infinite once broken.

    The detector is trained in place. Batches come in a random order and start over when all were seen.

    Args:
        detector: The student at its start.
        samples: Labelled images, at least one.
        recipe: Batch size, optimiser, weight decay, clipping, augmentation, soft labels, batch norm, expansion, seed.
        side_px: Short side of the input.
    """
    loader = Loader(detector, samples, side_px, soft_labels=recipe.soft_labels)
    random = np.random.default_rng(recipe.seed)
    if expand_nets := recipe.techniques.on().get(EXPANSION):
        expand(detector.module, expand_nets.model_dump()["rate"], seed=recipe.seed)
    weights = [weight for weight in detector.module.parameters() if weight.requires_grad]
    optimizer = optimizer_of(weights, recipe)
    batches: list[list[int]] = []
    set_training_mode(detector.module, batch_norm=recipe.batch_norm, frozen=[])

    def step(rate: float) -> float:
        if not batches:
            batches.extend(loader.batches(random.permutation(len(samples)), recipe.batch_size))
        for group in optimizer.param_groups:
            group["lr"] = rate
        images, targets = augment([loader[row] for row in batches.pop(0)], recipe, random)
        targets = [to_device(target, detector.device) for target in targets]
        with parametrize.cached():  # expanded kernels are multiplied once
            losses = detector.losses(images.to(detector.device), targets)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = torch.nn.utils.clip_grad_norm_(weights, recipe.clip_norm or math.inf)
        if not torch.isfinite(loss) or not torch.isfinite(norm):
            return math.inf
        optimizer.step()
        return float(loss.detach())

    return step


def optimizer_of(weights: list[torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser as training sets it up: biases and norms do not decay."""
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9)
    return (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)(groups)


def plot(found: RangeTest, file: Path) -> None:
    """Draw the loss by learning rate, with the rates of interest marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="0.75", lw=1, label="each step")
    axes.plot(found.rates, found.smooth, lw=2, label="mean of neighbours")
    marks = {"steepest fall": found.steepest, "diverges": found.diverges, "suggested": found.suggested}
    for place, (name, rate) in enumerate(marks.items()):
        if rate:
            axes.axvline(rate, color=f"C{place + 1}", ls="--", lw=1.2, label=f"{name}: {rate:.2g}")
    finite = found.smooth[np.isfinite(found.smooth)]
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(0, 2 * float(finite[0])))
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


@click.command("lr-range")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--low", default=1e-6, show_default=True, type=click.FloatRange(0, min_open=True), help="First rate.")
@click.option("--high", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Last rate.")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(10), help="Rates tried, one step each.")
@click.option(
    "--set", "changes", multiple=True, nargs=2, metavar="KEY VALUE", help="A setting of train-student for this test."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of lr-range.csv and lr-range.png. [default: RUN]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def lr_range(
    run_folder: Path, low: float, high: float, steps: int, changes: tuple[tuple[str, str], ...], out: Path | None,
    device: str,
) -> None:  # fmt: skip
    """Take one training step at each of many learning rates, on the culled set of a finished RUN; plot the losses.

    The student starts as it did in the run; nothing of the run changes.
    """
    if low >= high:
        raise ConfigError(f"--low {low:g} is not below --high {high:g}. Swap them.")
    config = settings_of(run_folder, changes)
    inputs = inputs_of(run_folder, TRAINING)
    check_classes(config, read_labels(inputs["labels"]))
    material = read_material(config, inputs)
    student = load_trainable(local_weights(start_of(config, inputs).student), device=choose_device(device))
    torch.manual_seed(config.recipe.seed)
    step = step_at(student.specialise(parse_classes(config.classes)), material.samples, config.recipe, material.side_px)
    try:
        found = range_test(step, range_rates(low, high, steps))
    except ValueError as error:
        raise InputError(f"{run_folder}: {error}. Lower --low, or check the labels.") from None
    folder = out or run_folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lr-range.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["learning_rate", "loss", "loss_smooth"])
        rows.writerows(
            [f"{value:.6g}" for value in row] for row in zip(found.rates, found.losses, found.smooth, strict=True)
        )
    plot(found, folder / "lr-range.png")
    recipe_rate = config.recipe.learning_rate
    click.echo(f"steepest fall {found.steepest:.2g}, diverges {found.diverges:.2g} (0: not met)")
    click.echo(f"suggested {found.suggested:.2g}; the recipe has {recipe_rate:.2g}")
    left_out = [f"recipe.techniques.{name}" for name in config.recipe.techniques.on() if name != EXPANSION]
    left_out += ["recipe.frozen_layers"] if config.recipe.frozen_layers else []
    if left_out:
        click.echo(f"left out of the steps: {', '.join(left_out)}")
    click.echo(f"files: {folder / 'lr-range.csv'}, {folder / 'lr-range.png'}")


if __name__ == "__main__":
    run_command(lr_range, "lr_range")
