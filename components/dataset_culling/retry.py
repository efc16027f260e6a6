"""The retry policy of this process: exponential backoff with full jitter, and a time limit.

Every client of a server (the object store, Kubeflow Pipelines) calls `call_with_retries` and only decides which of its
errors are transient; `TRANSIENT_STATUS` and `connection_trouble` help with that.

Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, stop_before_delay

Result = TypeVar("Result")
LOG = logging.getLogger("dataset_culling.retry")
FIRST_WAIT_S = 0.2
"""Upper limit of the first wait; it doubles with every try."""
LONGEST_WAIT_S = 8.0
"""Upper limit of any wait, unless the server asks for a longer one."""
TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""

# Processes that failed together must not retry together, and a seeded `random` must not lose numbers to waits.
_RANDOM = random.SystemRandom()

_CONNECTION_TROUBLES = {
    "NewConnectionError": "no connection",
    "NameResolutionError": "no such host",
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "ProtocolError": "a broken connection",
    "IncompleteRead": "a broken connection",
    "ConnectionResetError": "a broken connection",
}


@dataclass(frozen=True, slots=True)
class Transient:
    """A failure that may pass: its cause in a few words, and the least seconds to wait (a server's Retry-After)."""

    cause: str
    wait_s: float = 0.0


class RetriesExhausted(Exception):
    """The last failure was transient too, but the time limit is reached."""

    def __init__(self, cause: str, tries: int, spent_s: float) -> None:
        super().__init__(f"{cause} in {tries} tries and {spent_s:.0f} s")
        self.cause, self.tries, self.spent_s = cause, tries, spent_s


class Stopped(Exception):
    """The `stop` event was set while a call waited for its next try."""


def call_with_retries(
    work: Callable[[int], Result],
    *,
    what: str,
    transient: Callable[[Exception], Transient | None],
    retry_s: float,
    stop: threading.Event | None = None,
) -> Result:
    """Call `work` until it succeeds, fails for good, or `retry_s` seconds have passed.

    Args:
        work: Receives the number of earlier tries: after a lost answer, an earlier try may have taken effect.
        what: Description of the work for the log, as 'read s3://bucket/key'.
        transient: Classifies an exception of `work`; None means that another try is pointless.
        retry_s: Seconds after which no further try begins; 0 allows one try.
        stop: Event that ends a wait between two tries.

    Raises:
        RetriesExhausted: If the time is up; its cause is the last transient failure.
        Stopped: If `stop` was set during a wait.
        Exception: The failure of `work` that is not transient, unchanged.
    """
    found: Transient | None = None

    def may_pass(state: RetryCallState) -> bool:
        nonlocal found
        error = state.outcome.exception() if state.outcome else None
        found = transient(error) if isinstance(error, Exception) else None
        return found is not None

    def wait_s(state: RetryCallState) -> float:
        jitter_s = _RANDOM.uniform(0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (state.attempt_number - 1)))
        return max(jitter_s, found.wait_s if found else 0.0)

    def log(state: RetryCallState) -> None:
        level = logging.INFO if state.attempt_number <= 3 else logging.WARNING
        cause = found.cause if found else ""
        LOG.log(level, "%s: %s; next try in %.1f s", what, cause, state.upcoming_sleep)

    def pause(seconds: float) -> None:
        if stop is None:
            time.sleep(seconds)
        elif stop.wait(seconds):
            raise Stopped

    def give_up(state: RetryCallState) -> Result:
        error = state.outcome.exception() if state.outcome else None
        spent_s = state.seconds_since_start or 0.0
        raise RetriesExhausted(found.cause if found else "", state.attempt_number, spent_s) from error

    for attempt in Retrying(
        retry=may_pass,
        wait=wait_s,
        stop=stop_before_delay(retry_s),
        before_sleep=log,
        sleep=pause,
        retry_error_callback=give_up,
    ):
        with attempt:
            return work(attempt.retry_state.attempt_number - 1)
    raise AssertionError("unreachable")


def connection_trouble(error: Exception) -> str:
    """Describe a failed connection in a few words; urllib3's own messages name the whole pool.

    Args:
        error: An OSError or an exception of urllib3, which may carry the underlying one as `reason`.
    """
    inner = getattr(error, "reason", None)
    for one in (error, inner):
        if (known := _CONNECTION_TROUBLES.get(type(one).__name__)) is not None:
            return known
    return f"{type(error).__name__} ({' '.join(str(inner or error).split())[:200]})"
