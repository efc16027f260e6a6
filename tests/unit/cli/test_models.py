"""`culling models`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.cli.program import cli
from dataset_culling.errors import ConfigError, MissingObject
from dataset_culling.registry.models import Provenance, open_registry


@pytest.fixture
def place(tmp_path: Path) -> str:
    """A registry with three versions of one camera; the second is champion after the first."""
    uri = str(tmp_path / "registry")
    registry = open_registry(uri)
    for number in (1, 2, 3):
        state = {"w": torch.from_numpy(np.full(4, number, np.float32))}
        write_model(tmp_path / f"m{number}", ModelCard("tiny", ("person",), 288, {}), state, Origin("test"))
        made = Provenance(labels={"heldout": "a" if number < 3 else "b"})
        registry.publish("door", tmp_path / f"m{number}", {"map_50_trained": 0.5 + number / 10}, made)
    registry.promote("door", 1, expected=0, reason="first")
    registry.promote("door", 2, expected=1, reason="better")
    return uri


def models(place: str, *words: str) -> str:
    done = CliRunner().invoke(
        cli, ["models", "--registry", place, *words], catch_exceptions=False, standalone_mode=False
    )
    if done.exception:
        raise done.exception
    return done.output


def test_list__cameras_and_versions(place):
    assert models(place, "list").startswith("door  version 2 since ")
    lines = models(place, "list", "door").splitlines()
    assert [line[:5] for line in lines] == ["    1", "*   2", "    3"]
    assert "map_50_trained 0.600" in lines[0]
    listed = json.loads(models(place, "list", "door", "--json"))
    assert [each["champion"] for each in listed] == [False, True, False]


def test_show__the_champion_with_its_history(place):
    shown = models(place, "show", "door")
    assert "camera door, version 2" in shown
    assert "promote 1 -> 2: better" in shown
    assert json.loads(models(place, "show", "door", "3", "--json"))["version"] == 3


def test_compare__says_whether_the_frames_are_the_same(place):
    assert models(place, "compare", "door", "1", "2").rstrip().endswith("measured on the same held-out frames")
    unlike = models(place, "compare", "door", "1", "3")
    assert "+0.2000" in unlike
    assert "different frames" in unlike


def test_promote_and_rollback(place):
    assert models(place, "promote", "door", "3") == "door: version 3 is the champion; it was 2\n"
    assert models(place, "rollback", "door") == "door: version 2 is the champion again; it was 3\n"
    assert models(place, "rollback", "door", "--to", "1") == "door: version 1 is the champion again; it was 2\n"


def test_gc__dry_run_removes_nothing(place):
    words = ["gc", "--newest", "1", "--champions", "1", "--younger-than-days", "0"]
    assert "would remove versions 1;" in models(place, *words, "--dry-run")
    assert len(open_registry(place).versions("door")) == 3
    assert "removed versions 1;" in models(place, *words)
    assert [each.version for each in open_registry(place).versions("door")] == [2, 3]


@pytest.mark.parametrize(
    ("words", "error", "saying"),
    [
        pytest.param(["list", "window"], ConfigError, "found door", id="no such camera"),
        pytest.param(["show", "window"], ConfigError, "found door", id="nothing to show"),
        pytest.param(["show", "door", "9"], MissingObject, "its versions: 1, 2, 3", id="no such version"),
        pytest.param(["promote", "door", "9"], MissingObject, "its versions: 1, 2, 3", id="promote nothing"),
    ],
)
def test_models__wrong_words(place, words, error, saying):
    with pytest.raises(error, match=saying):
        models(place, *words)
