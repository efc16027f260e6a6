"""`python -m experiments.lr_range` on a finished run."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from conftest import experiment
from dataset_culling.artifacts.header import digest


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
    done = experiment("lr_range", *arguments, "--set", "classes", '["dog"]', "--out", tmp_path / "dog")
    assert (done.returncode, done.stderr.splitlines()[-1].partition(":")[0]) == (2, "error")


def test_lr_range__bad_input_is_one_line(tmp_path: Path):
    done = experiment("lr_range", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    done = experiment("lr_range", tmp_path, "--low", "1", "--high", "0.1")
    assert (done.returncode, done.stderr) == (2, "error: --low 1 is not below --high 0.1. Swap them.\n")
