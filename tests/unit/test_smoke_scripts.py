"""The smoke run's shell script: options, what it would do, and that a failure is kept, told and cleaned up after.

No cluster can be had in a test: `kind`, `docker` and `kubectl` are programs that note how they were called.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "smoke" / "smoke.sh"
KFP = "2.17.0"


def smoke(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture
def noted(tmp_path: Path) -> dict[str, str]:
    """An environment whose tools write their calls to `calls` and fail where the call contains $FAIL."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("kind", "docker", "kubectl"):
        tool = tools / name
        tool.write_text(
            f'#!/bin/sh\necho "{name} $*" >> "{tmp_path}/calls"\n'
            'case "$0 $*" in *"$FAIL"*) echo "no room" >&2; exit 7;; esac\n'
        )
        tool.chmod(0o755)
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "SMOKE_OUT": str(tmp_path / "out"),
        "SMOKE_PYTHON": shutil.which("true") or "",
        "FAIL": "no such call",
    }


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_smoke__dry_run_says_every_command_and_does_none(tmp_path):
    done = smoke("--dry-run", PATH="/usr/bin:/bin", SMOKE_OUT=str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    said = [line.removeprefix("+ ") for line in done.stdout.splitlines() if line.startswith("+ ")]
    order = ["kind create cluster", "kubectl apply", "kubectl wait", "docker build", "kind load docker-image", "env "]
    rows = [next(row for row, line in enumerate(said) if line.startswith(each)) for each in order]
    assert rows == sorted(rows)
    assert said[-2].startswith("kind delete cluster")
    assert "passed" not in done.stdout
    assert not (tmp_path / "out").exists()
    (image,) = {
        container["container"]["image"]
        for container in next(
            yaml.safe_load_all((REPOSITORY / "pipelines" / "compiled" / "kind.yaml").read_text())
        )["deploymentSpec"]["executors"].values()
    }  # fmt: skip
    assert any(line.startswith(f"kind load docker-image {image} ") for line in said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--fast",), "--fast: expected --dry-run"), (("up", "down"), "expected one step, found up and down")],
)
def test_smoke__wrong_option_is_one_line(arguments, said):
    done = smoke(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_smoke__missing_tools_are_one_line_and_nothing_is_begun(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname", "mkdir", "base64"):
        (tools / name).symlink_to(shutil.which(name) or "")
    done = smoke(PATH=str(tools), SMOKE_OUT=str(tmp_path / "out"))
    assert done.returncode == 3
    assert "found no kind kubectl docker." in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_smoke__the_whole_way(noted, tmp_path):
    done = smoke(**noted)
    assert done.returncode == 0, done.stderr
    assert "smoke: passed" in done.stdout
    made = calls(tmp_path)
    assert made[-1].startswith("kind delete cluster --name culling-smoke")
    assert not any("describe" in line for line in made)
    assert {line.split(" --wait")[0] for line in made if line.startswith("kind create")} == {
        f"kind create cluster --name culling-smoke --image kindest/node:v1.33.12 --kubeconfig {tmp_path}/out/kubeconfig"
    }


@pytest.mark.parametrize("fails", ["kind create cluster", "rollout status deployment/ml-pipeline ", "docker build"])
def test_smoke__a_failure_is_kept_told_and_cleaned_up_after(noted, tmp_path, fails):
    done = smoke(**{**noted, "FAIL": fails})
    assert done.returncode == 7
    assert "smoke: FAILED with 7" in done.stderr
    assert (tmp_path / "out" / "diagnostics" / "events.txt").exists()
    made = calls(tmp_path)
    assert made[-1].startswith("kind delete cluster")
    assert not any("load docker-image" in line for line in made)


def test_smoke__keep_leaves_the_cluster(noted, tmp_path):
    assert smoke("--keep", **noted).returncode == 0
    assert not any("delete" in line for line in calls(tmp_path))
    assert smoke("down", **noted).returncode == 0
    assert "delete" in calls(tmp_path)[-1]


def test_smoke__a_cluster_that_is_there_is_used_again(noted, tmp_path):
    kind = tmp_path / "bin" / "kind"
    kind.write_text(kind.read_text() + 'test "$1" = get && echo culling-smoke || true\n')
    assert smoke("up", **noted).returncode == 0
    made = calls(tmp_path)
    assert not any(line.startswith("kind create") for line in made)
    assert any(line.startswith("kind export kubeconfig") for line in made)


def test_smoke__kfp_is_pinned_everywhere():
    files = [*(REPOSITORY / "scripts" / "smoke" / "kfp").rglob("*.yaml")]
    assert len(files) == 2
    for file in files:
        assert re.findall(r"\?ref=([^&\s]+)", file.read_text()) == [KFP]


def test_smoke__shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    done = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
