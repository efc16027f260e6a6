"""What early stop judges a student by: never by a student's own boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from builders import footage, frame
from camera_frames import ORIGIN
from dataset_culling.artifacts.labels import read_labels, write_labels
from dataset_culling.stages.train_student.stage import split_by_time, without_students_boxes


def test_without_students_boxes__they_become_ignore_regions(tmp_path: Path):
    boxes = [(0, 0.9, 0, 0, 10, 10), (0, 0.9, 20, 0, 30, 10)]
    labels, sides = footage(frame(*boxes), frame(boxes[0])), np.array([640, 640])
    write_labels(tmp_path / "mended", labels, sides, sides, ORIGIN, box_source=("teacher", "student", "student"))
    found = without_students_boxes(read_labels(tmp_path / "mended"), tmp_path / "mended")
    assert found.ignore.tolist() == [False, True, True]
    # the later frame holds a student's box only: nothing is measured there, so nothing is kept aside
    assert len(split_by_time(found, np.array([0, 1]), 0.5)[1]) == 0
    write_labels(tmp_path / "plain", labels, sides, sides, ORIGIN)
    assert not without_students_boxes(read_labels(tmp_path / "plain"), tmp_path / "plain").ignore.any()
