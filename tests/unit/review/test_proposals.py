"""Frames that leave pre-labelled and come back mended: what a person did, and nothing else, is in the check set."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from builders import footage, frame
from conftest import culling
from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin, write_json
from dataset_culling.artifacts.labels import read_labels, write_labels
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.registry.models import open_registry
from dataset_culling.registry.nights import Nights
from dataset_culling.review.check_set import read_labelled, set_check
from dataset_culling.review.proposals import FRAMES, LABELS, STUDENT, propose
from dataset_culling.types import Detections

BY = Origin("test")
IDS, TIMES = [1000, 2000, 3000, 4000], [1.0, 2.0, 3.0, 4.0]
SURE = (0, 0.97, 3.123, 4.456, 20.789, 30.5)
DOUBTED = (1, 0.4, 30.25, 5.0, 50.125, 20.0)
UNSEEN = (0, 0.9, 2.0, 2.0, 12.0, 22.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of four frames of 64x48 px: sure, nothing, doubtful by its mark, doubtful by the student."""
    folder = tmp_path / "run"
    with FrameWriter(folder / FRAMES, origin=BY) as writer:
        for number, (frame_id, time_s) in enumerate(zip(IDS, TIMES, strict=True)):
            writer.add(frame_id, time_s, np.full((48, 64, 3), 40 * number, np.uint8))
    labels = footage(frame(SURE), frame(), frame(SURE, DOUBTED), frame(UNSEEN), frame_ids=IDS, time_s=TIMES, ignore=[2])
    size = np.full(4, 64), np.full(4, 48)
    write_labels(folder / LABELS, labels, *size, BY, box_trust=np.array([1, 1, 0.5, 1]), frame_trust=np.ones(4))
    student = footage(frame(SURE), frame(), frame(SURE), frame(), frame_ids=IDS, time_s=TIMES)
    write_detections(folder / STUDENT, student, BY)
    write_json(folder / "config.json", {"camera": "door", "registry": str(tmp_path / "registry")})
    return folder


def came_back(tmp_path: Path, labels: Path, images: Path) -> Detections:
    registry = open_registry(str(tmp_path / "registry"))
    night = set_check(registry, "door", labels, images)
    return read_labels(Nights(registry).fetch("door", night, tmp_path / "got")["labels"])


def test_propose__doubtful_first_and_every_jpeg_as_stored(run, tmp_path):
    done = propose(run, str(tmp_path / "out"), frames=50)
    assert (done.frames, done.boxes, done.doubtful) == (4, 4, 2)
    assert done.known == ("score", "ignore mark", "trust", "student")
    coco = json.loads((tmp_path / "out" / "labels.json").read_text())
    # 0.4 x 0.5 trust, halved as ignored, halved as unseen: doubt 0.95; 0.9 halved as unseen: doubt 0.55
    assert [(image["id"], image["doubt"]) for image in coco["images"]] == [
        (3000, 0.95), (4000, 0.55), (1000, 0.0), (2000, 0.0),
    ]  # fmt: skip
    names = [image["file_name"] for image in coco["images"]]
    assert names == sorted(names) == sorted(file.name for file in (tmp_path / "out" / "images").iterdir())
    stored = FrameReader(run / FRAMES)
    for image in coco["images"]:
        assert (tmp_path / "out" / "images" / image["file_name"]).read_bytes() == stored.jpeg(image["id"])
    first = coco["annotations"][0]
    assert (first["score"], first["attributes"], first["iscrowd"]) == (0.4, {"doubtful": True, "score": 0.4}, 0)
    assert [one["attributes"]["doubtful"] for one in coco["annotations"]] == [True, False, True, False]


def test_check_set__unchanged_proposals_come_back(run, tmp_path):
    propose(run, str(tmp_path / "out"), frames=50)
    back = came_back(tmp_path, tmp_path / "out" / "labels.json", tmp_path / "out" / "images")
    wanted = read_labels(run / LABELS)
    order = [2, 3, 0, 1]  # rows of the run in the order in which the images left
    assert back.class_names == wanted.class_names
    for number, row in enumerate(order):
        ours, theirs = back.image(number), wanted.image(row)
        by_size = np.argsort(ours.boxes_xyxy[:, 0]), np.argsort(theirs.boxes_xyxy[:, 0])
        assert np.abs(ours.boxes_xyxy[by_size[0]] - theirs.boxes_xyxy[by_size[1]]).max(initial=0) < 0.01
        assert ours.class_ids[by_size[0]].tolist() == theirs.class_ids[by_size[1]].tolist()
    assert not back.ignore.any()  # a doubtful box that was left is true
    assert back.scores.tolist() == [1, 1, 1, 1]


