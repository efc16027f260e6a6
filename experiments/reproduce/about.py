"""Origin of the results: machine, date, commit and command."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import dataset_culling
from dataset_culling import __version__


@dataclass(frozen=True, slots=True)
class Made:
    """Origin of one cell's work: a page may be of several runs of the command."""

    commit: str = ""
    date: str = ""  # UTC
    machine: str = ""
    jobs: int = 0  # side by side
    threads: int = 0  # of each

    def at_now(self) -> Made:
        """The same, done now."""
        return replace(self, date=_now())


@dataclass(frozen=True, slots=True)
class About:
    """Content of the end of the page."""

    preset: str
    machine: str
    date: str  # UTC
    commit: str
    command: str
    made: tuple[Made, ...] = ()  # of each cell
    real_footage: bool = False  # then it is a test of the wiring
    failures: Mapping[str, str] = field(default_factory=dict)  # job -> what was wrong


def about_this_machine(
    preset: str, arguments: Sequence[str], *, made: Sequence[Made], real_footage: bool, failures: Mapping[str, str]
) -> About:
    """Everything as it is now.

    Args:
        preset: Of `python -m experiments.reproduce`.
        arguments: Options of the command.
        made: Where the cells' work was done.
        real_footage: Whether the cameras are real videos.
        failures: Job -> message.
    """
    return About(
        preset=preset,
        machine=machine(),
        date=_now(),
        commit=commit(),
        command=shlex.join(["python", "-m", "experiments.reproduce", *arguments]),
        made=tuple(made),
        real_footage=real_footage,
        failures=failures,
    )


def made_here(*, jobs: int, threads: int) -> Made:
    """Return the origin shared by every cell of this process; `made.at_now()` adds the time.

    Args:
        jobs: Workers.
        threads: Of each.
    """
    return Made(commit=commit(), machine=machine(), jobs=jobs, threads=threads)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def machine() -> str:
    """Processor, cores, memory and GPUs in one line."""
    cores = len(os.sched_getaffinity(0))
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [_processor(), f"{cores} core{'s' if cores != 1 else ''}", f"{memory_gib:.0f} GiB", *_gpus()]
    return ", ".join([*parts, f"{platform.system()} {platform.machine()}", f"Python {platform.python_version()}"])


def commit() -> str:
    """Return the checkout's commit, marked where package or experiments changed; else the version."""
    package, experiments = Path(dataset_culling.__file__).parent, Path(__file__).parents[1]
    found = _said(["git", "-C", str(package), "rev-parse", "--short=12", "HEAD"])
    if not found:
        return f"version {__version__}"
    changed = any(
        _said(["git", "-C", str(folder), "status", "--porcelain", "--untracked-files=no", "--", "."])
        for folder in (package, experiments)
    )
    return f"{found}, with changes" if changed else found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or "processor not known"


def _gpus() -> list[str]:
    return [line.strip() for line in _said(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]).splitlines()]


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
