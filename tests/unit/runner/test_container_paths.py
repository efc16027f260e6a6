"""What a container is given: the command line that KFP resolved, paths, network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.errors import ConfigError
from dataset_culling.graph import PipelineConfig
from dataset_culling.runner.containers import (
    _check_kfp,
    may_download,
    needs_network,
    read_call,
    read_only_paths,
    with_absolute_paths,
)


def config_of(*sources: str, **values: object) -> PipelineConfig:
    return PipelineConfig.model_validate({"extract_frames": {"sources": sources}, **values})


def test_read_call__takes_the_command_apart():
    told = json.dumps({"outputs": {"outputFile": "/o/.kfp/run-1/label-heldout/executor_output.json"}})
    call = read_call(
        [
            *("culling", "stage", "label-frames", "--config", '{"batch_size": 8.0}', "--set", "classes", '["car"]'),
            *("--set", "teacher.name", "'--frames'", "--frames", "/f", "--heldout-labels", "/l"),
            *("--executor-input", told),
        ]
    )
    assert call.task == "label-heldout"
    assert call.config == '{"batch_size": 8.0}'
    assert call.changes == (("classes", '["car"]'), ("teacher.name", "'--frames'"))
    assert call.paths == {"frames": Path("/f"), "heldout_labels": Path("/l")}


def test_read_call__another_programs_yaml_is_refused():
    with pytest.raises(ConfigError, match="expected commands that begin with 'culling stage', found sh -c"):
        read_call(["sh", "-c", "true"])


def test_with_absolute_paths__only_what_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.pth").touch()
    config = config_of(
        *("day.mp4", "s3://footage/gate/", "segments/*.mkv"),
        student={"name": "tiny", "weights": "own.pth"},
        teacher={"name": "fasterrcnn_resnet50_fpn_v2", "weights": "COCO_V1"},
        registry="models",
        score_frames={"logged": "gate.jsonl"},
        train_student={"recipe": {"subset_replay": "subset.jsonl"}},
    )
    found = with_absolute_paths(config)
    assert found.extract_frames.sources == (f"{tmp_path}/day.mp4", "s3://footage/gate/", f"{tmp_path}/segments/*.mkv")
    assert found.student.weights == f"{tmp_path}/own.pth"
    assert (found.teacher.name, found.teacher.weights) == ("fasterrcnn_resnet50_fpn_v2", "COCO_V1")
    assert (found.registry, found.truth) == (f"{tmp_path}/models", "")
    assert found.score_frames.logged == f"{tmp_path}/gate.jsonl"
    assert found.train_student.recipe.techniques.recorded_subsets.source == f"{tmp_path}/subset.jsonl"


def test_read_only_paths__files_folders_and_what_lies_beside_weights(tmp_path):
    for name in ("day.mp4", "teacher.xml", "teacher.bin", "teacher2.xml", "segments/1.mkv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "teacher.yaml").write_text("file: teacher.xml\n")
    config = config_of(
        *(f"{tmp_path}/day.mp4", f"{tmp_path}/segments/*.mkv", "s3://footage/gate/"),
        teacher={"name": f"{tmp_path}/teacher.yaml"},
    )
    names = ("day.mp4", "segments", "teacher.bin", "teacher.xml", "teacher.yaml")
    assert read_only_paths(config) == [tmp_path / name for name in names]


def test_needs_network__only_for_what_is_not_here(tmp_path):
    here = config_of(str(tmp_path), registry=str(tmp_path))
    assert not needs_network(here)
    assert needs_network(here.replace(registry="s3://models/registry"))
    assert needs_network(config_of("s3://footage/gate/"))
    assert needs_network(here.replace(teacher=DetectorRef(name="fasterrcnn_resnet50_fpn_v2", weights="COCO_V1")))


@pytest.mark.parametrize(
    ("weights", "expected"), [("none", False), ("", False), ("s3://models/own.pth", False), ("DEFAULT", True)]
)
def test_may_download__of_an_embedded_student(weights, expected):
    assert may_download(DetectorRef(name="tiny", weights=weights)) is expected


def test_check_kfp__the_function_that_is_replaced_is_the_one_we_know():
    from kfp.local import docker_task_handler

    _check_kfp(docker_task_handler.run_docker_container)
    with pytest.raises(ConfigError, match="starts containers another way"):
        _check_kfp(lambda client, image, command, mounts: 0)
