"""`culling lr-range` on a finished run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import culling
from dataset_culling.artifacts.header import digest


def test_lr_range__tries_rates_on_the_runs_culled_set(tiny_run: Path, tmp_path: Path):
    before = digest(tiny_run / "tasks" / "train-student" / "model")
    arguments = ("lr-range", tiny_run, "--steps", "12", "--low", "1e-5", "--high", "1e-2", "--device", "cpu")
    done = culling(*arguments, "--out", tmp_path / "first", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["rates"][0] == pytest.approx(1e-5)
    assert len(values["losses"]) == len(values["rates"]) <= 12
    rows = list(csv.DictReader((tmp_path / "first" / "lr-range.csv").open()))
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(values["rates"], rel=1e-5)
    assert [float(row["loss"]) for row in rows] == pytest.approx(values["losses"], rel=1e-5)
    assert ElementTree.parse(tmp_path / "first" / "lr-range.svg").getroot().tag.endswith("svg")
    assert digest(tiny_run / "tasks" / "train-student" / "model") == before
    again = culling(*arguments, "--out", tmp_path / "again", "--set", "recipe.expand", "2")
    assert again.returncode == 0, again.stderr
    first, second = (float(line.split()[1]) for line in again.stdout.splitlines()[1:3])
    assert first == pytest.approx(float(rows[0]["loss_smooth"]), rel=1e-3)  # expanded, it starts as it would plain
    assert second > 0
    done = culling(*arguments, "--set", "classes", '["dog"]', "--out", tmp_path / "dog")
    assert (done.returncode, done.stderr.splitlines()[-1].partition(":")[0]) == (2, "error")
    assert "--set classes: expected person, car, which the run's frames are labelled with, found dog" in done.stderr


def test_lr_range__says_what_it_wants(tmp_path: Path):
    done = culling("lr-range", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "expected a finished run with tasks/train-student, found none" in done.stderr
    done = culling("lr-range", tmp_path, "--low", "1", "--high", "0.1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--low 1: expected a rate below --high, found 0.1" in done.stderr
