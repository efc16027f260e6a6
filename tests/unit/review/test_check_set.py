"""A person's labels on their way into the registry: what does not fit is said line by line, and nothing is changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conftest import culling
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.errors import InputError
from dataset_culling.registry.models import open_registry
from dataset_culling.registry.nights import Nights
from dataset_culling.review.check_set import read_labelled, set_check


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    for name, level in (("b.png", 40), ("a.jpg", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((20, 30, 3), level, np.uint8))
    write(tmp_path, coco())
    return tmp_path


def coco() -> dict[str, Any]:
    return {
        "images": [{"id": 9, "file_name": "b.png", "width": 30, "height": 20}, {"id": 4, "file_name": "a.jpg"}],
        "categories": [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 1, "bbox": [2, 3, 10, 12]},
            {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 30.5, 20]},
        ],
    }


def write(folder: Path, labels: dict[str, Any]) -> None:
    (folder / "labels.json").write_text(json.dumps(labels))


def test_set_check__images_and_boxes_arrive(labelled, tmp_path):
    registry = open_registry(str(tmp_path / "registry"))
    night = set_check(registry, "door", labelled / "labels.json", labelled)
    got = Nights(registry).fetch("door", night, tmp_path / "got")
    assert [FrameReader(got["frames"]).image(number).mean().round() for number in (1, 2)] == [40, 200]
    boxes = read_labels(got["labels"])
    assert [boxes.class_names[k] for k in boxes.class_ids] == ["car", "person"]
    assert boxes.image(1).boxes_xyxy.tolist() == [[2, 3, 12, 15]]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda c: c["images"][0].update(file_name="none.png"), "image none.png is not in"),
        (lambda c: c["images"][0].update(width=31), "image b.png is said to be 31x20 px, the file is 30x20"),
        (lambda c: c["images"][1].update(id=9), "image id 9 is there twice (a.jpg)"),
        (lambda c: c["annotations"][0].update(category_id=7), "annotation 1 names class 7, which is not listed"),
        (lambda c: c["annotations"][0].update(image_id=5), "annotation 1 names image 5, which is not listed"),
        (lambda c: c["annotations"][0].update(bbox=[25, 3, 10, 12]), "annotation 1 lies outside its image of 30x20 px"),
        (lambda c: c["annotations"][0].update(bbox=[2, 3, 0, 12]), "annotation 1 has no area"),
    ],
)
def test_read_labelled__each_problem_is_a_line(labelled, capsys, change, line):
    changed = coco()
    change(changed)
    write(labelled, changed)
    with pytest.raises(InputError, match="nothing was changed"):
        read_labelled(labelled / "labels.json", labelled)
    assert line in capsys.readouterr().err


def test_command__sets_shows_and_removes(labelled, tmp_path):
    shelf = ("models", "--registry", tmp_path / "registry", "check-set", "door")
    assert "no check set" in culling(*shelf).stdout
    assert "2 images of car, person" in culling(*shelf, labelled / "labels.json").stdout
    assert "2 images of car, person" in culling(*shelf).stdout
    refused = culling(*shelf, labelled / "other.json")
    assert refused.returncode == 3
    assert "found no such file" in refused.stderr
    assert "no check set any more" in culling(*shelf, "--remove").stdout
    assert "no check set" in culling(*shelf).stdout
