"""Everything that can interrupt a run: SIGKILL, Ctrl-C, the death of a parent, a failing stage. What survives, and why.

| What happens | What ends | What survives |
|---|---|---|
| SIGKILL of `culling run` | every stage, by PR_SET_PDEATHSIG (`die_with_parent`) | finished and half-finished work |
| Ctrl-C, SIGTERM | every stage: SIGTERM to its session, SIGKILL after GRACE_S (`ended`) | the same; exit code 130 |
| SIGKILL of one stage, out of memory | the run, in one line (`engine.process.stage_failed`) | the same; exit code 1 |
| an error in one stage | the run, in the stage's own line | the same; the stage's exit code |

Why nothing half-written is ever read:

- A task writes to `tasks/.TASK.partial`; one rename makes it `tasks/TASK`. The next start removes what is partial.
- A finished task is believed only if its identity and every digest in `done.json` still match.
- `scratch/TASK/IDENTITY` holds checkpoints and scan logs. The next start of the same task, with the same identity,
  continues there, and the engine removes the folder once the task is finished.
- The lock on OUT/.lock belongs to the open file (`locked`), so the kernel releases it however the run ends.

Every stage leads a session of its own, so Ctrl-C in a terminal reaches the run alone, which ends its stages.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from dataset_culling.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

GRACE_S = 5.0
"""Seconds that a stage has to clean up after SIGTERM before it is killed."""
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel (Linux) to kill this process when the process that forked it dies; end now if the run is gone."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    run = multiprocessing.parent_process()
    if run is not None and not run.is_alive():  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGKILL)


def stop_on_sigterm() -> None:
    """Turn SIGTERM into KeyboardInterrupt, so that it unwinds like Ctrl-C."""

    def interrupt(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt(signum)

    signal.signal(signal.SIGTERM, interrupt)


@contextlib.contextmanager
def sigint_ignored() -> Iterator[None]:
    """Ignore Ctrl-C while processes start that inherit this: they must end by order, not with a traceback."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread, which alone receives signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def ended(child: BaseProcess) -> Iterator[None]:
    """End a child and its own children, however the block is left."""
    assert child.pid is not None
    try:
        yield
    finally:
        if child.is_alive():
            _signal(child.pid, signal.SIGTERM)
            child.join(GRACE_S)
        _signal(child.pid, signal.SIGKILL, whole_session_only=not child.is_alive())
        child.join()


def _signal(pid: int, signum: int, *, whole_session_only: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        try:
            os.killpg(pid, signum)
        except ProcessLookupError:  # it has not made its session yet
            if not whole_session_only:
                os.kill(pid, signum)


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a run's folder for this process alone.

    Raises:
        ConfigError: If another process holds it.
        OutputError: If it cannot be made or written.
    """
    with writing_to(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{out}: another run is using this folder. Wait for it, or choose another --out."
            ) from None
        yield


@contextlib.contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Turn a failure to write into one line."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{error.filename or out}: cannot write the run there: {error.strerror or error}. "
            f"Free space, fix the permissions, or choose another --out."
        ) from error