def test_check_set__coco_mended_by_a_person(run, tmp_path):
    propose(run, str(tmp_path / "out"), frames=50)
    file = tmp_path / "out" / "labels.json"
    coco = json.loads(file.read_text())
    coco["annotations"] = [one for one in coco["annotations"] if one["score"] != 0.4]
    coco["annotations"].append({"id": 99, "image_id": 2000, "category_id": 2, "bbox": [1, 2, 3, 4]})
    file.write_text(json.dumps(coco))
    check_mended(came_back(tmp_path, file, tmp_path / "out" / "images"))


def check_mended(back: Detections) -> None:
    """The doubtful car of the first image is gone, one is drawn on the image that was empty, the rest is as it was."""
    assert np.diff(back.offsets).tolist() == [1, 1, 1, 1]
    assert [back.class_names[k] for k in back.class_ids] == ["person", "person", "person", "car"]
    assert back.image(3).boxes_xyxy.tolist() == [[1, 2, 4, 6]]


def test_propose__boxes_are_clipped_to_their_frame(run, tmp_path):
    beyond = footage(
        frame((0, 0.9, -7, 5, 20, 90), (0, 0.9, 70, 5, 80, 9)), frame(), frame(), frame(), frame_ids=IDS, time_s=TIMES
    )
    write_labels(run / LABELS, beyond, np.full(4, 64), np.full(4, 48), BY)
    propose(run, str(tmp_path / "out"), frames=50)
    coco = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert [one["bbox"] for one in coco["annotations"]] == [[0, 5, 20, 43]]


@pytest.mark.parametrize(("pick", "chosen"), [("even", {2000, 3000}), ("doubtful", {1000, 3000})])
def test_propose__frames_are_chosen_over_time(run, tmp_path, pick, chosen):
    done = propose(run, str(tmp_path / "out"), frames=2, pick=pick)
    assert (done.frames, done.of_frames, len(list((tmp_path / "out" / "images").iterdir()))) == (2, 4, 2)
    assert {one["id"] for one in json.loads((tmp_path / "out" / "labels.json").read_text())["images"]} == chosen


def test_propose__refuses_what_it_would_overwrite(run, tmp_path):
    (tmp_path / "out").mkdir()
    propose(run, str(tmp_path / "out"), frames=1)  # an empty folder is nobody's
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="found one that is not empty"):
        propose(run, str(tmp_path / "out"), frames=1)
    with pytest.raises(ConfigError, match="found an object's name"):
        propose(run, "s3://bucket/out", frames=1)
    assert sorted(tmp_path.rglob("*")) == before


def test_propose__refuses_a_run_that_has_not_ended(tmp_path):
    with pytest.raises(
        InputError, match="expected the folder of a finished run, found no tasks/extract-frames/heldout"
    ):
        propose(tmp_path, str(tmp_path / "out"), frames=1)
    assert not (tmp_path / "out").exists()


def test_command__its_readme_leads_to_a_check_set(run, tmp_path):
    done = culling("propose", run, "--to", tmp_path / "out here", "--frames", "3")
    assert done.returncode == 0, done.stderr
    assert "3 of 4 held-out frames" in done.stdout
    readme = (tmp_path / "out here" / "README.txt").read_text()
    commands = [shlex.split(line) for line in readme.splitlines() if line.strip().startswith("culling ")]
    assert [words[0] for words in commands] == ["culling"] * 2
    for words in commands:
        told = culling(*words[1:])
        assert told.returncode == 0, told.stderr
        assert "door: 3 images of person, car" in told.stdout


def test_read_labelled__xml_is_one_line_with_what_to_export(tmp_path: Path):
    file = tmp_path / "annotations.xml"
    file.write_text('<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version></annotations>')
    with pytest.raises(InputError, match=r"annotations.xml: XML is not supported. Export as COCO 1.0") as refused:
        read_labelled(file, tmp_path)
    assert "\n" not in str(refused.value)


def test_propose__coco_is_what_cvat_imports(run, tmp_path):
    propose(run, str(tmp_path / "out"), frames=50)
    coco = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert set(coco) == {"info", "images", "annotations", "categories"}
    assert all({"id", "file_name", "width", "height"} <= set(image) for image in coco["images"])
    keys = {"id", "image_id", "category_id", "segmentation", "area", "bbox", "iscrowd"}
    assert all(keys <= set(one) for one in coco["annotations"])
    readme = (tmp_path / "out" / "README.txt").read_text()
    raw = next(json.loads(line) for line in readme.splitlines() if line.strip().startswith("["))  # CVAT's label editor
    assert [label["name"] for label in raw] == [one["name"] for one in coco["categories"]]
    assert [each["name"] for each in raw[0]["attributes"]] == ["doubtful", "score"]
