"""Which model a name stands for, and what is known of it; no detector is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset_culling.artifacts.header import Origin, digest, write_artifact
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.errors import ConfigError, WeightsError
from dataset_culling.registry.models import Provenance, open_registry
from dataset_culling.serving.bundle import (
    Thresholds,
    export_model,
    model_in_folder,
    parse_size,
    registered_model,
    serve,
    split_name,
)

FIGURES = {"score_threshold_person": 0.4, "frame_height_px": 720.0, "frame_width_px": 1280.0, "map_50_raw": 0.1}


def model_at(path: Path, side_px: int = 288) -> Path:
    """A model/1 with something else than weights in it."""
    with write_artifact(path, "model/1", Origin("test")) as artifact:
        artifact.file("model.safetensors").write_bytes(b"none")
        artifact.json(
            "model.json",
            {"detector": "tiny", "class_names": ["person", "car"], "side_px": side_px, "training": {}},
        )
    return path


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("runs/demo/registry#demo", ("runs/demo/registry", "demo", 0)),
        ("s3://fleet/registry#gate-2@17", ("s3://fleet/registry", "gate-2", 17)),
        ("bundles/demo", None),
        ("#demo", None),
    ],
)
def test_split_name__registry_camera_version(text: str, named: object):
    assert split_name(text) == named


def test_split_name__a_folder_of_that_name_is_meant(tmp_path: Path):
    (tmp_path / "a#b").mkdir()
    assert split_name(str(tmp_path / "a#b")) is None
    with pytest.raises(ConfigError, match="the camera 'Gate'"):
        split_name(f"{tmp_path}#Gate")


def test_thresholds__tuned_ones_and_the_default():
    tuned = Thresholds.of(("person", "pick-up truck"), {"score_threshold_pick_up_truck": 0.3})
    assert tuned.scores == {"person": 0.5, "pick-up truck": 0.3}
    assert tuned.untuned == ("person",)
    assert "person: 0.5" in tuned.note()
    # Two classes whose figures would have one name: nobody knows whose it is.
    assert Thresholds.of(("a b", "a-b"), {"score_threshold_a_b": 0.3}).scores == {"a b": 0.5, "a-b": 0.5}


@pytest.mark.parametrize("place", ["model", "tasks/train-student/model"])
def test_model_in_folder__figures_of_this_very_model(place: str, tmp_path: Path):
    run = tmp_path / "run"
    model = model_at(run / place)
    assert model_in_folder(model).metrics == {}
    judged = Origin("evaluate-student", inputs={"model": digest(model)})
    write_metrics(run / "tasks" / "evaluate-student" / "metrics", FIGURES, judged)
    found = model_in_folder(model)
    assert found.metrics == FIGURES
    assert found.frame_size() == (720, 1280)
    assert (found.card.class_names, found.version) == (("person", "car"), 0)
    model_at(run / place, side_px=96)  # trained anew, not judged yet
    assert model_in_folder(model).metrics == {}


def test_registered_model__champion_or_version(tmp_path: Path):
    registry = open_registry(str(tmp_path / "registry"))
    for number, side_px in enumerate((96, 160), start=1):
        made = model_at(tmp_path / f"m{number}", side_px)
        registry.publish("gate", made, {"score_threshold_car": number / 10}, Provenance())
    with pytest.raises(ConfigError, match="Name a version: 1, 2"), registered_model(registry, "gate"):
        pass
    registry.promote("gate", 1, expected=0, reason="better")
    for asked, number, side_px in ((0, 1, 96), (2, 2, 160)):
        with registered_model(registry, "gate", asked) as model:
            assert (model.version, model.camera, model.card.side_px) == (number, "gate", side_px)
            assert model.metrics == {"score_threshold_car": number / 10}
            assert model.digest == digest(model.folder)
        assert not model.folder.exists()
    with pytest.raises(ConfigError, match="found gate"), registered_model(registry, "door"):
        pass


def test_export_model__the_size_must_be_known(tmp_path: Path):
    with pytest.raises(ConfigError, match="--frame-size"):
        export_model(model_in_folder(model_at(tmp_path / "model")), tmp_path / "bundle", None)
    assert parse_size("1280x720") == (720, 1280)
    assert parse_size("") is None
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        parse_size("720p")


@pytest.mark.parametrize("what", ["nothing", "a file", "a folder without either"])
def test_serve__what_is_no_model(what: str, tmp_path: Path):
    path = tmp_path / "x"
    if what == "a file":
        path.write_text(json.dumps({}))
    elif what != "nothing":
        path.mkdir()
    with pytest.raises(WeightsError, match=f"expected a model: .* found {what}"):
        serve(str(path), "cpu", sizes=[(720, 1280)], num_frames=1)
