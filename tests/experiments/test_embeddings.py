"""`python -m experiments.embeddings` on a finished run."""

from __future__ import annotations

import csv
from pathlib import Path

from conftest import experiment


def test_embeddings__ranks_them_on_the_runs_crops(tiny_run: Path, tmp_path: Path):
    arguments = (tiny_run, "--device", "cpu", "--crops", "60", "--model", "tiny", "--model", "tiny=none")
    done = experiment("embeddings", *arguments, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "embeddings.csv").read_text().splitlines()))
    ranked = [float(row["mean_average_precision"]) for row in rows]
    assert ranked == sorted(ranked, reverse=True)
    assert all(0 <= value <= 1 for value in ranked)
    assert all(int(row["dimensions"]) < 2000 for row in rows)
    assert {row["model"] for row in rows} == {"tiny", "tiny=none"}
    assert "--set score_frames.feature_maps '[" in done.stdout
    assert (tmp_path / "embeddings.png").stat().st_size > 1000


def test_embeddings__bad_input_is_one_line(tiny_run: Path, tmp_path: Path):
    done = experiment("embeddings", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    done = experiment("embeddings", tiny_run, "--model", "tinny", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--model tinny" in done.stderr
    done = experiment("embeddings", tiny_run, "--gap-s", "86400", "--out", tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "lower --gap-s or --place-s" in done.stderr
    assert not (tmp_path / "embeddings.csv").exists()
