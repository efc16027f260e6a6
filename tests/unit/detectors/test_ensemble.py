"""Weighted boxes fusion and the detector made of several."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from builders import frame
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.ensemble import fuse
from dataset_culling.detectors.table import files_of, load_detector, load_trainable
from dataset_culling.errors import ConfigError

SEEN = [  # by three members; boxes in px
    frame((0, 0.9, 10, 10, 30, 30), (1, 0.6, 60, 60, 80, 80)),
    frame((0, 0.8, 12, 10, 32, 30), (0, 0.4, 50, 10, 60, 20)),
    frame((0, 0.7, 11, 12, 31, 32), (1, 0.5, 62, 60, 82, 80), (0, 0.3, 10, 11, 30, 31)),
]
# Recipe: ensemble_boxes 1.0.9, weighted_boxes_fusion(boxes / 100, scores, labels, weights=..., iou_thr=0.55), x 100.
BY_THE_AUTHORS = {
    (1, 1, 1): (
        [[10.8519, 10.6296, 30.8519, 30.6296], [60.9091, 60, 80.9091, 80], [50, 10, 60, 20]],
        [0.675, 0.366667, 0.133333],
    ),
    (2, 1, 1): (
        [[10.6389, 10.4722, 30.6389, 30.4722], [60.5882, 60, 80.5882, 80], [50, 10, 60, 20]],
        [0.675, 0.425, 0.1],
    ),
}


@pytest.mark.parametrize("weights", BY_THE_AUTHORS, ids=str)
def test_fuse__equals_the_authors_package(weights):
    boxes, scores = BY_THE_AUTHORS[weights]
    found = fuse(SEEN, weights, iou=0.55)
    np.testing.assert_allclose(found.boxes_xyxy, boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert found.class_ids.tolist() == [0, 1, 0]


def test_fuse__worked_by_hand():
    found = fuse([frame((0, 0.9, 0, 0, 10, 10)), frame((0, 0.3, 4, 0, 14, 10))], [1, 1], iou=0.4)
    # Overlap 60 / 140 = 0.43: one object, at (0.9 x 0 + 0.3 x 4) / 1.2 = 1; score (0.9 + 0.3) / 2.
    np.testing.assert_allclose(found.boxes_xyxy, [[1, 0, 11, 10]], atol=1e-5)
    np.testing.assert_allclose(found.scores, [0.6])
    apart = fuse([frame((0, 0.9, 0, 0, 10, 10)), frame((0, 0.3, 4, 0, 14, 10))], [1, 1], iou=0.45)
    np.testing.assert_allclose(apart.scores, [0.45, 0.15])  # each was seen by one of two


def test_fuse__nothing_and_boxes_without_an_area():
    assert len(fuse([frame(), frame()], [1, 1], iou=0.5)) == 0
    assert len(fuse([frame((0, 0.9, 5, 5, 5, 9)), frame()], [1, 1], iou=0.5)) == 0


@pytest.fixture
def described(tmp_path):
    def write(**changes):
        path = tmp_path / "both.yaml"
        values = {
            "name": "both",
            "format": "ensemble",
            "members": [{"name": "tiny_teacher", "weight": 2}, {"name": "tiny"}],
        }
        path.write_text(yaml.safe_dump({**values, **changes}))
        return path

    return write


def test_load_detector__an_ensemble_fuses_what_its_members_see(described):
    both = load_detector(DetectorRef(name=str(described(classes=["person", "vehicle=car+truck"]))))
    assert both.class_names == ("person", "vehicle")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, shape).astype(np.uint8) for shape in ((120, 160, 3), (90, 160, 3), (120, 160, 3))]
    found = both.predict(images, min_score=0.001, batch_size=2)
    for image, boxes in zip(images, found, strict=True):
        seen = []
        for name in ("tiny_teacher", "tiny"):
            member = load_trainable(DetectorRef(name=name))
            (own,) = member.predict([image], min_score=0.001)
            renamed = {0: 0, 2: 1, 3: 1}  # person; car and truck
            rows = np.isin(own.class_ids, list(renamed))
            own = own.rows(rows)
            seen.append(type(own)(own.boxes_xyxy, own.scores, np.array([renamed[int(c)] for c in own.class_ids], int)))
        expected = fuse(seen, [2, 1], iou=0.55)
        expected = expected.rows(expected.scores >= 0.001)
        np.testing.assert_allclose(boxes.scores, expected.scores, atol=1e-4)
    assert both.gflops(120, 160) == pytest.approx(
        sum(load_trainable(DetectorRef(name=name)).gflops(120, 160) for name in ("tiny", "tiny_teacher")), rel=0.05
    )


def test_load_detector__an_ensemble_takes_names_that_all_members_know(described):
    assert load_detector(DetectorRef(name=str(described()))).class_names == ("person", "bicycle", "car", "truck", "dog")


@pytest.mark.parametrize(
    ("changes", "weights", "words"),
    [
        ({"members": [{"name": "tiny"}]}, "", "members"),
        ({"classes": ["unicorn"]}, "", "unicorn"),
        ({}, "file.pth", "an ensemble takes no weights"),
        ({"members": [{"name": "tiny"}, {"name": "tiny", "weights": "s3://b/k"}]}, "", "Fetch it"),
        ({"members": [{"name": "tiny"}, {"name": "two_teachers.yaml"}]}, "", "List its members instead"),
    ],
)
def test_load_detector__a_wrong_ensemble_is_explained(described, changes, weights, words):
    with pytest.raises(ConfigError, match=words) as caught:
        load_detector(DetectorRef(name=str(described(**changes)), weights=weights))
    assert "\n" not in str(caught.value)


def test_load_trainable__an_ensemble_cannot_learn(described):
    with pytest.raises(ConfigError, match="cannot learn"):
        load_trainable(DetectorRef(name=str(described())))


def test_files_of__names_members_weights(described, tmp_path):
    (tmp_path / "own.pth").write_bytes(b"")
    path = described(members=[{"name": "tiny"}, {"name": "tiny", "weights": "own.pth"}])
    assert files_of(DetectorRef(name=str(path))) == (str(path), str(tmp_path / "own.pth"))
    assert files_of(DetectorRef(name="tiny", weights="x.pth")) == ("x.pth",)
    assert files_of(DetectorRef(name="tiny")) == ()
