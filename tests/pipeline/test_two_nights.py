"""One camera, two nights, one registry: what the first leaves, the second trains on again and is judged on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conftest import culling
from dataset_culling.artifacts.decision import Decision, read_decision
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import Origin, read_header
from dataset_culling.artifacts.metrics import read_metrics, write_metrics
from dataset_culling.artifacts.model import read_model_card
from dataset_culling.artifacts.replay import read_replay
from dataset_culling.pipeline.graph import WIRING
from dataset_culling.registry.models import Provenance, Registry, open_registry
from dataset_culling.registry.nights import Nights
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.promote_student.config import PromoteStudentConfig
from dataset_culling.stages.promote_student.stage import run as promote

pytestmark = pytest.mark.slow

SCENES = {"first": "demo", "second": "street-night-rain"}


@pytest.fixture(scope="module")
def two_nights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs `first` and `second`, and their registry, whose camera has a human check set."""
    folder = tmp_path_factory.mktemp("nights")
    registry = folder / "registry"
    for name, scene in SCENES.items():
        video = folder / f"{name}.mp4"
        made = culling("simulate", video, "--scene", scene, "--duration", "120", "--fps", "2")
        assert made.returncode == 0, made.stderr
        done = culling(
            "run", "--preset", "tiny", "--video", video, "--out", folder / name, "--registry", registry,
            "--set", "promote_student.min_objects", "5", "--set", "promote_student.significant", "false",
            "--set", "train_student.start", "champion",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if name == "first":
            _a_person_labels(folder)
            checked = culling("models", "--registry", registry, "check-set", "tiny", folder / "checked" / "labels.json")
            assert checked.returncode == 0, checked.stderr
    return folder


def _a_person_labels(folder: Path) -> None:
    """What the teacher saw on the first night's held-out frames, taken for a person's labels."""
    task = folder / "first" / "tasks"
    coco = json.loads((task / "label-heldout" / "labels" / "labels.json").read_text())
    reader = FrameReader(task / "extract-frames" / "heldout")
    (folder / "checked").mkdir()
    for image in coco["images"]:
        (folder / "checked" / image["file_name"]).write_bytes(reader.jpeg(int(image["id"])))
    (folder / "checked" / "labels.json").write_text(json.dumps(coco))


def decision(run: Path) -> Decision:
    return read_decision(run / "tasks" / "promote-student" / "decision")


def metrics(run: Path) -> dict[str, float]:
    return read_metrics(run / "tasks" / "evaluate-student" / "metrics")


def registry_of(folder: Path) -> Registry:
    return open_registry(str(folder / "registry"))


def test_first_night__is_promoted_and_kept(two_nights):
    first = decision(two_nights / "first")
    assert (first.promoted, first.trusted, first.version) == (True, True, 1)
    replay = read_replay(two_nights / "first" / "tasks" / "recall-replay" / "replay")
    assert (replay.champion, replay.slices) == (0, ())
    kept = Nights(registry_of(two_nights)).all("tiny")
    assert (len(kept[0].train), kept[0].version) == (8, 1)
    assert 0 < len(kept[0].heldout) <= 24


def test_second_night__trains_on_the_first_again_from_the_champion(two_nights):
    second = two_nights / "second"
    replay = read_replay(second / "tasks" / "recall-replay" / "replay")
    night, check = replay.slices
    assert (replay.champion, night.kind, len(night.train), check.kind) == (1, "night", 8, "check")
    card = read_model_card(second / "tasks" / "train-student" / "model")
    assert (card.training["frames"], card.training["replayed"], card.training["parent"]) == (12, 4, 1)
    assert registry_of(two_nights).version("tiny", 2).provenance.parent == 1


def test_second_night__is_judged_on_the_first_and_on_the_check_set(two_nights):
    figures = metrics(two_nights / "second")
    night = read_replay(two_nights / "second" / "tasks" / "recall-replay" / "replay").slices[0].name
    for student in ("raw", "trained", "champion"):
        assert 0 < figures[f"replay_{night}_map_50_{student}"] <= 1
        assert 0 < figures[f"check_map_50_{student}"] <= 1
    assert figures["check_map_50_teacher"] == 1.0  # the "person" was the teacher
    names = {check.name for check in decision(two_nights / "second").checks}
    assert {"gain", f"night {night}", "the human check set", "class car"} <= names
    page = (two_nights / "second" / "report.html").read_text()
    assert f"night {night}" in page


def test_promotion__a_champion_that_came_meanwhile_is_looked_at(two_nights, tmp_path):
    tasks = two_nights / "second" / "tasks"
    wiring = next(task for task in WIRING if task.name == "promote-student").inputs
    inputs = {name: tasks.joinpath(*source.split(".")) for name, source in wiring.items()}
    meanwhile = registry_of(two_nights)
    now = meanwhile.champion("tiny").version
    other = meanwhile.publish("tiny", two_nights / "first" / "tasks" / "train-student" / "model", {}, Provenance())
    if now != other.version:
        meanwhile.promote("tiny", other.version, expected=now, reason="another run was quicker")
    # The evaluation is made to have seen another champion: what it says of version 9 counts for nothing.
    blind = dict(metrics(two_nights / "second"), champion_version=9.0, map_50_champion=0.0)
    header = read_header(inputs["metrics"])
    write_metrics(tmp_path / "metrics", blind, Origin(header.made_by, header.config, header.inputs))
    config = PromoteStudentConfig(camera="tiny", registry=str(two_nights / "registry"), mode="manual")
    promote(config, {**inputs, "metrics": tmp_path / "metrics"}, {"decision": tmp_path / "d"}, StageContext("promote"))
    found = read_decision(tmp_path / "d")
    assert f"for the champion, version {other.version}" in found.reason
    gain = next(check for check in found.checks if check.name == "gain")
    seen = metrics(two_nights / "second")["map_50_champion"]  # version 1 was the champion then, too
    assert f"{seen:.3f} for the champion" in gain.text
