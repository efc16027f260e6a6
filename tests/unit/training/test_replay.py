"""Old frames in tonight's training: how many, of which nights, and what a training starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import digest
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.model import ModelCard, write_model
from dataset_culling.artifacts.replay import CHAMPION, Replay, Slice, write_replay
from dataset_culling.errors import CorruptArtifact
from dataset_culling.training.config import TrainingConfig
from dataset_culling.training.labeled_frames import LabelledFrames
from dataset_culling.training.replay import draw, start_of, with_replay


def night(name: str, *ids: int) -> Slice:
    return Slice(name, "night", ids, ())


@pytest.mark.parametrize(
    ("most", "wanted"),
    [
        pytest.param(0, [], id="none"),
        pytest.param(2, [2, 11], id="one of each, from its middle"),
        pytest.param(3, [2, 10, 12], id="what is left over goes to the latest night"),
        pytest.param(6, [0, 2, 3, 10, 11, 12], id="a short night gives what it has"),
        pytest.param(99, [0, 1, 2, 3, 10, 11, 12], id="no more than there are"),
    ],
)
def test_draw__evenly_over_nights(most, wanted):
    replay = Replay(0, "", (night("a", 0, 1, 2, 3), night("b", 10, 11, 12), night("c")))
    assert draw(replay, most=most).tolist() == wanted


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    truth = write_camera_frames(tmp_path / "old", [40.0, 50.0, 60.0])
    width_px = np.full(3, 512)
    write_labels(tmp_path / "old_labels", truth, width_px, np.full(3, 288), ORIGIN)
    ids = tuple(truth.frame_ids.tolist())
    write_replay(tmp_path / "replay", Replay(0, "", (Slice("20261101", "night", ids[:2], ids[2:]),)), ORIGIN)
    return {
        "replay": tmp_path / "replay",
        "replay_frames": tmp_path / "old",
        "replay_labels": tmp_path / "old_labels",
    }


def test_with_replay__old_frames_follow_tonights_and_heldout_ones_never(inputs, tmp_path):
    truth = write_camera_frames(tmp_path / "tonight", [100.0, 110.0, 120.0, 130.0])
    tonight = LabelledFrames(FrameReader(tmp_path / "tonight"), truth, np.arange(4))
    both, replayed = with_replay(TrainingConfig(replay_share=9), inputs, tonight)
    assert (len(both), replayed) == (6, 2)
    assert [both.name(k) for k in range(6)][3:] == ["frame 130000", "replayed frame 40000", "replayed frame 50000"]
    old = FrameReader(inputs["replay_frames"]).image(40000)
    assert np.array_equal(both[4].image, old)
    assert with_replay(TrainingConfig(replay_share=0.25), inputs, tonight)[1] == 1
    assert with_replay(TrainingConfig(replay_share=0), inputs, tonight) == (tonight, 0)
    assert with_replay(TrainingConfig(), {}, tonight) == (tonight, 0)


def with_champion(inputs: dict[str, Path], detector: str, class_names: tuple[str, ...]) -> Path:
    folder = inputs["replay"]
    write_model(folder / CHAMPION, ModelCard(detector, class_names, 288, {}), {"w": torch.zeros(1)}, ORIGIN)
    write_replay(folder, Replay(7, digest(folder / CHAMPION), ()), ORIGIN)
    return folder / CHAMPION


def test_start_of__the_champion_if_it_fits(inputs):
    config = TrainingConfig(start="champion", classes=CLASSES)
    assert "no champion yet" in start_of(config, inputs).note
    model = with_champion(inputs, "tiny", CLASSES)
    found = start_of(config, inputs)
    assert (found.version, found.student.name, found.student.weights) == (7, "tiny", str(model))
    assert start_of(config.replace(start="base"), inputs).student == config.student
    assert start_of(config, {}).version == 0


@pytest.mark.parametrize(("detector", "classes"), [("yolox_nano", CLASSES), ("tiny", ("person",))])
def test_start_of__a_champion_of_another_kind_is_left(inputs, detector, classes):
    with_champion(inputs, detector, classes)
    found = start_of(TrainingConfig(start="champion", classes=CLASSES), inputs)
    assert (found.version, found.student) == (0, TrainingConfig().student)
    assert f"version 7, is a {detector} of {', '.join(classes)}" in found.note


def test_start_of__a_changed_champion_is_refused(inputs):
    model = with_champion(inputs, "tiny", CLASSES)
    (model / "model.safetensors").write_bytes(b"other")
    with pytest.raises(CorruptArtifact):
        start_of(TrainingConfig(start="champion", classes=CLASSES), inputs)
