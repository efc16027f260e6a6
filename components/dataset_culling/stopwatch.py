"""Elapsed seconds."""

from __future__ import annotations

import time


class Stopwatch:
    """Seconds since its creation, on the monotonic clock."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.monotonic() - self._start_s
