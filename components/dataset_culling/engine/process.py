"""One piece of work in a child process: its log, its progress, its end.

Children are forked by multiprocessing's fork server, which has imported torch (`start_fork_server`), in milliseconds.
While that server still imports, a child is a new interpreter.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from dataset_culling.engine import stage_main
from dataset_culling.engine.interruption import GRACE_S, ended, sigint_ignored
from dataset_culling.errors import StageFailed


def start_fork_server() -> None:
    """Start the fork server unless it runs, without waiting. Call it in the main thread: the server dies with it."""
    with sigint_ignored():
        multiprocessing.get_context("forkserver").set_forkserver_preload(["dataset_culling.engine.preload", "__main__"])
        forkserver.ensure_running()


def run_child(
    work: Callable[..., Any], *arguments: Any, log: Path, task: str, progress: Callable[[int, int], None],
    fork: bool = False, environment: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Call `work(*arguments)` in a child of its own session; any exception here, Ctrl-C too, ends the child.

    Args:
        work: A function at the top of a module; a CullingError that it raises becomes a line and an exit code.
        arguments: What it is called with; picklable.
        log: File that takes all the child prints; truncated first.
        task: Name of the work in errors.
        progress: Called with (done, total), as the child reports.
        fork: Whether to fork from the server, and wait for its imports; otherwise a new interpreter starts.
        environment: Variables for this child alone.

    Raises:
        StageFailed: If it exits with anything but 0; the message is the child's own last line.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    own = {**os.environ, **(environment or {})}
    context: Any = multiprocessing.get_context("forkserver" if fork else "spawn")
    reader, writer = context.Pipe(duplex=False)
    with reader, writer:
        how = (log.absolute(), writer, own, os.sched_getaffinity(0))
        child: BaseProcess = context.Process(target=stage_main.run_as_child, args=(work, arguments, *how))
        # A new interpreter starts in our session; a fork has the server's handlers, and Ctrl-C may end the wait.
        with contextlib.nullcontext() if fork else sigint_ignored():
            child.start()
        writer.close()
        with ended(child):
            listener = threading.Thread(target=_listen, args=(reader, progress), daemon=True)
            listener.start()
            child.join()
            listener.join(timeout=GRACE_S)
        if child.exitcode != 0:
            raise stage_failed(task, child.exitcode or 0, log)


def _listen(reader: Connection, progress: Callable[[int, int], None]) -> None:
    with os.fdopen(os.dup(reader.fileno()), "r", encoding="utf-8") as lines:
        for line in lines:
            with contextlib.suppress(ValueError, KeyError):
                seen = json.loads(line)
                progress(int(seen["done"]), int(seen["total"]))


def stage_failed(task: str, code: int, log: Path) -> StageFailed:
    """Build the error of a task that ended with `code`, which is minus the signal's number where one killed it.

    The message is the last "error:" line of its log, with its code. Without one it is the log's last line, with code 1.
    """
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if code < 0:
        name = signal.Signals(-code).name
        hint = " The kernel may have been out of memory." if -code == signal.SIGKILL else ""
        return StageFailed(f"{task}: ended by {name}.{hint} Run the same command again to continue.", exit_code=1)
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), "")
    if said:
        return StageFailed(f"{task}: {said}", exit_code=code)
    last = lines[-1] if lines else "nothing"
    return StageFailed(f"{task}: failed with exit code {code}; its log ends with: {last}. See {log}", exit_code=1)
