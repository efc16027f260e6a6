"""Shared by all tests: locations of the repository and the real clips, the command line, one small finished run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads of two workers wait for each other
REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared"
ENGINE = os.environ.get("CULLING_ENGINE", "docker")
# Not left under its name, or models made here would be said to come from it; workers of xdist find it under another.
IMAGE = os.environ.pop("CULLING_IMAGE", "") or os.environ.get("CULLING_TEST_IMAGE", "")
os.environ["CULLING_TEST_IMAGE"] = IMAGE
"""A built image and the engine that has it; tests that need one are skipped where IMAGE is empty."""


def culling(*arguments: str | Path, timeout_s: float = 300, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does, in a process of its own; one thread, so that figures repeat."""
    return subprocess.run(
        [sys.executable, "-m", "dataset_culling.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", **environment},
        check=False,
    )


def experiment(name: str, *arguments: str | Path, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `python -m experiments.NAME` from the repository, as `culling` runs a command."""
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout_s, cwd=REPOSITORY, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"},
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished `culling run --preset tiny`, made once for all workers. Copy it before changing it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    out = base / "tiny-run"
    with (base / "tiny-run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "summary.json").exists():
            done = culling("run", "--preset", "tiny", "--out", out)
            assert done.returncode == 0, done.stderr
    return out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by folder, and skip those whose machine lacks what they need, saying what it is."""
    for item in items:
        folder = Path(item.fspath).relative_to(REPOSITORY / "tests").parts[0]
        if folder in ("unit", "contract", "pipeline", "store"):
            item.add_marker(getattr(pytest.mark, folder))
        if item.get_closest_marker("footage") and not (SHARED / "footage").is_dir():
            item.add_marker(pytest.mark.skip(reason="no shared/footage folder with real clips beside the checkout"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
