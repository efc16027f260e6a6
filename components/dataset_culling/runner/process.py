"""A stage as a child process: its progress, its log, its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from dataset_culling.errors import StageFailed
from dataset_culling.runner.entry import PARENT_PID, PROGRESS_FD

GRACE_S = 5.0
"""How long a child may tidy up after SIGTERM before it is killed."""


def run_child(arguments: Sequence[str], *, log: Path, task: str, progress: Callable[[int, int], None]) -> None:
    """Run `culling ARGUMENTS` as a child of its own session; on any exception here, Ctrl-C too, the child is ended.

    Args:
        arguments: What follows `culling`.
        log: File that takes all the child prints; truncated first.
        task: Its name, for errors.
        progress: Told what the child reports.

    Raises:
        StageFailed: If it exits with anything but 0; the message is the child's own last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    read_fd, write_fd = os.pipe()
    environment = {**os.environ, PROGRESS_FD: str(write_fd), PARENT_PID: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "dataset_culling.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(write_fd,),
                start_new_session=True,
            )
        finally:
            os.close(write_fd)
        with _ended(child):
            listener = threading.Thread(target=_listen, args=(read_fd, progress), daemon=True)
            listener.start()
            code = child.wait()
            listener.join(timeout=GRACE_S)
    if code != 0:
        raise _failure(task, code, log)


def _listen(fd: int, progress: Callable[[int, int], None]) -> None:
    with os.fdopen(fd, "r", encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):
                seen = json.loads(line)
                progress(int(seen["done"]), int(seen["total"]))


@contextlib.contextmanager
def _ended(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Whatever happens inside, the child and its own children are gone afterwards."""
    try:
        yield
    finally:
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _failure(task: str, code: int, log: Path) -> StageFailed:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if code < 0:
        name = signal.Signals(-code).name
        hint = " The kernel may have been out of memory." if -code == signal.SIGKILL else ""
        return StageFailed(f"{task}: ended by {name}.{hint} Run the same command again to continue.", exit_code=1)
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    if said:
        return StageFailed(f"{task}: {said}", exit_code=code)
    last = lines[-1] if lines else "nothing"
    return StageFailed(f"{task}: failed with exit code {code}, last words: {last}. All of them: {log}", exit_code=1)
