"""Presets, what the command line changes of them, and the cells and settings that come of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_culling.errors import ConfigError, InputError
from dataset_culling.footage.holdout import split_by_time
from dataset_culling.pipeline.graph import STAGES
from dataset_culling.simulation import SCENES
from experiments.reproduce.about import Made
from experiments.reproduce.arms import ARMS, VARIANTS
from experiments.reproduce.cells import Cell, cells_of
from experiments.reproduce.config import ReproduceConfig, read_config, reproduce_presets
from experiments.reproduce.run import footage_cameras, jobs_of, with_footage
from experiments.reproduce.work import camera_config, cell_config, cell_wiring, read_made, write_made


@pytest.mark.parametrize("name", ["smoke", "short", "cpu", "gpu", "seeds"])
def test_presets__every_cell_has_settings_that_fit(name: str, tmp_path: Path):
    config = read_config(name)
    cells = cells_of(config)
    assert len(set(cells)) == len(cells)
    assert len({(cell.camera, cell.name) for cell in cells}) == len(cells)
    for cell in cells:
        cell_config(config, cell, tmp_path)
    assert {camera.scene for camera in config.cameras.values()} <= set(SCENES)


@pytest.mark.parametrize(
    "variant", [name for name, variant in VARIANTS.items() if variant.settings or variant.rate != 1]
)
def test_cell_config__a_variant_changes_what_its_stages_are_given(variant: str, tmp_path: Path):
    config = read_config("seeds")

    def given(name: str) -> list[str]:
        cell = Cell("street", "confidence+precision", 48, "off", 0, name)
        settings = cell_config(config, cell, tmp_path)
        return [settings.stage_config(stage).model_dump_json() for stage in ("label-frames", "train-student")]

    assert given(variant) != given("plain")


def test_cell_config__a_replay_names_the_model_of_the_cell_that_recorded(tmp_path: Path):
    cell = Cell("street", "confidence+precision", 48, "off", 2, "cached")
    recipe = cell_config(read_config("seeds"), cell, tmp_path).train_student.recipe
    assert cell.source == Cell("street", "confidence+precision", 48, "off", 2, "gradmatch")
    wanted = tmp_path / "cells" / "street" / "confidence+precision-n48-gradmatch-s2" / "tasks" / "train-student"
    assert recipe.techniques.recorded_subsets.source == str(wanted / "model")


def test_cells_of__a_replay_without_the_cell_that_records_is_refused():
    config = read_config("seeds", variants=("cached",), arms=("confidence+precision",), sizes=(48,), seeds=(0,))
    with pytest.raises(ConfigError, match="the variant gradmatch, whose subsets it replays, is missing"):
        cells_of(config)


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_presets__have_what_the_claims_need(name: str):
    config = read_config(name)
    groups = [camera.group for camera in config.cameras.values()]
    assert groups.count("sports") == 3
    assert {len(camera.classes) for camera in config.cameras.values() if camera.group == "surveillance"} == {1, 2, 3, 4}
    cells = cells_of(config)
    assert {cell.arm for cell in cells} == set(ARMS) - {"untrained"}
    for camera in config.cameras:
        mine = {(cell.arm, cell.size) for cell in cells if cell.camera == camera}
        assert {("confidence+precision", 64), ("confidence+precision", 256), ("full", 0)} <= mine
    assert reproduce_presets() == ["cpu", "gpu", "seeds", "short", "smoke"]


def test_read_config__scenes_keep_the_grids_and_arms_replace_them():
    two = read_config("cpu", scenes=("lobby", "court"))
    assert set(two.cameras) == {"lobby", "court"}
    assert {cell.camera for cell in cells_of(two)} == {"lobby", "court"}
    assert {cell.seed for cell in cells_of(two) if cell.arm == "full"} == {0, 1, 2}
    one = read_config("cpu", scenes=("lobby",), arms=("random", "full"), sizes=(32, 64), seeds=(0,))
    assert cells_of(one) == (
        Cell("lobby", "random", 32, "off", 0), Cell("lobby", "random", 64, "off", 0), Cell("lobby", "full", 0, "off", 0)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"scenes": ("loby",)}, "Did you mean 'lobby'"),
        ({"arms": ("randm",)}, "Did you mean 'random'"),
        ({"variants": ("gat",)}, "Did you mean 'gate'"),
        ({"sizes": (0,)}, "at least 1, found 0"),
        ({"opt_resolution": ("on",)}, "opt_resolution"),
    ],
)
def test_read_config__typos_are_told(named: dict, says: str):
    with pytest.raises(ConfigError, match=says):
        read_config("cpu", **named)


def test_read_config__no_such_preset():
    with pytest.raises(ConfigError, match="Did you mean 'smoke'"):
        read_config("smok")


def test_cells_of__untrained_needs_company():
    with pytest.raises(ConfigError, match="lobby: expected an arm that is trained"):
        cells_of(read_config("cpu", scenes=("lobby",), arms=("untrained",)))


def test_camera_config__pool_gap_and_heldout_are_what_was_asked_for(tmp_path: Path):
    config = read_config("smoke")
    extract = camera_config(config, "lobby", tmp_path).extract_frames
    times = np.arange(96.0 + 5 + 24)
    split = split_by_time(
        times, heldout_share=extract.heldout_share, gap_s=extract.gap_s, max_gap_share=extract.max_gap_share
    )
    assert (split.is_pool(times).sum(), split.is_heldout(times).sum()) == (96, 24)
    assert extract.near_duplicates == "keep"


def test_cell_config__who_chooses_and_how_many(tmp_path: Path):
    config = read_config("cpu")

    def of(arm: str, size: int = 64, variant: str = "plain", opt: str = "off"):
        return cell_config(config, Cell("lobby", arm, size, opt, 2, variant), tmp_path)

    both = of("confidence+precision")
    assert (both.cull_confidence.budget, both.cull_precision.budget) == (256, 64)
    assert (both.cull_precision.strategy, both.train_student.recipe.seed) == ("precision", 2)
    mean = of("confidence-mean")
    assert (mean.cull_confidence.budget, mean.cull_precision.strategy) == (64, "full")
    assert mean.cull_confidence.options == {"confidence": {"aggregation": "mean"}}
    assert of("precision").cull_confidence.strategy == "full"
    assert of("random", variant="trust").label_frames.trust == "flip"
    paper = of("confidence+precision", variant="paper")
    assert paper.cull_confidence.budget == 890  # 3,560 / 256 for each
    assert (paper.train_student.recipe.optimizer, paper.train_student.recipe.seed) == ("adam", 2)
    assert of("confidence+precision", opt="loss").choose_resolution.mode == "curve"
    assert both.choose_resolution.mode == "off"


def test_cell_config__the_full_arm_may_have_fewer_epochs(tmp_path: Path):
    config = read_config("gpu")
    assert cell_config(config, Cell("lobby", "full", 0, "off", 0), tmp_path).train_student.recipe.epochs == 2
    assert cell_config(config, Cell("lobby", "random", 64, "off", 0), tmp_path).train_student.recipe.epochs == 20


def test_jobs__every_need_is_a_job_and_a_replay_waits_for_its_recording(tmp_path: Path):
    config = read_config("seeds", over={"grids": [
        {"arms": ["confidence+precision"], "sizes": [48], "variants": ["plain", "gradmatch", "cached", "gate+logged"]}
    ]})  # fmt: skip
    jobs = jobs_of(config, cells_of(config), tmp_path, device="cpu", outcomes={}, made=Made())
    needs = {job.name: job.needs for job in jobs}
    assert len(needs) == len(jobs)
    assert frozenset().union(*needs.values()) <= needs.keys()
    shared = "far frames, scores and labels"
    assert needs["far confidence+precision-n48-s0"] == {shared}
    assert needs["far confidence+precision-n48-cached-s0"] == {shared, "far confidence+precision-n48-gradmatch-s0"}
    assert needs["far confidence+precision-n48-gate+logged-s0"] == {shared, "far log behind the gate"}
    assert needs["far log behind the gate"] == {"far gate"}


def test_cell_config__a_replay_reads_its_recording_and_half_the_rate_is_half(tmp_path: Path):
    config = read_config("seeds", over={"settings": {"train_student": {"recipe": {"learning_rate": 0.004}}}})
    of = {
        variant: cell_config(
            config, Cell("far", "confidence+precision", 48, "off", 1, variant), tmp_path
        ).train_student.recipe
        for variant in ("plain", "half-rate", "cached", "gradmatch")
    }
    assert [one.learning_rate for one in of.values()] == [0.004, 0.002, 0.002, 0.004]
    recorded = (
        tmp_path / "cells" / "far" / "confidence+precision-n48-gradmatch-s1" / "tasks" / "train-student" / "model"
    )
    assert of["cached"].techniques.recorded_subsets.source == str(recorded)
    assert of["gradmatch"].techniques.recorded_subsets.source == ""


def test_made__is_of_the_training_that_lies_there(tmp_path: Path):
    made = Made("0123456789ab", "2026-11-21 09:00 UTC", "a machine", 2, 1)
    task = tmp_path / "tasks" / "train-student"
    task.mkdir(parents=True)
    assert read_made(tmp_path) == Made()
    (task / "done.json").write_text('{"identity": "one"}')
    assert read_made(tmp_path) == Made()
    write_made(tmp_path, made)
    assert read_made(tmp_path) == made
    (task / "done.json").write_text('{"identity": "trained again, and killed before it was written down"}')
    assert read_made(tmp_path) == Made()


@pytest.mark.parametrize("own_labels", [False, True])
def test_cell_wiring__every_input_is_made_or_given(own_labels: bool):
    made = {"extract-frames.pool", "extract-frames.heldout", "score-frames.detections", "label-pool.labels"}
    made |= {"label-heldout.labels"}
    for task in cell_wiring(own_labels=own_labels):
        spec = STAGES[task.stage]
        assert set(spec.reads) <= set(task.inputs)
        assert set(task.inputs.values()) <= made
        made |= {f"{task.name}.{output}" for output in spec.writes}
    assert ("label-selection.labels" in made) == own_labels


def test_footage__a_camera_for_each_video(tmp_path: Path):
    for name in ("Front Door.mp4", "back/a.mkv", "notes.txt", "empty/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cameras = footage_cameras(tmp_path, ("person",))
    assert list(cameras) == ["front-door", "back"]
    config = with_footage(
        read_config("smoke"), tmp_path, classes=("person",), student={"name": "tiny", "weights": ""},
        teacher={"name": "yolox_nano", "weights": "x.onnx"}, fps=2.0,
    )  # fmt: skip
    assert isinstance(config, ReproduceConfig)
    assert not config.proves
    assert {cell.camera for cell in cells_of(config)} == {"front-door", "back"}
    assert camera_config(config, "back", tmp_path).truth == ""
    with pytest.raises(InputError, match="this folder holds no videos"):
        footage_cameras(tmp_path / "empty", ("person",))
    with pytest.raises(ConfigError, match="--teacher: no detector is called 'yolox_nono'"):
        with_footage(
            read_config("smoke"), tmp_path, classes=("person",), student={"name": "tiny", "weights": ""},
            teacher={"name": "yolox_nono", "weights": ""}, fps=2.0,
        )  # fmt: skip
