"""What is tried again, how often, and what is not."""

from __future__ import annotations

import random
import threading

import pytest
import urllib3

from dataset_culling import retry
from dataset_culling.errors import AccessDenied
from dataset_culling.retry import RetriesExhausted, Stopped, Transient, call_with_retries, connection_trouble


class Trouble(Exception):
    """What the work below fails with."""


class Fails:
    """Fails so often, then gives the number of tries before."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.times, self.error, self.seen = times, error or Trouble(), list[int]()

    def __call__(self, tries: int) -> int:
        self.seen.append(tries)
        if len(self.seen) <= self.times:
            raise self.error
        return tries


def run(work: Fails, found: Transient | None, *, retry_s: float = 60, stop: threading.Event | None = None) -> int:
    return call_with_retries(
        work,
        what="a test",
        transient=lambda error: found if isinstance(error, Trouble) else None,
        retry_s=retry_s,
        stop=stop,
    )


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_S", 1e-4)


def test_call_with_retries__transient_is_tried_until_it_has_passed() -> None:
    work = Fails(5)
    assert run(work, Transient("busy")) == 5
    assert work.seen == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("error", [AccessDenied("no"), ZeroDivisionError("no"), KeyboardInterrupt("no")])
def test_call_with_retries__other_errors_go_through_unchanged(error: Exception) -> None:
    work = Fails(1, error)
    with pytest.raises(type(error), match="no") as caught:
        run(work, Transient("busy"))
    assert caught.value is error
    assert work.seen == [0]


def test_call_with_retries__final_is_not_tried_again() -> None:
    work = Fails(1)
    with pytest.raises(Trouble):
        run(work, None)
    assert work.seen == [0]


def test_call_with_retries__no_time_is_one_try() -> None:
    work = Fails(1)
    with pytest.raises(RetriesExhausted, match="busy in 1 tries") as caught:
        run(work, Transient("busy"), retry_s=0)
    assert work.seen == [0]
    assert (caught.value.cause, caught.value.tries) == ("busy", 1)
    assert caught.value.__cause__ is work.error


def test_call_with_retries__server_that_asks_for_longer_than_there_is_time() -> None:
    with pytest.raises(RetriesExhausted, match="busy in 1 tries"):
        run(Fails(1), Transient("busy", wait_s=3600), retry_s=60)


def test_call_with_retries__stop_ends_the_waiting() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        run(Fails(1), Transient("busy", wait_s=30), stop=stop)


class Recorder(threading.Event):
    """Records waits and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout or 0.0)
        return False


def test_call_with_retries__waits_grow_are_bounded_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full jitter: anything from nothing to a bound that doubles from 0.2 s to 8 s."""
    monkeypatch.undo()
    recorders = [Recorder() for _ in range(2)]
    for recorder in recorders:
        assert run(Fails(8), Transient("busy"), stop=recorder) == 8
        for waited_s, most_s in zip(recorder.waits_s, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0], strict=True):
            assert 0 <= waited_s <= most_s
    assert recorders[0].waits_s != recorders[1].waits_s


def test_call_with_retries__server_that_asks_for_a_longer_wait_gets_it() -> None:
    recorder = Recorder()
    run(Fails(2), Transient("busy", wait_s=12.5), stop=recorder)
    assert recorder.waits_s == [12.5, 12.5]


def test_call_with_retries__takes_no_number_from_the_seeded_generator() -> None:
    random.seed(7)
    state = random.getstate()
    run(Fails(3), Transient("busy"))
    assert random.getstate() == state


def test_connection_trouble__in_a_few_words() -> None:
    pool = urllib3.HTTPConnectionPool("store", 9)
    refused = urllib3.exceptions.NewConnectionError(pool, "refused")  # type: ignore[arg-type]
    assert connection_trouble(refused) == "no connection"
    assert connection_trouble(urllib3.exceptions.MaxRetryError(pool, "/", refused)) == "no connection"
    assert connection_trouble(ConnectionResetError(104, "reset")) == "a broken connection"
    assert connection_trouble(BrokenPipeError(32, "Broken\npipe")) == "BrokenPipeError ([Errno 32] Broken pipe)"
