"""Progress of a run: bars in a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dataset_culling.artifacts.timing import Timing
from dataset_culling.engine.local import Display
from dataset_culling.pipeline.graph import TaskSpec

PLAIN_EVERY_S = 15.0
"""Seconds between progress lines of a long stage, without a terminal."""


class BarDisplay:
    """A bar for each stage, with rate and time left."""

    def __init__(self, bars: Progress, *, verbose: bool = False) -> None:
        self._bars, self._verbose = bars, verbose
        self._task: TaskID | None = None

    def begin(self, position: int, total: int, task: TaskSpec) -> None:
        """See `Display`."""
        label = f"{position:2}/{total} {task.display_name}"
        self._task = self._bars.add_task(label, total=None, seconds="")

    def progress(self, done: int, total: int) -> None:
        """See `Display`."""
        if self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def end(self, task: TaskSpec, timing: Timing | None, *, skipped: bool) -> None:
        """See `Display`."""
        if self._task is None:
            return
        total = self._bars.tasks[self._bars.task_ids.index(self._task)].total or 1
        note = "already done" if skipped else f"{timing.seconds:.1f} s" if timing is not None else ""
        self._bars.update(self._task, completed=total, total=total, seconds=note)
        self._bars.stop_task(self._task)
        for line in _notes(timing) if self._verbose else ():
            self._bars.console.print(line, markup=False, highlight=False)


class PlainDisplay:
    """A line when a stage is done, and now and then one while it runs."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._label, self._said, self._last = "", 0.0, (0, 0)

    def begin(self, position: int, total: int, task: TaskSpec) -> None:
        """See `Display`."""
        self._label, self._said, self._last = f"{position:2}/{total} {task.display_name}", time.monotonic(), (0, 0)

    def progress(self, done: int, total: int) -> None:
        """See `Display`."""
        self._last = (done, total)
        if time.monotonic() - self._said >= PLAIN_EVERY_S:
            self._said = time.monotonic()
            self._line(f"{_bar(done, total)} {done:,}/{total:,}")

    def end(self, task: TaskSpec, timing: Timing | None, *, skipped: bool) -> None:
        """See `Display`."""
        total = self._last[1]
        count = f" {total:,}/{total:,}" if total else ""
        note = "already done" if skipped else f"{timing.seconds:.1f} s" if timing is not None else ""
        self._line(f"{_bar(1, 1)}{count} {note}")
        for line in _notes(timing) if self._verbose else ():
            print(line, file=sys.stderr, flush=True)

    def _line(self, text: str) -> None:
        print(f"{self._label:32} {text}", file=sys.stderr, flush=True)


class QuietDisplay:
    """Says nothing."""

    def begin(self, position: int, total: int, task: TaskSpec) -> None:
        """See `Display`."""

    def progress(self, done: int, total: int) -> None:
        """See `Display`."""

    def end(self, task: TaskSpec, timing: Timing | None, *, skipped: bool) -> None:
        """See `Display`."""


@contextmanager
def make_display(*, quiet: bool, verbose: bool = False) -> Iterator[Display]:
    """Choose the display for the output; a verbose one adds the stages' counts and notes."""
    if quiet:
        yield QuietDisplay()
        return
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainDisplay(verbose=verbose)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[seconds]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield BarDisplay(bars, verbose=verbose)


@contextmanager
def show_progress(label: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of one piece of work: a bar in a terminal, elsewhere a line every PLAIN_EVERY_S."""
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total: None
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bars:
            bar = bars.add_task(label, total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
    else:
        said = time.monotonic()

        def say(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= PLAIN_EVERY_S:
                said = time.monotonic()
                print(f"{label:32} {_bar(done, total)} {done:,}/{total:,}", file=sys.stderr, flush=True)

        yield say


def _notes(timing: Timing | None) -> list[str]:
    """Return a stage's counts and notes, indented."""
    if timing is None:
        return []
    counts = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in timing.counts.items())
    return [f"       {line}" for line in ([counts] if counts else []) + list(timing.notes)]


def _bar(done: int, total: int, width: int = 20) -> str:
    filled = round(width * done / total) if total else 0
    return "[" + "#" * filled + "." * (width - filled) + "]"
