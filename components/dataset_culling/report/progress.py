"""Progress on standard error: bars in a terminal, plain lines elsewhere, no output when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dataset_culling.artifacts.timing import Timing

PLAIN_EVERY_S = 15.0
"""Seconds between progress lines of a long stage, without a terminal."""


class Display(Protocol):
    """An observer of a run, task by task."""

    def begin(self, position: int, total: int, display_name: str) -> None:
        """Start task `position` of `total`, which may be skipped."""

    def progress(self, done: int, total: int) -> None:
        """Report the progress of the current task."""

    def end(self, timing: Timing | None, *, skipped: bool) -> None:
        """End the current task."""


class BarDisplay:
    """A bar for each stage, with rate and time left."""

    def __init__(self, bars: Progress, *, verbose: bool = False) -> None:
        self._bars, self._verbose = bars, verbose
        self._task: TaskID | None = None

    def begin(self, position: int, total: int, display_name: str) -> None:
        """See `Display`."""
        self._task = self._bars.add_task(f"{position:2}/{total} {display_name}", total=None, note="")

    def progress(self, done: int, total: int) -> None:
        """See `Display`."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def end(self, timing: Timing | None, *, skipped: bool) -> None:
        """See `Display`."""
        if self._task is None:
            return
        total = self._bars.tasks[self._bars.task_ids.index(self._task)].total or 1
        self._bars.update(self._task, completed=total, total=total, note=_outcome(timing, skipped))
        self._bars.stop_task(self._task)
        for line in _notes(timing) if self._verbose else ():
            self._bars.console.print(line, markup=False, highlight=False)


class PlainDisplay:
    """A line at the end of each stage, and every PLAIN_EVERY_S while it runs."""

    def __init__(self, label: str = "", *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._label, self._printed, self._total = label, time.monotonic(), 0

    def begin(self, position: int, total: int, display_name: str) -> None:
        """See `Display`."""
        self._label, self._printed, self._total = f"{position:2}/{total} {display_name}", time.monotonic(), 0

    def progress(self, done: int, total: int) -> None:
        """See `Display`."""
        self._total = total
        if time.monotonic() - self._printed >= PLAIN_EVERY_S:
            self._printed = time.monotonic()
            self._print(done / total if total else 0.0, f"{done:,}/{total:,}")

    def end(self, timing: Timing | None, *, skipped: bool) -> None:
        """See `Display`."""
        count = f"{self._total:,}/{self._total:,} " if self._total else ""
        self._print(1.0, count + _outcome(timing, skipped))
        for line in _notes(timing) if self._verbose else ():
            print(line, file=sys.stderr, flush=True)

    def _print(self, share: float, text: str) -> None:
        bar = ("#" * round(20 * share)).ljust(20, ".")
        print(f"{self._label:32} [{bar}] {text}", file=sys.stderr, flush=True)


@contextmanager
def make_display(*, quiet: bool, verbose: bool = False) -> Iterator[Display]:
    """Choose the display for standard error; a verbose one adds the stages' counts and notes."""
    console = Console(stderr=True)
    if quiet or console.is_terminal:
        with Progress(*_columns(), TextColumn("{task.fields[note]}"), console=console, disable=quiet) as bars:
            yield BarDisplay(bars, verbose=verbose and not quiet)
    else:
        yield PlainDisplay(verbose=verbose)


@contextmanager
def show_progress(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of one piece of work: a bar in a terminal, elsewhere a line every PLAIN_EVERY_S."""
    console = Console(stderr=True)
    if quiet or console.is_terminal:
        with Progress(*_columns(), console=console, disable=quiet) as bars:
            bar = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
    else:
        yield PlainDisplay(label).progress


def _columns() -> list[ProgressColumn]:
    text = TextColumn("{task.description}")
    return [text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]


def _outcome(timing: Timing | None, skipped: bool) -> str:
    return "already done" if skipped else f"{timing.seconds:.1f} s" if timing is not None else ""


def _notes(timing: Timing | None) -> list[str]:
    """Return a stage's counts and notes, indented."""
    if timing is None:
        return []
    counts = ", ".join(f"{name.replace('_', ' ')} {num:,}" for name, num in timing.counts.items())
    return [f"       {line}" for line in ([counts] if counts else []) + list(timing.notes)]
