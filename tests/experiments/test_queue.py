"""Jobs side by side: their order, what fails, whose cores they have, and that a killed run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dataset_culling.errors import StageFailed
from experiments.reproduce.queue import Job, Worker, run_jobs, threads_for


def run(jobs: list[Job], workers: int = 1) -> tuple[dict[str, str], list[str]]:
    said: list[str] = []
    return dict(run_jobs(jobs, workers=workers, say=said.append)), said


def test_run_jobs__needs_come_first_and_lines_say_what_came_of_it():
    order: list[str] = []

    def work(name: str, worked: bool = True):
        def do(worker: Worker) -> bool:
            order.append(name)
            return worked

        return do

    jobs = [
        Job("cell", work("cell"), frozenset({"frames"}), told=lambda: "agreement 88.1"),
        Job("frames", work("frames", worked=False), frozenset({"footage"})),
        Job("footage", work("footage")),
    ]
    failed, said = run(jobs)
    assert (failed, order) == ({}, ["footage", "frames", "cell"])
    assert said[0].startswith("[1/3] footage: 0.0 s; about ")
    assert said[1].startswith("[2/3] frames: already done; about ")
    assert said[2] == "[3/3] cell: 0.0 s, agreement 88.1"


def test_run_jobs__two_at_a_time_and_a_core_each():
    meet, seen = threading.Barrier(2), []

    def work(worker: Worker) -> bool:
        meet.wait(timeout=30)  # fails unless both are at work at once
        seen.append(os.sched_getaffinity(0))
        return True

    before = os.sched_getaffinity(0)
    assert run([Job("a", work), Job("b", work)], workers=2)[0] == {}
    assert os.sched_getaffinity(0) == before
    if len(before) > 1:
        assert seen[0].isdisjoint(seen[1])


def test_run_jobs__what_fails_stops_only_what_needs_it():
    done: list[str] = []

    def fails(worker: Worker) -> bool:
        raise StageFailed("no objects", exit_code=3)

    jobs = [
        Job("bad", fails),
        Job("after bad", lambda worker: True, frozenset({"bad"})),
        Job("after that", lambda worker: True, frozenset({"after bad"})),
        Job("good", lambda worker: done.append("good") is None),
    ]
    failed, said = run(jobs)
    assert done == ["good"]
    assert failed == {
        "bad": "no objects",
        "after bad": "not done, as bad failed",
        "after that": "not done, as after bad failed",
    }
    assert "failed: no objects" in said[0]


def test_run_jobs__a_bug_of_ours_keeps_its_traceback():
    def bug(worker: Worker) -> bool:
        raise ZeroDivisionError("ours")

    with pytest.raises(ZeroDivisionError, match="ours"):
        run([Job("a", bug), Job("b", lambda worker: True)])
    with pytest.raises(ValueError, match="jobs need each other, or what is no job: a"):
        run([Job("a", bug, frozenset({"nothing"}))])


def test_threads_for__jobs_times_threads_are_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    cores = len(os.sched_getaffinity(0))
    with threads_for(cores) as threads:
        assert (threads, os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]) == (1, "1", "1")
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


KILLED = """
import os, signal, sys
from pathlib import Path
from experiments.reproduce.config import read_config
from experiments.reproduce.queue import Job, run_jobs
from experiments.reproduce.work import film
out = Path(sys.argv[1])
config = read_config("smoke").replace(cameras={
    name: {"scene": "lobby", "classes": ["person"], "frames": 8, "heldout_frames": 4} for name in ("lobby", "court")})
jobs = [Job(name, lambda worker, name=name: film(config, name, out, worker)) for name in ("lobby", "court")]
def say(line):
    print(line, flush=True)
    if len(sys.argv) > 2 and line.startswith("[1/2]"):
        os.kill(os.getpid(), signal.SIGKILL)
run_jobs(jobs, workers=1, say=say)
"""


def test_run_jobs__after_a_kill_what_is_finished_is_not_done_again(tmp_path: Path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    killed = subprocess.run([*command, "kill"], capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (video,) = (tmp_path / "footage").glob("*.mp4")
    taken = video.stat().st_mtime_ns
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert again.stdout.splitlines()[0].startswith("[1/2] lobby: already done")
    assert "already done" not in again.stdout.splitlines()[1]
    assert video.stat().st_mtime_ns == taken
    assert len(list((tmp_path / "footage").glob("*.mp4"))) == 2
