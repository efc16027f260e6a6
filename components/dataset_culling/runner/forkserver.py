"""Stages as forks of one process that has imported torch already: one starts in milliseconds, not in six seconds.

The server imports while the run simulates or extracts, which need no torch, and then waits. It computes nothing itself:
no tensor is made, no thread started and no CUDA context opened before a fork, so a child is as fresh as a new process,
and like one it has a session, a memory and an end of its own.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, Self

from dataset_culling.detectors.quick_import import import_torchvision
from dataset_culling.engine.stage_main import PARENT_PID, PROGRESS_FD, die_with_parent

_MESSAGE_BYTES = 1 << 18
_PRELOADED = (
    "torch._dynamo",  # optimisers and the FLOP counter ask for it
    "torch.utils.flop_counter",
    "torchvision.models.detection",
    "dataset_culling.detectors.embedded",
    "dataset_culling.stages.score_frames.stage",
    "dataset_culling.stages.label_frames.stage",
    "dataset_culling.stages.choose_resolution.stage",
    "dataset_culling.stages.train_student.stage",
    "dataset_culling.stages.evaluate_student.stage",
)


class ForkedChild:
    """A stage that the server forked, as far as `subprocess.Popen`'s words are needed."""

    def __init__(self, server: StageServer, pid: int) -> None:
        self.pid, self.returncode = pid, None if pid else -signal.SIGKILL
        self._server = server

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._wait(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended.

        Raises:
            subprocess.TimeoutExpired: If it has not ended after `timeout` seconds.
        """
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("stage", timeout or 0.0)
        return code

    def _wait(self, timeout: float | None) -> int | None:
        if self.returncode is None:
            answer = self._server.receive(timeout)
            if answer is not None:  # no answer at all: the server was killed, and its child with it
                self.returncode = int(answer.get("code", -signal.SIGKILL))
        return self.returncode


class StageServer:
    """The parent's side: starts the server when first wanted, asks it for children, ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.kill()  # it may be in the middle of an import, and has nothing to tidy up
            self._process.wait()

    def warm(self) -> None:
        """Start the server, if it is not there yet, and return at once."""
        if self._process is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dataset_culling.runner.forkserver", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, PARENT_PID: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    def start(
        self, arguments: list[str], environment: Mapping[str, str], *, log_fd: int, progress_fd: int, wait: bool
    ) -> ForkedChild | None:
        """Fork a child that runs `culling ARGUMENTS`.

        Args:
            arguments: What follows `culling`.
            environment: Variables for this child alone.
            log_fd: What becomes its standard output and error.
            progress_fd: What it reports progress to.
            wait: Whether to wait until the server has imported everything.

        Returns:
            None where the server is not ready, or cannot be had: start an ordinary process instead.
        """
        if not self._ready and self.receive(None if wait else 0.0):
            self._ready = True
        if not self._ready or self._channel is None:
            return None
        try:
            socket.send_fds(self._channel, [json.dumps([arguments, dict(environment)]).encode()], [log_fd, progress_fd])
        except OSError:
            return None
        answer = self.receive(None)
        return ForkedChild(self, int(answer["pid"])) if answer else None

    def receive(self, timeout: float | None) -> dict[str, Any] | None:
        """The server's next answer; None when none has come after `timeout` seconds; empty when it is gone."""
        if self._channel is None:
            return None
        end = None if timeout is None else time.monotonic() + timeout
        left = None if end is None else max(0.0, end - time.monotonic())
        if not select.select([self._channel], [], [], left)[0]:
            return None
        try:
            message = self._channel.recv(_MESSAGE_BYTES)
        except OSError:
            message = b""
        answer: dict[str, Any] = json.loads(message) if message else {}
        return answer


def serve(channel: socket.socket) -> None:
    """The server's side: import, say so, then fork as asked until the parent is gone."""
    die_with_parent()
    _preload()
    gc.freeze()  # what is imported is never garbage; a child need not look at it, nor copy its pages by looking
    channel.send(b'{"ready": 1}')
    forking = multiprocessing.get_context("fork")
    while True:
        message, fds, _, _ = socket.recv_fds(channel, _MESSAGE_BYTES, 2)
        if not message:
            return
        child = forking.Process(target=_become_stage, args=(*json.loads(message), *fds, os.getpid()))
        child.start()
        for fd in fds:
            os.close(fd)
        channel.send(json.dumps({"pid": child.pid}).encode())
        child.join()
        channel.send(json.dumps({"code": child.exitcode}).encode())


def _preload() -> None:
    """Import what the stages with detectors need; what cannot be imported, they will say themselves."""
    with contextlib.suppress(ImportError):
        import_torchvision()
        for module in _PRELOADED:
            importlib.import_module(module)


def _become_stage(
    arguments: list[str], environment: dict[str, str], log_fd: int, progress_fd: int, parent: int
) -> NoReturn:
    os.setsid()
    for fd in (1, 2):
        os.dup2(log_fd, fd)
    os.close(log_fd)
    os.environ.update(environment)
    os.environ[PROGRESS_FD], os.environ[PARENT_PID] = str(progress_fd), str(parent)
    sys.argv = ["culling", *arguments]
    # By name, as a new interpreter's -m would: the command line is the layer above this one.
    importlib.import_module("dataset_culling.cli").main()
    raise SystemExit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
