"""Jobs side by side: each worker has cores of its own; a failure is reported and does not stop the others.

Workers are threads that start processes, so a worker's cores and its torch threads are its stages'. They are daemons:
when this process ends, by Ctrl-C or by a kill, the kernel ends their children
(`engine.interruption.die_with_parent`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from dataset_culling.artifacts.timing import Timing
from dataset_culling.errors import CullingError
from dataset_culling.report import words

HEARTBEAT_S = 30.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Watcher:
    """Current step and progress of a worker; see `report.progress.Display`."""

    def __init__(self) -> None:
        self._step, self._done, self._total = "", 0, 0

    def step(self, name: str) -> None:
        """Another piece of work begins."""
        self._step, self._done, self._total = name, 0, 0

    def begin(self, position: int, total: int, display_name: str) -> None:
        """See `Display`."""
        self.step(display_name)

    def progress(self, done: int, total: int) -> None:
        """See `Display`."""
        self._done, self._total = done, total

    def end(self, timing: Timing | None, *, skipped: bool) -> None:
        """See `Display`."""

    def __str__(self) -> str:
        share = f" {self._done / self._total:.0%}" if self._total else ""
        return f"{self._step}{share}"


@dataclass(slots=True)
class Worker:
    """The worker that does a job."""

    display: Watcher = field(default_factory=Watcher)


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work that can be done when others are."""

    name: str
    work: Callable[[Worker], bool]  # whether there was anything to do
    needs: frozenset[str] = frozenset()
    weight: float = 1.0  # about how long, in any unit
    told: Callable[[], str] = lambda: ""  # what came of it, for the line that says it is done


@dataclass(slots=True)
class _State:
    waiting: list[Job]
    running: dict[str, Worker] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    worked_weight: float = 0.0
    bug: BaseException | None = None
    stop: bool = False


def run_jobs(jobs: Sequence[Job], *, workers: int, say: Callable[[str], None]) -> Mapping[str, str]:
    """Do all jobs, the first that can be done first.

    Args:
        jobs: In the order of preference; names are unique, needs name others of them.
        workers: How many at a time.
        say: Told a line when a job ends, and now and then what is going on.

    Returns:
        Name -> message of those that failed, or could not be done as one that they need failed.
    """
    state, changed = _State(list(jobs)), threading.Condition()
    started = time.monotonic()

    def line(job: Job, took_s: float, worked: bool) -> str:
        left = sum(one.weight for one in state.waiting)
        left += sum(job.weight for job in jobs if job.name in state.running)
        place = f"[{len(state.done) + len(state.failed):{len(str(len(jobs)))}}/{len(jobs)}]"
        what = f"failed: {state.failed[job.name]}" if job.name in state.failed else job.told()
        seconds = words.duration(took_s) if worked else "already done"
        rest = ""
        if state.worked_weight and left:
            rest = f"; about {words.duration(left * (time.monotonic() - started) / state.worked_weight)} left"
        return f"{place} {job.name}: {seconds}{', ' if what else ''}{what}{rest}"

    def serve(place: int) -> None:
        _take_cores(place, workers)
        worker = Worker()
        try:
            while (job := _next(state, changed, worker)) is not None:
                began, worked, message = time.monotonic(), True, ""
                try:
                    worked = job.work(worker)
                except CullingError as error:
                    message = str(error)
                with changed:
                    took_s = time.monotonic() - began
                    del state.running[job.name]
                    if message:
                        state.failed[job.name] = message
                    else:
                        state.done.add(job.name)
                    state.worked_weight += job.weight if worked else 0.0
                    say(line(job, took_s, worked))
                    changed.notify_all()
        except BaseException as error:  # noqa: BLE001 # a bug of ours: told where the command was called
            with changed:
                state.bug, state.stop = state.bug or error, True
                changed.notify_all()

    threads = [threading.Thread(target=serve, args=(place,), daemon=True) for place in range(workers)]
    for thread in threads:
        thread.start()
    try:
        last_s = time.monotonic()
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(timeout=0.1)
            if time.monotonic() - last_s >= HEARTBEAT_S:
                last_s = time.monotonic()
                with changed:
                    at = [f"{name} ({worker.display})" for name, worker in state.running.items()]
                say(f"  now: {'; '.join(at)}")
    except BaseException:
        with changed:
            state.stop = True
        raise
    if state.bug is not None:
        raise state.bug
    return {job.name: state.failed[job.name] for job in jobs if job.name in state.failed}


def _next(state: _State, changed: threading.Condition, worker: Worker) -> Job | None:
    """The first job whose needs are done, waiting for one; None when nothing is left to wait for."""
    with changed:
        while True:
            lost = [job for job in state.waiting if job.needs & state.failed.keys()]
            for job in lost:
                state.waiting.remove(job)
                state.failed[job.name] = f"not done, as {min(job.needs & state.failed.keys())} failed"
            if lost:
                continue  # others may need these
            if state.stop or not state.waiting:
                return None
            ready = next((one for one in state.waiting if one.needs <= state.done), None)
            if ready is not None:
                state.waiting.remove(ready)
                state.running[ready.name] = worker
                return ready
            if not state.running:
                names = ", ".join(one.name for one in state.waiting)
                raise ValueError(f"jobs need each other, or what is no job: {names}")
            changed.wait()


def _take_cores(place: int, workers: int) -> None:
    """Confine this thread, and so the processes it starts, to its share of the cores."""
    cores = sorted(os.sched_getaffinity(0))
    each = max(1, len(cores) // workers)
    first = place * each % len(cores)
    os.sched_setaffinity(0, cores[first : first + each])


@contextmanager
def threads_for(workers: int) -> Iterator[int]:
    """Say in the environment how many threads each worker's torch and BLAS have: workers x threads = cores."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    try:
        yield threads
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
