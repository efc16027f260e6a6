"""Which sightings are one object: costs worked by hand, and what is said where laptrack is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dataset_culling.errors import ConfigError
from dataset_culling.labeling import linking
from dataset_culling.labeling.linking import NEVER, How, LinkRules, laptrack_class, link, link_cost

STANDS = (0, 0, 10, 20, 0, 0, 1)


@pytest.mark.parametrize(
    ("how", "b", "cost"),
    [
        pytest.param("near", (2, 0, 12, 20, 1, 0, 0), 1 - 8 / 12, id="8 of 12 px in common"),
        pytest.param("near", (2, 0, 12, 20, 1, 1, 0), 1 - 8 / 12 + 0.4, id="another class costs"),
        pytest.param("near", (2, 0, 12, 20, 3, 0, 0), NEVER, id="out of sight for too long"),
        pytest.param("near", (4, 0, 14, 20, 1, 0, 0), NEVER, id="6 of 14: it moved"),
        pytest.param("parked", (2, 0, 12, 20, 60, 0, 0), 1 - 8 / 12, id="it stood before"),
        pytest.param("parked", (2, 0, 12, 20, 61, 0, 0), NEVER, id="but for too long"),
        pytest.param("moving", (2, 0, 12, 20, 1, 0, 0), 1 - 28 / 32, id="grown threefold: 30 wide, 28 in common"),
        pytest.param("moving", (28, 0, 38, 20, 1, 0, 0), NEVER, id="too far: 2 of 58"),
        pytest.param("moving", (10, 0, 20, 20, 1, 1, 0), 1 - 20 / 40 + 0.4, id="another class, half in common: just"),
        pytest.param("moving", (11, 0, 21, 20, 1, 1, 0), NEVER, id="another class, less than half in common"),
    ],
)
def test_link_cost__worked_by_hand(how: How, b: tuple[float, ...], cost: float):
    assert link_cost(STANDS, b, how, LinkRules()) == pytest.approx(cost)


def test_link_cost__parked_needs_one_that_stands():
    passing, later = (*STANDS[:6], 0), (2, 0, 12, 20, 30, 0, 0)
    assert link_cost(passing, later, "parked", LinkRules()) == NEVER
    assert link_cost(later, STANDS, "parked", LinkRules()) == pytest.approx(1 - 8 / 12)


def test_link__small_problems_choose_as_one_large_one(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("laptrack", reason="needs the extra tracks")
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(40), 3)
    # three walk side by side, 12 px apart and 20 wide, so that each may be linked with its neighbours, a third missed
    x = 5.0 * rows + 12 * np.tile(np.arange(3), 40) + rng.normal(0, 2, len(rows))
    boxes = np.stack([x, np.zeros_like(x), x + 20, np.full_like(x, 40)], axis=1).astype(np.float32)
    seen = rng.random(len(rows)) > 0.33
    case = rows[seen], np.arange(40.0), boxes[seen], np.zeros(int(seen.sum()), np.int64)
    found = []
    for links in (1, 10**6):
        monkeypatch.setattr(linking, "PROBLEM_LINKS", links)
        found.append(link(*case, LinkRules()).tolist())
    assert found[0] == found[1]
    assert 3 <= len(set(found[0])) < 20  # else nothing was linked


def test_laptrack_class__without_it_is_one_line_that_names_key_and_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "laptrack", None)
    with pytest.raises(
        ConfigError, match=r"label_frames.tracks.enabled: .*pip install 'dataset-culling\[tracks\]'"
    ) as found:
        laptrack_class()
    assert "\n" not in str(found.value)
