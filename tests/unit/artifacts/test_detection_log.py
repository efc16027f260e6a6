"""The log of what a student saw: there and back, joined, damaged, and as COCO."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from builders import frame
from dataset_culling.artifacts.detection_log import (
    FORMATS,
    LoggedFrame,
    LoggedModel,
    LogHeader,
    read_detection_log,
)
from dataset_culling.errors import InputError

HEADER = LogHeader(
    LoggedModel("tiny", "ab12", "gate", 3), ("person", "Fußgänger"), {"person": 0.4, "Fußgänger": 0.5}, 288,
    start_utc="2026-11-20T14:30:00.000Z", sources=("a.mp4", "b.mp4"), made_by="a test",
)  # fmt: skip
SEEN = frame((1, 0.9, 1.25, 2, 11.5, 22), (0, 0.456789, 0, 0, 4, 4))
FRAMES = (
    LoggedFrame(0, 0, 0.0, 64, 48, SEEN),
    LoggedFrame(1, 40, 0.04, 64, 48, frame()),
    LoggedFrame(2, 1040, 1.04, 32, 24, frame((0, 0.5, 3, 3, 7.125, 9)), source=1),
)


def written(path: Path, name: str = "jsonl", header: LogHeader = HEADER) -> Path:
    with path.open("w", encoding="utf-8") as file, contextlib.closing(FORMATS[name][1](file, header)) as writer:
        for one in FRAMES:
            writer.add(one)
        writer.finish()
    return path


def test_read_detection_log__gives_back_what_was_written(tmp_path: Path):
    back = list(read_detection_log(written(tmp_path / "log.jsonl")))
    assert [header for header, _ in back] == [HEADER] * 3
    for (_, found), was in zip(back, FRAMES, strict=True):
        assert (found.frame, found.frame_id, found.time_s, found.source) == (
            was.frame, was.frame_id, was.time_s, was.source,
        )  # fmt: skip
        assert found.found.boxes_xyxy.shape == (len(was.found), 4)
        np.testing.assert_allclose(found.found.boxes_xyxy, was.found.boxes_xyxy, atol=0.005)
        np.testing.assert_allclose(found.found.scores, was.found.scores, atol=5e-6)
        np.testing.assert_array_equal(found.found.class_ids, was.found.class_ids)


def test_read_detection_log__joined_logs_each_keep_their_model(tmp_path: Path):
    later = LogHeader(
        LoggedModel("tiny", "cd34", "gate", 4), HEADER.class_names, {"person": 0.3, "Fußgänger": 0.3}, 288
    )
    parts = [written(tmp_path / "1.jsonl"), written(tmp_path / "2.jsonl", header=later)]
    joined = tmp_path / "joined.jsonl"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert [header.model.version for header, _ in read_detection_log(joined)] == [3, 3, 3, 4, 4, 4]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda lines: [lines[0], lines[1][:40]], "line 2: .* no JSON", id="cut off"),
        pytest.param(lambda lines: lines[1:], "line 1: .* before any header", id="no header"),
        pytest.param(lambda lines: [lines[0].replace("log/1", "log/9")], "another kind or version", id="version"),
        pytest.param(lambda lines: [lines[0], lines[1].replace('"time_s"', '"time"')], "no 'time_s'", id="key"),
        pytest.param(lambda lines: [lines[0], lines[1].replace('"person"', '"dog"')], "line 2", id="unknown class"),
        pytest.param(lambda lines: [lines[0], lines[1].replace("[0.9, ", "[")], "not equally many", id="lists"),
    ],
)
def test_read_detection_log__says_which_line_is_wrong(change, says, tmp_path: Path):
    path = written(tmp_path / "log.jsonl")
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(InputError, match=says):
        list(read_detection_log(path))


def test_coco__loads_in_pycocotools_and_as_results(tmp_path: Path):
    path = written(tmp_path / "log.coco.json", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        results = coco.loadRes(coco.dataset["annotations"])
    assert sorted(coco.imgs) == [0, 40, 1040]
    assert [coco.imgs[k]["time_s"] for k in sorted(coco.imgs)] == [0.0, 0.04, 1.04]
    boxes = coco.loadAnns(coco.getAnnIds(imgIds=[0]))
    assert [(box["category_id"], box["bbox"]) for box in boxes] == [
        (2, [1.25, 2.0, 10.25, 20.0]),
        (1, [0.0, 0.0, 4.0, 4.0]),
    ]
    assert coco.getAnnIds(imgIds=[40]) == []
    assert [round(one["score"], 5) for one in results.dataset["annotations"]] == [0.9, 0.45679, 0.5]
    assert coco.dataset["info"]["model"]["version"] == 3


def test_coco__of_no_frames_is_json_too(tmp_path: Path):
    path = tmp_path / "none.json"
    with path.open("w", encoding="utf-8") as file, contextlib.closing(FORMATS["coco"][1](file, HEADER)) as writer:
        writer.finish()
    with contextlib.redirect_stdout(io.StringIO()):
        assert COCO(str(path)).imgs == {}
