"""How crops are drawn."""

from __future__ import annotations

import numpy as np

from dataset_culling.runner.trying_embeddings import evenly_by_class


def test_evenly_by_class__rare_classes_come_whole():
    class_ids = np.array([0] * 10 + [1] * 2 + [0] * 8)
    picked = evenly_by_class(class_ids, 8)
    assert np.bincount(class_ids[picked]).tolist() == [6, 2]
    assert picked.tolist() == sorted(set(picked.tolist()))
    assert picked[-1] >= 15  # spread over all of them, not the first


def test_evenly_by_class__few_are_all_taken_and_none_is_none():
    assert evenly_by_class(np.array([1, 0, 1]), 400).tolist() == [0, 1, 2]
    assert evenly_by_class(np.zeros(0, np.int64), 5).tolist() == []
