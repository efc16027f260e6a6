"""Logs of the deployed student: both formats, refused logs, and broken lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataset_culling.artifacts.frames import FrameTable
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.inference.log_config import LogConfig
from dataset_culling.inference.logged_detections import Logged, read_logged
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.types import parse_classes


def frames(*times_s: float, start_utc: str = "", size: tuple[int, int] = (200, 100)) -> FrameTable:
    times = np.array(times_s, np.float64)
    width, height = (np.full(len(times), side) for side in size)
    return FrameTable((1000 * times).astype(np.int64), times, width, height, start_utc)


def head(**changes: Any) -> dict[str, Any]:
    model = {"detector": "tiny", "model_digest": "0a1b2c3d4e5f", "camera": "gate", "version": 3}
    return {
        "log": "detection-log/1", "model": {**model, **changes.pop("model", {})}, "class_names": ["person", "car"],
        "score_thresholds": {"person": 0.05, "car": 0.05}, "side_px": 320, "start_utc": "", **changes,
    }  # fmt: skip


def frame(time_s: float, *boxes: tuple[list[float], float, str], size: tuple[int, int] = (200, 100)) -> dict[str, Any]:
    return {
        "frame": 0, "frame_id": round(1000 * time_s), "time_s": time_s, "width_px": size[0], "height_px": size[1],
        "boxes_xyxy": [box for box, _, _ in boxes], "scores": [score for _, score, _ in boxes],
        "classes": [name for _, _, name in boxes],
    }  # fmt: skip


CLASSES = parse_classes(["person", "vehicle=car+truck"])


def read(tmp_path: Path, lines: list[Any], table: FrameTable, **settings: Any) -> Logged:
    log = tmp_path / "detections.jsonl"
    log.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return read_logged(LogConfig(logged=str(log), **settings), table, CLASSES)


PERSON, CAR = ([10.0, 10.0, 20.0, 40.0], 0.4, "person"), ([50.0, 20.0, 90.0, 40.0], 0.9, "car")


def test_read_logged__joins_by_time_maps_classes_and_drops_faint_boxes(tmp_path: Path):
    faint = ([1.0, 1.0, 5.0, 5.0], 0.01, "car")
    lines = [head(), frame(0.0, PERSON, CAR, faint), frame(1.005), frame(2.5, CAR)]
    found = read(tmp_path, lines, frames(0.0, 1.0, 2.0))
    assert sorted(found.images) == [0, 1]  # 2.5 s is no record of the frame at 2 s
    first = found.images[0]
    assert first.class_ids.tolist() == [1, 0]  # best first; car is the camera's vehicle
    np.testing.assert_allclose(first.scores, [0.9, 0.4])
    np.testing.assert_allclose(first.boxes_xyxy[1], PERSON[0])
    assert len(found.images[1]) == 0  # looked at, and nothing there
    assert (found.num_bad_lines, found.notes) == (0, [])


def test_read_logged__lines_that_are_wrong_are_left_out_and_counted(tmp_path: Path):
    crooked = frame(1.0, ([20.0, 10.0, 10.0, 40.0], 0.4, "person"))
    unequal = {**frame(1.0, PERSON), "scores": []}
    cut_off = json.dumps(frame(1.0, PERSON))[:40]
    stranger = frame(1.0, ([0.0, 0.0, 1.0, 1.0], 0.5, "yeti"))
    lines = [frame(0.0, PERSON), head(), frame(0.0, CAR), crooked, unequal, stranger, "", "[1]", cut_off]
    found = read(tmp_path, lines, frames(0.0, 1.0))
    assert sorted(found.images) == [0]
    assert found.images[0].class_ids.tolist() == [1]
    assert found.num_bad_lines == 6
    assert found.notes[0] == "log: line 1 is the first unreadable one: a frame before any line with 'log'"
    assert found.notes[-1] == "log: skipped 6 unreadable lines"


def test_read_logged__boxes_come_in_px_of_the_frames(tmp_path: Path):
    found = read(tmp_path, [head(), frame(0.0, CAR, size=(400, 200))], frames(0.0))
    np.testing.assert_allclose(found.images[0].boxes_xyxy, [[25, 10, 45, 20]])
    with pytest.raises(InputError, match=r"found 100x100\. The log is of another camera"):
        read(tmp_path, [head(), frame(0.0, CAR, size=(100, 100))], frames(0.0))


def test_read_logged__clocks_are_compared_log_by_log(tmp_path: Path):
    day = frames(10.0, 20.0, start_utc="2026-11-20T14:00:00+00:00")
    lines = [
        head(start_utc="2026-11-20T14:00:05+00:00"), frame(5.0, CAR),  # 14:00:10
        head(start_utc="2026-11-20T13:59:50"), frame(30.0, PERSON),  # 14:00:20
    ]  # fmt: skip
    found = read(tmp_path, lines, day)
    assert {row: image.class_ids.tolist() for row, image in found.images.items()} == {0: [1], 1: [0]}
    with pytest.raises(
        InputError, match=r"no record lies within 0\.02 s of any of these 2 frames; the nearest is 3580\.00 s away"
    ):
        read(tmp_path, [head(start_utc="2026-11-20T15:00:00"), frame(0.0, CAR)], day)


def test_read_logged__whose_boxes_they_are_is_checked(tmp_path: Path):
    other = head(model={"version": 4, "model_digest": "ffffffff"})
    lines = [head(), frame(0.0, CAR), other, frame(1.0, PERSON)]
    table = frames(0.0, 1.0)
    with pytest.raises(InputError, match=r"of one model, found those of gate@3 \(0a1b2c3d\) \(1 frames\), gate@4"):
        read(tmp_path, lines, table)
    for name in ("gate@4", "ffffff"):
        found = read(tmp_path, lines, table, logged_model=name)
        assert sorted(found.images) == [1]
        assert found.notes == ["log: 1 records are of other models than gate@4 (ffffffff)"]
    with pytest.raises(InputError, match="expected boxes of gate@1, found no frame of it: gate@3"):
        read(tmp_path, lines, table, logged_model="gate@1")


def test_read_logged__thresholds_that_hide_doubt_are_refused(tmp_path: Path):
    lines = [head(score_thresholds={"person": 0.05, "car": 0.42, "dog": 0.9}), frame(0.0, CAR)]
    with pytest.raises(InputError, match=r"boxes of car from a score of 0\.05 on, found them from 0\.42 on"):
        read(tmp_path, lines, frames(0.0))
    assert len(read(tmp_path, lines, frames(0.0), min_score=0.42).images[0]) == 1


def test_read_logged__a_class_that_the_model_does_not_know_is_refused(tmp_path: Path):
    lines = [head(class_names=["person"], score_thresholds={"person": 0.05}), frame(0.0, PERSON)]
    with pytest.raises(ConfigError, match="for the camera's class 'vehicle'"):
        read(tmp_path, lines, frames(0.0))


def frigate(time_s: float, label: str, box: list[int], camera: str = "gate", **changes: Any) -> dict[str, Any]:
    after = {"camera": camera, "frame_time": time_s, "label": label, "score": 0.8, "box": box, **changes}
    return {"type": "update", "before": {**after, "frame_time": time_s - 1}, "after": after}


NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


def test_read_logged__frigates_messages_of_one_moment_are_one_frame(tmp_path: Path):
    lines = [
        frigate(NOON + 1, "person", [20, 20, 40, 80]),
        frigate(NOON + 1, "car", [100, 40, 180, 80]),
        frigate(NOON + 1, "cat", [0, 0, 9, 9]),
        frigate(NOON + 2, "car", [0, 0, 10, 10], false_positive=True),
        frigate(NOON + 3, "car", [0, 0, 10, 10], camera="yard"),
    ]
    table = frames(1.0, 2.0, 3.0, start_utc="2026-11-21T12:00:00+00:00")
    found = read(tmp_path, lines, table, min_score=0.5, logged_model="gate", logged_width_px=400)
    assert sorted(found.images) == [0]
    assert found.images[0].class_ids.tolist() == [0, 1]
    np.testing.assert_allclose(found.images[0].boxes_xyxy, [[10, 10, 20, 40], [50, 20, 90, 40]])
    with pytest.raises(InputError, match="found those of camera gate"):
        read(tmp_path, lines, table, min_score=0.5)
    with pytest.raises(InputError, match=r"from a score of 0\.05 on, found them from 0\.5 on"):
        read(tmp_path, lines, table, logged_model="gate")
    with pytest.raises(InputError, match="the footage's wall clock is unknown"):
        read(tmp_path, lines[:2], frames(1.0), min_score=0.5)


@pytest.mark.parametrize(
    ("lines", "says"), [([], "0 lines and no readable frame"), (["what", "ever"], "2 lines and no readable frame")]
)
def test_read_logged__nothing_to_read(tmp_path: Path, lines: list[str], says: str):
    with pytest.raises(InputError, match=says):
        read(tmp_path, lines, frames(0.0))


def test_read_logged__no_such_file(tmp_path: Path):
    config = LogConfig(logged=str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(InputError, match=r"the log cannot be read \(No such file or directory\)"):
        read_logged(config, frames(0.0), CLASSES)


def test_config__a_log_gives_no_features():
    with pytest.raises(ConfigError, match="features need every frame scored"):
        parse_config(ScoreFramesConfig, {"logged": "x", "features": True}, where="score-frames")
