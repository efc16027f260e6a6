"""Jobs side by side: order, bounds, and the first failure."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from dataset_culling.storage.parallel import each, in_order


def test_in_order__results_in_the_order_of_jobs_and_never_far_ahead() -> None:
    taken: list[int] = []

    def jobs():  # type: ignore[no-untyped-def]
        for number in range(50):
            taken.append(number)
            yield partial(int, number)

    results = in_order(jobs(), 3, threading.Event())
    assert [next(results) for _ in range(10)] == list(range(10))
    assert len(taken) <= 10 + 3 + 2
    assert list(results) == list(range(10, 50))


def test_in_order__first_failure_ends_the_rest_and_sets_stop() -> None:
    stop, begun = threading.Event(), list[int]()

    def job(number: int) -> int:
        begun.append(number)
        if number == 4:
            raise KeyError(number)
        return number

    with pytest.raises(KeyError, match="4"):
        list(in_order((partial(job, number) for number in range(1000)), 2, stop))
    assert stop.is_set()
    assert len(begun) < 20


def test_in_order__reader_who_leaves_stops_the_jobs() -> None:
    stop = threading.Event()
    results = in_order((partial(int, number) for number in range(1000)), 2, stop)
    assert next(results) == 0
    results.close()
    assert stop.is_set()


def test_each__order_and_failure() -> None:
    assert each(lambda number: number * 2, range(100), workers=7) == [2 * number for number in range(100)]
    assert each(lambda number: number, [], workers=3) == []
    with pytest.raises(ZeroDivisionError):
        each(lambda number: 1 // (number - 50), range(100), workers=4)
