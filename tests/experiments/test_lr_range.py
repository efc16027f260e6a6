"""`python -m experiments.lr_range` on a finished run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from conftest import experiment
from dataset_culling.artifacts.header import digest
from dataset_culling.training.loop import train
from dataset_culling.training.recipe import Recipe
from experiments.lr_range.__main__ import step_at
from experiments.lr_range.range_test import range_rates, range_test
from squares import Squares, student


def test_step_at__learns_as_long_as_the_rate_is_small_and_breaks_where_it_is_not():
    detector = student()
    recipe = Recipe(batch_size=2, optimizer="sgd", clip_norm=0.0, flip=False, photometric=0.0, batch_norm="train")
    found = range_test(step_at(detector, Squares(3), recipe, 0), range_rates(1e-4, 1e3, 40))
    assert 0 < found.diverges < 1e3
    assert 0 < found.suggested <= found.diverges / 10
    assert len(found.rates) == len(found.losses) < 40  # three images are seen again and again


def test_step_at__the_first_step_is_that_of_training():
    recipe = Recipe(epochs=1, batch_size=2, warmup_steps=0, schedule="constant", learning_rate=1e-3, ema_decay=0.0)
    detector = student()
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # the detector samples proposals
        loss = step_at(detector, Squares(2), recipe, 0)(1e-3)
    record = train(student(), Squares(2), recipe)
    assert loss == pytest.approx(sum(record.losses[0].values()))


def test_lr_range__steps_through_the_rates_on_the_runs_culled_set(tiny_run: Path, tmp_path: Path):
    before = digest(tiny_run / "tasks" / "train-student" / "model")
    arguments = (tiny_run, "--steps", "12", "--low", "1e-5", "--high", "1e-2", "--device", "cpu")
    done = experiment("lr_range", *arguments, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "lr-range.csv").read_text().splitlines()))
    assert float(rows[0]["learning_rate"]) == pytest.approx(1e-5)
    assert 1 < len(rows) <= 12
    assert all(float(row["loss"]) > 0 for row in rows)
    assert (tmp_path / "lr-range.png").stat().st_size > 1000
    assert digest(tiny_run / "tasks" / "train-student" / "model") == before
    changed = ("--set", "recipe.techniques.expand_nets.rate", "2", "--set", "recipe.frozen_layers", "1")
    again = experiment("lr_range", *arguments, *changed, "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert "left out of the steps: recipe.frozen_layers\n" in again.stdout
    expanded = list(csv.DictReader((tmp_path / "again" / "lr-range.csv").read_text().splitlines()))
    assert float(expanded[0]["loss"]) == pytest.approx(float(rows[0]["loss"]), rel=1e-3)  # it starts as it would plain
    assert float(expanded[-1]["loss"]) != float(rows[-1]["loss"])
    done = experiment("lr_range", *arguments, "--set", "classes", '["dog"]', "--out", tmp_path / "dog")
    assert (done.returncode, done.stderr.splitlines()[-1].partition(":")[0]) == (2, "error")


def test_lr_range__bad_input_is_one_line(tmp_path: Path):
    done = experiment("lr_range", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    done = experiment("lr_range", tmp_path, "--low", "1", "--high", "0.1")
    assert (done.returncode, done.stderr) == (2, "error: --low 1 is not below --high 0.1. Swap them.\n")
