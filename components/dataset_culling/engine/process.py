"""A stage as a child process: its progress, its log, its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dataset_culling.engine.stage_main import PARENT_PID, PROGRESS_FD
from dataset_culling.errors import StageFailed
from dataset_culling.runner.forkserver import StageServer

GRACE_S = 5.0
"""How long a child may tidy up after SIGTERM before it is killed."""


class Child(Protocol):
    """A running stage: `subprocess.Popen`, or a fork."""

    @property
    def pid(self) -> int:
        """Its process, which leads a session of its own."""

    def poll(self) -> int | None:
        """The exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""


def run_child(
    arguments: Sequence[str],
    *,
    log: Path,
    task: str,
    progress: Callable[[int, int], None],
    server: StageServer | None = None,
    needs_torch: bool = False,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run `culling ARGUMENTS` as a child of its own session; on any exception here, Ctrl-C too, the child is ended.

    Args:
        arguments: What follows `culling`.
        log: File that takes all the child prints; truncated first.
        task: Its name, for errors.
        progress: Told what the child reports.
        server: What forks children; None: a new interpreter.
        needs_torch: Whether waiting for the server pays.
        environment: Variables for this child alone.

    Raises:
        StageFailed: If it exits with anything but 0; the message is the child's own last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    read_fd, write_fd = os.pipe()
    with log.open("wb") as output:
        try:
            child = _start(arguments, output.fileno(), write_fd, server, needs_torch, environment or {})
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        with _ended(child):
            listener = threading.Thread(target=_listen, args=(read_fd, progress), daemon=True)
            listener.start()
            code = child.wait()
            listener.join(timeout=GRACE_S)
    if code != 0:
        raise stage_failed(task, code, log)


def _start(
    arguments: Sequence[str],
    log_fd: int,
    progress_fd: int,
    server: StageServer | None,
    needs_torch: bool,
    own: Mapping[str, str],
) -> Child:
    if server is not None:
        server.warm()
        forked = server.start(list(arguments), own, log_fd=log_fd, progress_fd=progress_fd, wait=needs_torch)
        if forked is not None:
            return forked
    ours = {PROGRESS_FD: str(progress_fd), PARENT_PID: str(os.getpid()), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dataset_culling.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=subprocess.STDOUT,
        env={**os.environ, **own, **ours},
        pass_fds=(progress_fd,),
        start_new_session=True,
    )


def _listen(fd: int, progress: Callable[[int, int], None]) -> None:
    with os.fdopen(fd, "r", encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):
                seen = json.loads(line)
                progress(int(seen["done"]), int(seen["total"]))


@contextlib.contextmanager
def _ended(child: Child) -> Iterator[None]:
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


def stage_failed(task: str, code: int, log: Path) -> StageFailed:
    """The error of a task that ended with `code`, minus the signal's number where it was killed: its log's own last
    "error:" line and its code, or, of one that did not explain itself, the log's last line and 1."""
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
