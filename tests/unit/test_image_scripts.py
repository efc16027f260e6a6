"""The script that builds the image: options, what it refuses before it begins, and that it repeats no work.

The engine here is a program that notes how it was called; a real one is in tests/pipeline/test_images.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY

SCRIPT = REPOSITORY / "scripts" / "image" / "build.sh"
PODMAN = """#!/bin/sh
echo "$*" >> "$NOTES/calls"
case "$1" in
  info) echo "$NOTES" ;;
  build)
    case "$*" in *"$FAIL"*) exit 125 ;; esac
    for word; do case "$word" in SOURCE=*) echo "${word#*=}" > "$NOTES/label" ;; esac; done ;;
  image) case "$*" in *Size*) echo 5600000000 ;; *) cat "$NOTES/label" ;; esac ;;
esac
"""


def build(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CULLING_ENGINE": "", "CULLING_ROOM_GB": "", "FAIL": "no such call", **environment}
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture
def noted(tmp_path: Path) -> dict[str, str]:
    """An environment whose podman notes its calls, and whose disk has 50 GB free."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("podman", PODMAN), ("df", "#!/bin/sh\necho Avail\necho ${FREE_KB:-50000000}\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "work").mkdir()
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "NOTES": str(tmp_path),
        "TMPDIR": str(tmp_path / "work"),
    }


def builds(tmp_path: Path) -> list[str]:
    return [line for line in (tmp_path / "calls").read_text().splitlines() if line.startswith("build ")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fast",), "--fast: expected --engine"),
        (("--target",), "--target: expected a value"),
        (("--target", "tpu"), "--target tpu: expected cpu or gpu"),
        (("--local-base", "--engine", "docker"), "--local-base: expected the engine podman, found docker"),
    ],
)
def test_build__wrong_option_is_one_line(arguments, said):
    done = build(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr


def test_build__no_engine_is_one_line(tmp_path):
    for name in ("bash", "dirname", "sed"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    done = build("--engine", "podman", PATH=str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "found no podman" in done.stderr


def test_build__too_little_room_is_said_before_anything_is_begun(noted, tmp_path):
    done = build(FREE_KB="9000000", **noted)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "expected 22 GB free for the build, found 9" in done.stderr
    assert builds(tmp_path) == []


def test_build__the_same_sources_are_built_once(noted, tmp_path):
    first = build(**noted)
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith("done: localhost/dataset-culling:0.1.0-cpu, 5600 MB\n")
    again = build(**noted)
    assert "is there: localhost/dataset-culling:0.1.0-cpu, 5600 MB" in again.stdout
    assert len(builds(tmp_path)) == 1
    assert build("--target", "gpu", **noted).returncode == 0
    assert len(builds(tmp_path)) == 2


def test_build__certificates_and_pip_settings_are_mounts_that_are_gone_after(noted, tmp_path):
    assert build(**noted).returncode == 0
    (call,) = builds(tmp_path)
    assert "/pip.conf:/etc/pip.conf:ro" in call
    assert "build-arg PIP" not in call
    assert list((tmp_path / "work").iterdir()) == []


def test_build__a_failure_has_the_engines_code_and_leaves_nothing(noted, tmp_path):
    done = build(**{**noted, "FAIL": "--target cpu"})
    assert done.returncode == 125
    assert "done" not in done.stdout
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize("script", [SCRIPT, REPOSITORY / ".ci" / "run"], ids=lambda script: script.name)
def test_scripts__shellcheck_finds_nothing(script):
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    done = subprocess.run([shellcheck, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
