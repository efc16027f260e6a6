"""Teacher labeling as a stage: the embedded teacher on frames of the simulated camera, compared with itself."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camera_frames import CLASSES, ORIGIN, write_camera_frames
from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import FILE, read_box_trust, read_frame_trust, read_labels, read_worst
from dataset_culling.artifacts.selection import write_selection
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.labeling.label import student_boxes
from dataset_culling.labeling.tracks import SOURCES
from dataset_culling.stages.base import StageContext, StageReport
from dataset_culling.stages.label_frames.config import LabelFramesConfig
from dataset_culling.stages.label_frames.stage import run
from dataset_culling.types import Detections, ImageDetections, Selection

TIMES_S = [40.0, 41.0, 42.0, 60.0, 61.0, 90.0]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camera") / "frames"
    write_camera_frames(folder, TIMES_S)
    return folder


def label(frames: Path, out: Path, *ids: int, detections: Path | None = None, **config: object) -> StageReport:
    inputs = {"frames": frames} | ({} if detections is None else {"detections": detections})
    if ids:
        inputs["selection"] = out.with_name("selection")
        chosen = Selection(np.array(ids), np.zeros(len(ids)), ("by hand",) * len(ids))
        write_selection(inputs["selection"], chosen, ORIGIN)
    values = LabelFramesConfig(classes=CLASSES, **config)
    return run(values, inputs, {"labels": out}, StageContext("label-frames"))


def test_run__trust_off_costs_one_look_and_writes_none(frames: Path, tmp_path: Path):
    report = label(frames, tmp_path / "labels")
    assert report.counts["looks"] == len(TIMES_S)
    assert read_frame_trust(tmp_path / "labels") is None
    assert read_worst(tmp_path / "labels") == ()
    coco = json.loads((tmp_path / "labels" / FILE).read_text())
    assert not [entry for entry in coco["images"] + coco["annotations"] if "trust" in entry]


@pytest.mark.parametrize(("trust", "looks"), [("flip", 12), ("flip+scale", 18)])
def test_run__views_cost_looks_and_mark_what_is_not_found_again(frames: Path, tmp_path: Path, trust: str, looks: int):
    plain = label(frames, tmp_path / "plain")
    report = label(frames, tmp_path / "labels", trust=trust, min_trust=0.7, list_worst=3)
    assert (plain.counts["looks"], report.counts["looks"]) == (6, looks)
    before, after = read_labels(tmp_path / "plain"), read_labels(tmp_path / "labels")
    assert np.array_equal(before.boxes_xyxy, after.boxes_xyxy)  # the same look decides where boxes are
    coco = json.loads((tmp_path / "labels" / FILE).read_text())
    of_boxes = np.array([one["trust"] for one in coco["annotations"]])
    assert np.array_equal(after.ignore, before.ignore | (of_boxes < 0.7))
    sure = ~before.ignore
    assert np.median(of_boxes[sure]) > 0.7  # mostly it says the same of the same thing, so mirroring comes back right
    rows = before.frame_rows()
    wanted = [of_boxes[sure & (rows == row)].mean() if np.any(sure & (rows == row)) else 1.0 for row in range(6)]
    assert read_frame_trust(tmp_path / "labels") == pytest.approx(wanted)
    worst = read_worst(tmp_path / "labels")
    assert [one.trust for one in worst] == sorted(of_boxes[sure])[:3]
    assert all(one.ignored == (one.trust < 0.7) for one in worst)


def test_run__neighbours_are_looked_at_though_they_are_not_labelled(frames: Path, tmp_path: Path):
    # 41 s lies beside 40 and 42, 60 s beside 61; 90 s has nobody near
    report = label(frames, tmp_path / "labels", 41_000, 60_000, 90_000, trust="neighbours")
    assert report.counts["looks"] == 6
    assert read_labels(tmp_path / "labels").frame_ids.tolist() == [41_000, 60_000, 90_000]
    trust = read_frame_trust(tmp_path / "labels")
    assert trust is not None
    assert trust[2] == 1.0
    alone = label(frames, tmp_path / "alone", 41_000, 60_000, 90_000, trust="neighbours", trust_gap_s=0.5)
    assert alone.counts["looks"] == 3
    assert read_frame_trust(tmp_path / "alone").tolist() == [1, 1, 1]


def test_run__tracks_are_written_beside_the_boxes(frames: Path, tmp_path: Path):
    pytest.importorskip("laptrack", reason="needs the extra tracks")
    before, out = tmp_path / "plain", tmp_path / "labels"
    label(frames, before)
    report = label(frames, out, tracks={"enabled": True, "max_gap_s": 2.0}, trust="flip")
    coco = json.loads((out / FILE).read_text())
    assert report.counts["track_tracks"] > 0
    assert report.figures["linking_s"] > 0
    assert {one["source"] for one in coco["annotations"]} <= set(SOURCES)
    # frames at 40, 41 and 42 s follow one another, 90 s is far from all: what is parked alone is there again
    lives = [{one["track"] for one in coco["annotations"] if one["image_id"] == t} for t in (40_000, 41_000, 42_000)]
    assert lives[0] & lives[1] & lives[2]
    after = read_labels(out)
    assert len(read_box_trust(out)) == len(after.scores)
    filled = sum(one["source"] in ("student", "interpolated", "guessed") for one in coco["annotations"])
    was = read_labels(before)
    dropped = report.counts["track_duplicates"]
    assert len(after.scores) == len(was.scores) + filled - dropped
    assert not [one for one in json.loads((before / FILE).read_text())["annotations"] if "track" in one]


def test_run__tracks_use_the_students_boxes_on_frames_between(frames: Path, tmp_path: Path):
    pytest.importorskip("laptrack", reason="needs the extra tracks")
    label(frames, tmp_path / "all")
    everywhere = read_labels(tmp_path / "all")
    write_detections(tmp_path / "detections", replace(everywhere, ignore=np.zeros_like(everywhere.ignore)), ORIGIN)
    rules = {"enabled": True, "max_gap_s": 1.5, "parked_gap_s": 1.5, "student_score": 0.3}
    alone = label(frames, tmp_path / "alone", 40_000, 42_000, tracks=rules)
    helped = label(frames, tmp_path / "helped", 40_000, 42_000, tracks=rules, detections=tmp_path / "detections")
    assert helped.counts["track_tracks"] < alone.counts["track_tracks"]  # at 41 s only the student looked


def test_run__a_missing_laptrack_is_said_before_the_teacher_is_loaded(
    frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "laptrack", None)
    # this teacher cannot be loaded, so whoever asks for it first says something else
    with pytest.raises(ConfigError, match=r"label_frames.tracks.enabled: .*dataset-culling\[tracks\]"):
        label(frames, tmp_path / "labels", tracks={"enabled": True}, teacher={"name": "nobody"})


def test_student_boxes__of_another_camera_are_refused_in_one_line(frames: Path, tmp_path: Path):
    reader = FrameReader(frames)
    seen = Detections.from_images(
        [ImageDetections.empty()] * len(TIMES_S),
        frame_ids=reader.table.frame_ids, time_s=reader.table.time_s, class_names=CLASSES,
    )  # fmt: skip
    config, out = LabelFramesConfig(classes=CLASSES, tracks={"enabled": True}), tmp_path / "detections"

    def read(given: Detections) -> Detections | None:
        write_detections(out, given, ORIGIN)
        return student_boxes(config, {"detections": out}, reader)

    assert read(seen) is not None
    with pytest.raises(InputError, match=rf"expected the camera's classes \({', '.join(CLASSES)}\), found cat"):
        read(replace(seen, class_names=("cat",)))
    with pytest.raises(InputError, match=r"expected frame 40000 at 40 s as in .*, found it at 47 s"):
        read(replace(seen, time_s=seen.time_s + 7))
    assert student_boxes(LabelFramesConfig(classes=CLASSES), {"detections": out}, reader) is None


def test_run__thresholds_per_class(frames: Path, tmp_path: Path):
    label(frames, tmp_path / "all", min_score=0.4)
    label(frames, tmp_path / "cars", min_score=0.4, min_score_by_class={"car": 1.0})
    before, after = read_labels(tmp_path / "all"), read_labels(tmp_path / "cars")
    car = before.class_ids == CLASSES.index("car")
    assert np.any(car & ~before.ignore)  # else this test would show nothing
    assert np.all(after.ignore[car])
    assert np.array_equal(after.ignore[~car], before.ignore[~car])


def test_run__a_threshold_of_no_class_is_one_line(frames: Path, tmp_path: Path):
    for key in ("min_score_by_class", "min_trust_by_class"):
        with pytest.raises(ConfigError, match=f"{key}: unknown class 'cat'.* classes are {', '.join(CLASSES)}"):
            label(frames, tmp_path / "labels", **{key: {"cat": 0.9}})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_score_by_class": {"car": 0.1}}, r"between doubtful_score \(0.3\) and 1, found 0.1 for 'car'"),
        ({"min_trust_by_class": {"car": 1.5}}, "between 0 and 1, found 1.5 for 'car'"),
        ({"trust": "mirror"}, "flip"),
        ({"doubtful_score": 0.6}, "must not exceed min_score"),
    ],
)
def test_config__names_what_is_wrong(values: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        parse_config(LabelFramesConfig, values, where="test")
