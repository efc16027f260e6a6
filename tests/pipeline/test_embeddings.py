"""`culling embeddings` on a finished run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import culling
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.errors import InputError
from dataset_culling.runner import trying_embeddings
from dataset_culling.types import Detections


def test_embeddings__ranks_them_on_the_runs_crops(tiny_run: Path, tmp_path: Path):
    arguments = ("embeddings", tiny_run, "--device", "cpu", "--crops", "60")
    done = culling(*arguments, "--model", "tiny", "--model", "tiny=none", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    ranked = [row["mean_average_precision"] for row in values["rows"]]
    assert ranked == sorted(ranked, reverse=True)
    assert all(0 <= value <= 1 for value in ranked)
    assert all(row["dimensions"] < 2000 for row in values["rows"])
    assert {row["model"] for row in values["rows"]} == {"tiny", "tiny=none"}
    assert values["best"] == values["rows"][0]
    assert (values["coverage"]["model"], values["coverage"]["pooling"]) == ("tiny", "global")
    assert "--set score_frames.feature_maps '[" in values["coverage"]["set"]
    table = list(csv.DictReader((tmp_path / "embeddings.csv").open()))
    assert len(table) == len(ranked)
    page = (tmp_path / "embeddings.html").read_text()
    assert "data:image/webp;base64," in page
    assert "it may be the same object" in page


def test_embeddings__without_pictures_from_inside_the_run(tiny_run: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tiny_run)
    more = ("--model", "tiny", "--crops", "60", "--pictures", "0", "--device", "cpu", "--out", tmp_path)
    done = culling("embeddings", ".", *more)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "embeddings.html").read_text()
    assert f"What {tiny_run.name}'s crops look like" in page.replace("&#39;", "'")
    assert "No pictures were asked for." in page
    done = culling("embeddings", tiny_run, "--crops", "5001")
    assert done.returncode == 2
    assert "2<=x<=5000" in done.stderr


def test_embeddings__says_what_it_wants(tiny_run: Path, tmp_path: Path):
    done = culling("embeddings", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "expected a finished run with tasks/train-student, found none" in done.stderr
    done = culling("embeddings", tiny_run, "--model", "tinny", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--model tinny: expected a detector that can learn" in done.stderr
    done = culling("embeddings", tiny_run, "--model", "yolox_s=gone.pth", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "expected a model to look through, found none (yolox_s=gone.pth: " in done.stderr
    done = culling("embeddings", tiny_run, "--gap-s", "86400", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "Lower --gap-s or --place-s" in done.stderr
    assert not (tmp_path / "embeddings.json").exists()


def test_read_crops__a_camera_of_one_class_has_nothing_to_tell_apart(tiny_run: Path, monkeypatch: pytest.MonkeyPatch):
    def people(path: Path) -> Detections:
        labels = read_labels(path)
        return replace(labels, ignore=labels.ignore | (labels.class_ids != 0))

    monkeypatch.setattr(trying_embeddings, "read_labels", people)
    with pytest.raises(InputError, match=r"expected crops of two classes, .* found [1-9]\d* person, 0 car on the kept"):
        trying_embeddings.read_crops(tiny_run, most=20, crop_px=64, gap_s=5.0, place_s=60.0)
