"""How crops are drawn, and which neighbours are shown."""

from __future__ import annotations

import numpy as np
import pytest

from dataset_culling.detectors.embedding import Layer
from dataset_culling.runner.trying_embeddings import Crops, evenly_by_class, false_neighbours, row_of


def test_evenly_by_class__rare_classes_come_whole():
    class_ids = np.array([0] * 10 + [1] * 2 + [0] * 8)
    picked = evenly_by_class(class_ids, 8)
    assert np.bincount(class_ids[picked]).tolist() == [6, 2]
    assert picked.tolist() == sorted(set(picked.tolist()))
    assert picked[-1] >= 15  # spread over all of them, not the first


def test_evenly_by_class__few_are_all_taken_and_none_is_none():
    assert evenly_by_class(np.array([1, 0, 1]), 400).tolist() == [0, 1, 2]
    assert evenly_by_class(np.zeros(0, np.int64), 5).tolist() == []


def test_row_of__keeps_what_the_pictures_need():
    angles = np.deg2rad([0, 60, 10, 90])
    values = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    images = [np.zeros((4, 4, 3), np.uint8)] * 4
    crops = Crops(images, np.array([0, 0, 1, 1]), ("person", "car"), np.arange(4.0), np.zeros((4, 4), np.bool_), 4)
    row = row_of("tiny", Layer("0", 4, "global"), values, crops)
    cos = {degrees: 1 - np.cos(np.deg2rad(degrees)) for degrees in (10, 30, 60, 80)}
    assert row.to_same == pytest.approx([cos[60], cos[60], cos[80], cos[80]])
    assert row.to_other == pytest.approx([cos[10], cos[30], cos[10], cos[30]])
    shown = false_neighbours(row, crops, 12)
    assert [(one.query.time_s, one.wrong.time_s, one.right.time_s) for one in shown] == [(2, 0, 3), (3, 1, 2)]
    assert false_neighbours(row, crops, 0) == ()
