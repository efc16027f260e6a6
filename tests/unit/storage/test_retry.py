"""What is tried again, how often, and what is not."""

from __future__ import annotations

import threading

import pytest

from dataset_culling.errors import AccessDenied, CorruptObject, CullingError, TransientStoreError
from dataset_culling.storage import retry
from dataset_culling.storage.retry import Damaged, Gone, Passing, Verdict, persist


class Trouble(Exception):
    """What the work below fails with."""


class Fails:
    """Fails so often, then gives the number of tries before."""

    def __init__(self, times: int) -> None:
        self.times, self.seen = times, list[int]()

    def __call__(self, tries: int) -> int:
        self.seen.append(tries)
        if len(self.seen) <= self.times:
            raise Trouble
        return tries


def run(work: Fails, verdict: Verdict, *, retry_s: float = 60, stop: threading.Event | None = None) -> int:
    return persist(
        work,
        what="a test",
        judge=lambda error: verdict,
        errors=(Trouble,),
        give_up=lambda cause, tries, spent_s: TransientStoreError(f"{cause} in {tries} tries"),
        retry_s=retry_s,
        stop=stop,
    )


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_S", 1e-4)


def test_persist__passing_is_tried_until_it_has_passed() -> None:
    work = Fails(5)
    assert run(work, Passing("busy")) == 5
    assert work.seen == [0, 1, 2, 3, 4, 5]


def test_persist__final_is_not_tried_again() -> None:
    work = Fails(1)
    with pytest.raises(AccessDenied, match="no"):
        run(work, AccessDenied("no"))
    assert work.seen == [0]


@pytest.mark.parametrize(("times", "raises"), [(2, False), (3, True)])
def test_persist__damaged_three_times_is_corrupt(times: int, raises: bool) -> None:
    work = Fails(times)
    if raises:
        with pytest.raises(CorruptObject):
            run(work, Damaged(CorruptObject("bad")))
        assert work.seen == [0, 1, 2]
    else:
        assert run(work, Damaged(CorruptObject("bad"))) == times


def test_persist__no_patience_is_one_try() -> None:
    work = Fails(1)
    with pytest.raises(TransientStoreError, match="busy in 1 tries"):
        run(work, Passing("busy"), retry_s=0)
    assert work.seen == [0]


def test_persist__server_that_asks_for_longer_than_patience() -> None:
    with pytest.raises(TransientStoreError, match="busy in 1 tries"):
        run(Fails(1), Passing("busy", after_s=3600), retry_s=60)


def test_persist__stop_ends_the_waiting() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Gone):
        run(Fails(1), Passing("busy", after_s=30), stop=stop)


def test_persist__other_errors_go_through() -> None:
    def work(tries: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        persist(
            work,
            what="",
            judge=lambda error: Passing(""),
            errors=(Trouble,),
            give_up=lambda cause, tries, spent_s: CullingError(cause),
            retry_s=1,
        )


def test_persist__waits_grow_are_bounded_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full jitter: anything from nothing to a bound that doubles from 0.2 s to 8 s."""
    monkeypatch.undo()

    class Recorder(threading.Event):
        waits_s: list[float]

        def wait(self, timeout: float | None = None) -> bool:
            self.waits_s.append(timeout or 0.0)
            return False

    recorders = [Recorder() for _ in range(2)]
    for recorder in recorders:
        recorder.waits_s = []
        assert run(Fails(8), Passing("busy"), stop=recorder) == 8
        for waited_s, most_s in zip(recorder.waits_s, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0], strict=True):
            assert 0 <= waited_s <= most_s
    assert recorders[0].waits_s != recorders[1].waits_s
