"""`culling students` on a finished run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

from conftest import culling
from dataset_culling.artifacts.header import digest


def test_students__tries_candidates_chooses_one_and_goes_on_where_it_was(tiny_run: Path, tmp_path: Path):
    before = digest(tiny_run / "tasks" / "train-student" / "model")
    arguments = ("students", tiny_run, "--epochs", "1", "--device", "cpu", "--out", tmp_path)
    done = culling(*arguments, "--candidate", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)
    assert (first["chosen"], first["front"]) == ("tiny", ["tiny"])
    assert 0 <= first["rows"][0]["map_50_agreement"] <= 1
    assert 0 <= first["rows"][0]["map_50_truth"] <= 1
    assert "torch" in first["engine"]

    more = ("--candidate", "tiny", "--candidate", "tiny=none", "--candidate", "yolox_s=gone.pth")
    replay = ("--set", "recipe.techniques.recorded_subsets.source", "of-another.jsonl")
    done = culling(*arguments, *more, "--rule", "most-accurate", *replay)
    assert done.returncode == 0, done.stderr
    both = json.loads((tmp_path / "students.json").read_text())
    assert both["rows"][0] == first["rows"][0]  # to the last digit of its seconds: it was not tried again
    assert [row["student"] for row in both["rows"]] == ["tiny", "tiny=none"]
    assert both["rows"][1]["map_50_agreement"] < both["rows"][0]["map_50_agreement"]  # it began with random weights
    assert "gone.pth" in both["left_out"]["yolox_s=gone.pth"]
    table = list(csv.DictReader((tmp_path / "students.csv").open()))
    assert [row["chosen"] for row in table] == ["true", "false"]
    assert ElementTree.parse(tmp_path / "students.svg").getroot().tag.endswith("svg")
    assert "Chosen: tiny, the best in agreement." in done.stdout
    assert "left out: yolox_s=gone.pth" in done.stdout
    assert "recipe.techniques.recorded_subsets is left out" in done.stdout
    assert digest(tiny_run / "tasks" / "train-student" / "model") == before

    done = culling(*arguments, "--candidate", "tiny", "--budget-ms", "0.001")
    assert (done.returncode, done.stderr.splitlines()[-1].partition(":")[0]) == (2, "error")
    assert "budget_ms 0.001: expected a student that takes no longer for an image" in done.stderr
    assert json.loads((tmp_path / "students.json").read_text())["chosen"] is None


def test_students__says_what_it_wants(tiny_run: Path, tmp_path: Path):
    done = culling("students", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "expected a finished run with tasks/train-student. Pass its --out" in done.stderr
    done = culling("students", tiny_run, "--candidate", "tinny", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--candidate tinny: expected a detector that can learn" in done.stderr
    assert "Did you mean 'tiny'?" in done.stderr
    (tmp_path / "rule.yaml").write_text("rule: prettiest\n")
    done = culling("students", tiny_run, "--config", tmp_path / "rule.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "'rule': wanted 'cheapest-within' or 'most-accurate', found 'prettiest'" in done.stderr
    done = culling("students", tiny_run, "--set", "classes", '["dog"]', "--device", "cpu", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--set classes: expected person, car, which the run's frames are labelled with, found dog" in done.stderr
    assert not (tmp_path / "students.json").exists()
    out = tmp_path / "rule.yaml" / "out"
    done = culling("students", tiny_run, "--candidate", "tiny", "--device", "cpu", "--out", out)
    assert done.returncode != 0
    assert done.stderr.count("\n") == 1  # no bar before it: nothing was trained
    assert "expected a folder to write to" in done.stderr
