"""Drawing crops, and the neighbours that are shown."""

from __future__ import annotations

import numpy as np

from experiments.embeddings.__main__ import Crops, evenly_by_class, row_of
from experiments.embeddings.layers import Layer


def test_evenly_by_class__rare_classes_come_whole():
    class_ids = np.array([0] * 10 + [1] * 2 + [0] * 8)
    picked = evenly_by_class(class_ids, 8)
    assert np.bincount(class_ids[picked]).tolist() == [6, 2]
    assert picked.tolist() == sorted(set(picked.tolist()))
    assert picked[-1] >= 15  # spread over all of them, not the first


def test_evenly_by_class__few_are_all_taken_and_none_is_none():
    assert evenly_by_class(np.array([1, 0, 1]), 400).tolist() == [0, 1, 2]
    assert evenly_by_class(np.zeros(0, np.int64), 5).tolist() == []


def test_row_of__ranks_mistakes_and_shows_no_crop_twice():
    angles = np.deg2rad([0, 60, 10, 90])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    images = [np.zeros((4, 4, 3), np.uint8)] * 4
    crops = Crops(images, np.array([0, 0, 1, 1]), ("person", "car"), np.zeros((4, 4), np.bool_))
    row = row_of("tiny", Layer("0", 4, "global"), values, crops)
    # Query 2 (10 degrees) has 0 at 10 degrees and its own class at 80; query 3 has 1 at 30 and its own at 80.
    assert row.mistakes == ((2, 0, 3), (3, 1, 2))
