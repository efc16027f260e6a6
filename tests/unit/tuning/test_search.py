"""What decides whether a candidate must be tried again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.tuning.candidates import Candidate
from dataset_culling.tuning.results import Row, read_rows
from dataset_culling.tuning.search import key_of


def named(name: str, weights: str = "") -> Candidate:
    return Candidate(f"{name}={weights}" if weights else name, DetectorRef(name=name, weights=weights), False)


def test_key_of__changes_with_the_files_of_a_model_folder(tmp_path: Path):
    file = tmp_path / "model" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"first")
    candidate = named("tiny", str(file.parent))
    before = key_of("ground", candidate)
    assert key_of("ground", candidate) == before
    assert key_of("other ground", candidate) != before
    file.write_bytes(b"other")  # as long as the first
    os.utime(file, ns=(0, 1))
    assert key_of("ground", candidate) != before


def test_key_of__changes_with_a_file_in_torchs_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    before = key_of("ground", named("yolox_nano"))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "yolox_nano.pth").write_bytes(b"weights")
    assert key_of("ground", named("yolox_nano")) != before


def test_read_rows__those_of_other_seeds_and_engines_too(tmp_path: Path):
    now = Row("tiny", False, 0.5, 0.25, None, None, 4.0, 5.0, 0.5, 0.4, 320, 576, 9.0, 20, key="now")
    before = replace(now, latency_ms=2.0, key="other engine")
    (tmp_path / "students.json").write_text(json.dumps({"rows": [asdict(now)], "earlier": [asdict(before)]}))
    assert read_rows(tmp_path / "students.json") == [now, before]
    assert read_rows(tmp_path / "none.json") == []
