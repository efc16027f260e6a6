"""Jobs side by side: order, and the first failure."""

from __future__ import annotations

import time

import pytest

from dataset_culling.storage import each


def test_each__order_and_failure() -> None:
    assert each(lambda number: number * 2, range(100), workers=7) == [2 * number for number in range(100)]
    assert each(lambda number: number, [], workers=3) == []
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // (number - 50), range(100), workers=4)


def test_each__first_failure_cancels_the_rest() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)
        if number == 4:
            raise KeyError(number)

    with pytest.raises(KeyError, match="4"):
        each(work, range(1000), workers=2)
    assert len(begun) < 20
