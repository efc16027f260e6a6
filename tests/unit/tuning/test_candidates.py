"""Which detectors are tried on a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DETECTORS
from dataset_culling.errors import ConfigError
from dataset_culling.tuning.candidates import by_reason, candidates_of

STUDENT = DetectorRef(name="tiny", weights="mine.safetensors")
TEACHER = DetectorRef(name="tiny_teacher")


def test_candidates_of__without_names_all_whose_weights_are_at_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "yolox_nano.pth").touch()
    found, left_out = candidates_of((), STUDENT, TEACHER)
    assert [one.name for one in found] == ["tiny", "tiny_1d", "tiny_teacher", "yolox_nano"]
    assert found[0].ref == STUDENT  # with the run's weights
    assert [one.is_teacher for one in found] == [False, False, True, False]
    assert set(left_out) == set(DETECTORS) - {"tiny", "tiny_1d", "tiny_teacher", "yolox_nano"}
    assert len(by_reason(left_out)) == 2  # some are fetched where they are named, others need a file


def test_candidates_of__a_start_for_training_is_not_judged_untrained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found, left_out = candidates_of((), STUDENT, TEACHER, trained=False)
    assert [one.name for one in found] == ["tiny", "tiny_teacher"]
    assert "a start for training" in left_out["tiny_1d"]
    found, _ = candidates_of(("tiny_1d=mine.safetensors",), STUDENT, TEACHER, trained=False)
    assert [one.name for one in found] == ["tiny_1d=mine.safetensors"]


def test_candidates_of__weights_may_be_named():
    found, left_out = candidates_of(("tiny", "tiny=none", "tiny_teacher=embedded"), STUDENT, TEACHER)
    assert [one.ref.weights for one in found] == ["mine.safetensors", "none", "embedded"]
    assert [one.is_teacher for one in found] == [False, False, True]  # embedded is what an empty name means
    assert left_out == {}


def test_candidates_of__refuses_what_cannot_learn_and_what_comes_twice():
    with pytest.raises(ConfigError, match=r"--model tinny: .*Did you mean 'tiny'"):
        candidates_of(("tinny",), STUDENT, TEACHER, option="--model")
    with pytest.raises(ConfigError, match="found it twice"):
        candidates_of(("tiny", "tiny"), STUDENT, TEACHER)
