"""Several jobs at once, in bounded memory; one failure for good ends them all."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from dataset_culling.storage.retry import Gone

Job = TypeVar("Job")
Result = TypeVar("Result")
_THREADS = "object-store"


def in_order(
    jobs: Iterable[Callable[[], Result]], workers: int, stop: threading.Event
) -> Generator[Result, None, None]:
    """The jobs' results in order, `workers` of them at once and at most two more held back.

    Args:
        jobs: What to call; taken from the iterable only as far as needed.
        workers: Threads.
        stop: Set when the results are no longer wanted, so that jobs that wait for a better moment end.

    Raises:
        Exception: Whatever a job raises first.
    """
    coming = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix=_THREADS) as pool:
        waiting: list[Future[Result]] = []
        try:
            while True:
                waiting += [pool.submit(job) for job in itertools.islice(coming, workers + 2 - len(waiting))]
                if not waiting:
                    return
                for future in waiting:
                    if future.done() and (error := future.exception()) is not None and not isinstance(error, Gone):
                        raise error
                yield waiting.pop(0).result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def each(work: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int) -> list[Result]:
    """work(job) for every job, `workers` at once; results in the order of the jobs.

    Raises:
        Exception: Whatever `work` raises first.
    """
    results: dict[int, Result] = {}
    numbered = enumerate(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix=_THREADS) as pool:
        running: dict[Future[Result], int] = {}
        try:
            while True:
                for number, job in itertools.islice(numbered, 2 * workers - len(running)):
                    running[pool.submit(work, job)] = number
                if not running:
                    return [results[number] for number in sorted(results)]
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    results[running.pop(future)] = future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
