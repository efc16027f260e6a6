"""The learning-rate range test of a finished run: its culled set, its labels, its recipe."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from dataset_culling.artifacts.labels import read_labels
from dataset_culling.detectors.table import load_trainable
from dataset_culling.engine.finished import TRAINING, check_classes, inputs_of
from dataset_culling.engine.stage_main import choose_device
from dataset_culling.report.rates import rates_svg
from dataset_culling.runner.writing import write_page
from dataset_culling.stages.detecting import local_weights
from dataset_culling.stages.rehearsal import start_of
from dataset_culling.stages.together import teacher_of
from dataset_culling.stages.train_student.config import TrainStudentConfig
from dataset_culling.stages.train_student.stage import read_material
from dataset_culling.training.loop import try_rates
from dataset_culling.training.range_test import RangeTest, range_rates
from dataset_culling.types import parse_classes

LINES = 12
"""Rates that are printed; the others are in the file."""


def print_range(
    run: Path,
    config: TrainStudentConfig,
    *,
    low: float,
    high: float,
    steps: int,
    out: Path,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Do the test, write lr-range.csv and lr-range.svg, print what came of it; see `culling lr-range --help`.

    Raises:
        ConfigError: If a setting is wrong.
        InputError: If the run kept no frames.
        ArtifactError: If what it has left is damaged.
        TrainingDiverged: If the loss is not finite at the first rate.
        OutputError: If the files cannot be written.
    """
    with click.progressbar(length=steps, label="Rates", hidden=quiet, file=sys.stderr) as bar:
        found = rates_of(
            run, config, low=low, high=high, steps=steps, device=choose_device(device),
            progress=lambda done, total: bar.update(done - bar.pos),
        )  # fmt: skip
    files = out / "lr-range.csv", out / "lr-range.svg"
    write_page(files[0], as_csv(found))
    write_page(
        files[1],
        rates_svg(
            found.rates, found.losses, found.smooth,
            steepest=found.steepest, diverges=found.diverges, suggested=found.suggested,
        ),
    )  # fmt: skip
    if as_json:
        values = {"steepest": found.steepest, "diverges": found.diverges, "suggested": found.suggested}
        rows = {"rates": found.rates.tolist(), "losses": [_plain(loss) for loss in found.losses.tolist()]}
        click.echo(json.dumps({**values, **rows, "recipe_learning_rate": config.recipe.learning_rate}))
        return
    click.echo("\n".join([*lines(found, config.recipe.learning_rate), f"all of it: {files[0]}, {files[1]}"]))


def rates_of(
    run: Path,
    config: TrainStudentConfig,
    *,
    low: float,
    high: float,
    steps: int,
    device: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> RangeTest:
    """The range test on what the run's student was trained on, from where it started.

    Raises:
        InputError: If an artifact that it read is gone, or no frame was kept.
        ConfigError: If the run's frames are labelled with other classes.
        TrainingDiverged: If the loss is not finite at the first rate.
    """
    inputs = inputs_of(run, TRAINING)
    check_classes(config, read_labels(inputs["labels"]))
    material = read_material(config, inputs)
    student = load_trainable(local_weights(start_of(config, inputs).student), device=device)
    teacher = local_weights(config.teacher) if config.recipe.distillation else config.teacher
    return try_rates(
        student.specialise(parse_classes(config.classes)),
        material.samples,
        config.recipe,
        range_rates(low, high, steps),
        side_px=material.side_px,
        progress=progress,
        teacher=teacher_of(config.recipe, teacher, device),
    )


def as_csv(found: RangeTest) -> str:
    """Every step: its rate, its loss, and the mean of its neighbours'."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["learning_rate", "loss", "loss_smooth"])
    for values in zip(found.rates, found.losses, found.smooth, strict=True):
        rows.writerow([f"{value:.6g}" for value in values])
    return out.getvalue()


def lines(found: RangeTest, recipe_rate: float) -> list[str]:
    """What the terminal shows: some of the rates with their losses, and which one to take."""
    count = len(found.rates)
    shown = sorted({round(place * (count - 1) / (LINES - 1)) for place in range(LINES)})
    text = [f"{'learning rate':>13}  {'loss':>9}"]
    text += [f"{found.rates[place]:13.2e}  {found.smooth[place]:9.4g}" for place in shown]
    if not found.suggested:
        return [*text, "The loss falls at no rate: lower --low, or look at the data."]
    broken = (
        f"it diverges at {found.diverges:.2g}, a tenth of that is {found.diverges / 10:.2g}"
        if found.diverges
        else "it diverges nowhere up to the last rate"
    )
    return [
        *text,
        f"The loss falls quickest at {found.steepest:.2g}; {broken}.",
        f"Suggested: {found.suggested:.2g}; the recipe has {recipe_rate:.2g}.",
        f"  culling run --set train_student.recipe.learning_rate {found.suggested:.2g} ...",
    ]


def _plain(value: float) -> float | None:
    return value if value == value and abs(value) != float("inf") else None
