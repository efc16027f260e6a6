"""The near-duplicate gate, worked by hand and by its invariants."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dataset_culling.footage.near_duplicates import NearDuplicateGate, change_levels, gate_cost

SHAPE = (6, 8)
Luma = npt.NDArray[np.uint8]


def flat(level: int) -> Luma:
    return np.full(SHAPE, level, np.uint8)


def with_object(level: int, cells: int, brighter: int) -> Luma:
    image = flat(level).ravel()
    image[10 : 10 + cells] += brighter
    return image.reshape(SHAPE)


@pytest.mark.parametrize(
    ("now", "cells", "levels"),
    [
        pytest.param(flat(100), 3, 0, id="nothing changed"),
        pytest.param(flat(104), 3, 4, id="a cloud: all of it changed alike"),
        pytest.param(with_object(100, 3, 40), 3, 40, id="an object of three cells"),
        pytest.param(with_object(100, 2, 40), 3, 0, id="a speck of two cells"),
        pytest.param(with_object(100, 2, 40), 2, 40, id="... counts when two cells are asked for"),
        pytest.param(with_object(104, 3, 40), 3, 40, id="an object under a cloud"),
    ],
)
def test_change_levels__worked_by_hand(now: Luma, cells: int, levels: float) -> None:
    assert change_levels(now, flat(100), cells=cells) == levels


images = arrays(np.uint8, SHAPE, elements=st.integers(30, 220))


@given(now=images, kept=images, shift=st.integers(-30, 30), cells=st.integers(1, 48))
def test_change_levels__beyond_the_shared_change_light_does_not_matter(
    now: Luma, kept: Luma, shift: int, cells: int
) -> None:
    def own(image: Luma) -> float:
        """The change of cells beyond the shared one, written out."""
        change = image.astype(int) - kept.astype(int)
        return float(np.sort(np.abs(change - np.median(change)).ravel())[-cells])

    lighter = (now.astype(int) + shift).astype(np.uint8)
    assert own(lighter) == own(now)
    assert change_levels(lighter, kept, cells=cells) >= own(now)


@given(now=images, kept=images, cells=st.integers(1, 47))
def test_change_levels__asking_for_more_cells_never_finds_more(now: Luma, kept: Luma, cells: int) -> None:
    assert change_levels(now, kept, cells=cells + 1) <= change_levels(now, kept, cells=cells)
    assert change_levels(now, kept, cells=cells) == change_levels(kept, now, cells=cells)


@pytest.mark.parametrize("cells", [0, 49])
def test_change_levels__cells_out_of_range(cells: int) -> None:
    with pytest.raises(ValueError, match=r"cells must lie in 1\.\.48"):
        change_levels(flat(1), flat(1), cells=cells)


def test_change_levels__shapes_differ() -> None:
    with pytest.raises(ValueError, match="one shape"):
        change_levels(flat(1), flat(1)[:3], cells=1)


def gate(levels: float = 10, max_gap_s: float = 1e9) -> NearDuplicateGate:
    return NearDuplicateGate(min_change_levels=levels, min_cells=3, max_gap_s=max_gap_s)


def passed(by: NearDuplicateGate, shown: list[Luma]) -> list[bool]:
    return [by.passes(1000 * at, float(at), luma) for at, luma in enumerate(shown)]


def test_gate__drops_what_adds_nothing_and_names_what_stands_for_it() -> None:
    person = with_object(100, 6, 50)
    by = gate()
    assert passed(by, [flat(100), flat(101), person, person, flat(100)]) == [True, False, True, False, True]
    assert by.dropped == [(1000, 0, 1.0), (3000, 2000, 0.0)]


def test_gate__compares_with_the_last_kept_so_a_slow_change_is_not_missed() -> None:
    dusk = [flat(100 - 3 * at) for at in range(12)]
    assert passed(gate(), dusk) == [at in (0, 4, 8) for at in range(12)]


def test_gate__keeps_one_now_and_then() -> None:
    assert passed(gate(max_gap_s=3), [flat(9)] * 8) == [at in (0, 3, 6) for at in range(8)]


def test_gate__zero_levels_keep_all() -> None:
    assert passed(gate(levels=0), [flat(9)] * 4) == [True] * 4


def test_gate_cost__selected_frames_lost_and_without_a_stand_in() -> None:
    dropped, kept = np.array([10, 11, 30, 31]), np.array([9, 9, 29, 29])
    assert gate_cost(np.array([11, 9, 30, 50]), dropped, kept) == (2, 1)
    assert gate_cost(np.array([50]), dropped, kept) == (0, 0)
