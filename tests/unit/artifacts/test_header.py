"""Artifacts: written whole or not at all, and checked when read."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dataset_culling.artifacts.detections import read_detections, write_detections
from dataset_culling.artifacts.header import HEADER, Origin, digest, read_header, verify, write_artifact
from dataset_culling.artifacts.labels import coco_json, from_coco_json, read_labels, write_labels
from dataset_culling.artifacts.metrics import read_metrics, write_metrics
from dataset_culling.artifacts.resolution import Resolution, ResolutionPoint, read_resolution, write_resolution
from dataset_culling.artifacts.selection import read_selection, write_selection
from dataset_culling.artifacts.timing import Timing, read_timing, write_timing
from dataset_culling.errors import ArtifactError, CorruptArtifact, OutputError, SchemaMismatch
from dataset_culling.types import Detections, ImageDetections, Selection

ORIGIN = Origin("test", {"budget": 3}, {"frames": "ab" * 32})


def two_frames() -> Detections:
    found = Detections.from_images(
        [
            ImageDetections(
                np.array([[1, 2, 11, 22], [5, 5, 9, 9]], np.float32),
                np.array([0.75, 0.5], np.float32),
                np.array([1, 0], np.int64),
            ),
            ImageDetections.empty(),
        ],
        frame_ids=np.array([1000, 2000]),
        time_s=np.array([1.0, 2.0]),
        class_names=("person", "car"),
    )
    return dataclasses.replace(found, ignore=np.array([False, True]))


def assert_equal(one: Detections, other: Detections) -> None:
    for field in dataclasses.fields(Detections):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name), err_msg=field.name)


def test_detections__round_trip(tmp_path):
    write_detections(tmp_path / "d", two_frames(), ORIGIN)
    assert_equal(read_detections(tmp_path / "d"), two_frames())
    assert read_header(tmp_path / "d").counts == {"frames": 2, "boxes": 2}


def test_labels__round_trip_with_ignore_regions_and_empty_frames(tmp_path):
    size = np.array([640, 640])
    write_labels(tmp_path / "l", two_frames(), size, size, ORIGIN)
    assert_equal(read_labels(tmp_path / "l"), two_frames())


def test_coco_json__boxes_are_x_y_width_height():
    coco = coco_json(two_frames(), np.array([640, 640]), np.array([480, 480]))
    assert coco["annotations"][0]["bbox"] == [1, 2, 10, 20]
    assert coco["annotations"][0]["category_id"] == 2
    assert [one["iscrowd"] for one in coco["annotations"]] == [0, 1]
    assert len(coco["images"]) == 2


def test_from_coco_json__an_annotation_without_its_image_is_refused():
    coco = coco_json(two_frames(), np.array([640, 640]), np.array([480, 480]))
    coco["annotations"][0]["image_id"] = 7
    with pytest.raises(ValueError, match="names image 7"):
        from_coco_json(coco)


def test_selection__round_trip_and_equal_bytes(tmp_path):
    selection = Selection(np.array([7000, 3000]), np.array([2.5, 0.1]), ("hardest", "random"))
    for name in ("a", "b"):
        write_selection(tmp_path / name, selection, ORIGIN)
    read = read_selection(tmp_path / "a")
    assert read.frame_ids.tolist() == [7000, 3000]
    assert read.reasons == ("hardest", "random")
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_metrics__round_trip_and_nan_refused(tmp_path):
    write_metrics(tmp_path / "m", {"map_50": 0.5}, ORIGIN)
    assert read_metrics(tmp_path / "m") == {"map_50": 0.5}
    with pytest.raises(ValueError, match="map_50 must be finite, got nan"):
        write_metrics(tmp_path / "n", {"map_50": float("nan")}, ORIGIN)


def test_resolution__round_trip(tmp_path):
    point = ResolutionPoint(scale=0.9, side_px=260, loss_change=0.01, gflops=1.5, map_50=-1.0)
    wanted = Resolution(0.9, 260, 288, 0.05, 2.0, 1.5, "because", (point,))
    write_resolution(tmp_path / "r", wanted, ORIGIN)
    assert read_resolution(tmp_path / "r") == wanted


def test_timing__changes_no_digest_and_is_never_essential(tmp_path):
    write_metrics(tmp_path / "m", {"x": 1.0}, ORIGIN)
    before = digest(tmp_path / "m")
    timing = Timing("score-frames", "score-frames", 1.5, 300.0, "cpu", {"frames": 3}, {"seconds_per_frame": 0.5})
    write_timing(tmp_path / "m", timing)
    assert digest(tmp_path / "m") == before
    assert read_timing(tmp_path / "m") == timing
    (tmp_path / "m" / "timing.json").write_text("{half")
    assert read_timing(tmp_path / "m") is None


def test_write_artifact__an_error_inside_leaves_no_header(tmp_path):
    def crash() -> None:
        with write_artifact(tmp_path / "x", "metrics/1", ORIGIN) as artifact:
            artifact.json("metrics.json", {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        crash()
    with pytest.raises(ArtifactError, match="found a directory without one"):
        read_header(tmp_path / "x")


def test_write_artifact__a_file_in_the_way_is_one_line(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.raises(OutputError, match="expected to write metrics/1, found File exists"):
        write_metrics(tmp_path / "x", {}, ORIGIN)


def test_verify__one_changed_byte_is_found(tmp_path):
    write_detections(tmp_path / "d", two_frames(), ORIGIN)
    verify(tmp_path / "d")
    file = tmp_path / "d" / "scores.npy"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(CorruptArtifact, match="expected sha256"):
        verify(tmp_path / "d")
    with pytest.raises(CorruptArtifact, match=r"scores\.npy"):
        read_detections(tmp_path / "d")


def test_verify__a_truncated_or_missing_file_is_found(tmp_path):
    write_detections(tmp_path / "d", two_frames(), ORIGIN)
    file = tmp_path / "d" / "scores.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptArtifact, match="bytes, found"):
        verify(tmp_path / "d")
    file.unlink()
    with pytest.raises(CorruptArtifact, match="no such file"):
        verify(tmp_path / "d")


def test_read_header__wrong_kind_or_version_says_what_to_do(tmp_path):
    write_metrics(tmp_path / "m", {}, ORIGIN)
    with pytest.raises(SchemaMismatch, match=r"expected artifact selection/1, found metrics/1\. Re-run the stage"):
        read_selection(tmp_path / "m")
    header = json.loads((tmp_path / "m" / HEADER).read_text())
    (tmp_path / "m" / HEADER).write_text(json.dumps({**header, "version": 2}))
    with pytest.raises(SchemaMismatch, match="found metrics/2"):
        read_metrics(tmp_path / "m")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "metrics"}', "\x00"])
def test_read_header__no_header_is_one_line(tmp_path, text):
    (tmp_path / HEADER).write_text(text)
    with pytest.raises(ArtifactError, match="expected an artifact's header") as caught:
        read_header(tmp_path)
    assert "\n" not in str(caught.value)
