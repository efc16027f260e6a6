"""Waiting out passing troubles: exponential backoff with full jitter, and an end.

Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 (full jitter).
"""

from __future__ import annotations

import itertools
import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from dataset_culling.errors import CullingError

Result = TypeVar("Result")
LOG = logging.getLogger("dataset_culling.storage")
FIRST_S = 0.2
"""Upper end of the first wait; it doubles from try to try."""
MOST_S = 8.0
"""Upper end of any wait, unless the server itself asks for more."""
DAMAGED_TRIES = 3
"""So often may bytes arrive damaged before the object, and not the way to it, is held to be so."""

_LOTS = random.SystemRandom()  # processes that failed together must not come back together


@dataclass(frozen=True, slots=True)
class Passing:
    """A trouble that may pass: what it is, and how long the server asks to be left alone."""

    cause: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes arrived that are not those that were sent: once may be the way, again and again is the object."""

    error: CullingError


Verdict = CullingError | Passing | Damaged


class Gone(Exception):
    """Somebody else in this transfer has failed for good, so this part of it stops too."""


def persist(
    work: Callable[[int], Result],
    *,
    what: str,
    judge: Callable[[Exception], Verdict],
    errors: tuple[type[Exception], ...],
    give_up: Callable[[str, int, float], CullingError],
    retry_s: float,
    stop: threading.Event | None = None,
) -> Result:
    """Call `work` until it succeeds, fails for good, or `retry_s` seconds have passed.

    Args:
        work: Given the number of tries before this one: what an earlier try did may stand, though its answer was lost.
        what: What it is about, for the log.
        judge: Says of an exception whether it may pass; an error that it returns is raised.
        errors: The exceptions that `judge` is asked about; our own errors and all others go through.
        give_up: The error to raise at the end, from the last cause, the number of tries and the seconds spent.
        retry_s: When no further try is begun.
        stop: Ends the waiting early.
    """
    started_s = time.monotonic()
    damaged = 0
    for tries in itertools.count():
        try:
            return work(tries)
        except CullingError:
            raise
        except errors as error:
            verdict = judge(error)
        if isinstance(verdict, CullingError):
            raise verdict
        if isinstance(verdict, Damaged):
            damaged += 1
            if damaged == DAMAGED_TRIES:
                raise verdict.error
            verdict = Passing("damaged bytes")
        wait_s = max(_LOTS.uniform(0, min(MOST_S, FIRST_S * 2.0**tries)), verdict.after_s)
        spent_s = time.monotonic() - started_s
        if spent_s + wait_s > retry_s:
            raise give_up(verdict.cause, tries + 1, spent_s)
        LOG.log(
            logging.INFO if tries < 3 else logging.WARNING,
            "%s: %s; trying again in %.1f s",
            what,
            verdict.cause,
            wait_s,
        )
        if stop is None:
            time.sleep(wait_s)
        elif stop.wait(wait_s):
            raise Gone
    raise AssertionError("unreachable")
