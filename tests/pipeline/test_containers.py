"""`culling run --engine docker`: real containers by a real engine, through KFP's local orchestrator.

Needs a built image, named as for test_images.py. podman serves Docker's API for the time of these tests.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ENGINE, IMAGE, culling
from dataset_culling.artifacts.header import TIMING, verify
from dataset_culling.pipeline.graph import STAGES, WIRING
from dataset_culling.runner.containers import RUN_LABEL

pytestmark = pytest.mark.skipif(not IMAGE, reason="CULLING_IMAGE names no built image")

FAILS = 'echo "looking at the frames"; echo "error: pool: expected frames, found none. Give some." >&2; exit 3'
BREAKS = 'echo "Segmentation fault"; exit 139'
CLAIMS = "exit 0"
SLEEPS = 'echo "asleep"; exec sleep 600'
LOOKS = """
echo "user $(id -u) capabilities $(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)"
echo "network $(ls /sys/class/net | tr '\\n' ' ')"
for file in /opt/x /etc/x /home/x "$FOOTAGE"; do (: >> "$file") 2>/dev/null && echo "wrote $file"; done
(: > /tmp/x) && (: > "$CULLING_SCRATCH/x") && echo "scratch is writable"
exit 3
"""


def engine(*arguments: str) -> str:
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def docker_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Docker's API: the daemon's own, or podman's on a socket of this test."""
    if ENGINE != "podman" or "DOCKER_HOST" in os.environ:
        yield
        return
    socket = tmp_path_factory.mktemp("podman") / "api.sock"
    with subprocess.Popen(
        ["podman", "system", "service", "--time", "0", f"unix://{socket}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as service:
        until(socket.exists)
        os.environ["DOCKER_HOST"] = f"unix://{socket}"
        yield
        del os.environ["DOCKER_HOST"]
        service.terminate()


@pytest.fixture(scope="module")
def acting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """SCRIPT -> an image like ours in which `culling` is that shell script; removed in the end."""
    made: dict[str, str] = {}

    def image(script: str) -> str:
        if script not in made:
            folder = tmp_path_factory.mktemp("acting")
            (folder / "culling").write_text(f"#!/bin/sh\n{script}\n")
            (folder / "culling").chmod(0o755)
            (folder / "Dockerfile").write_text(f"FROM {IMAGE}\nCOPY culling /opt/venv/bin/culling\n")
            made[script] = f"{IMAGE}-acting-{len(made)}-{os.getpid()}"
            engine("build", "-t", made[script], str(folder))
        return made[script]

    yield image
    for name in made.values():
        engine("rmi", "--force", name)


def until(true: Callable[[], bool], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def in_containers(tiny_run: Path, out: Path, image: str) -> list[str | Path]:
    """The arguments of a run with the settings and the footage of the finished one."""
    return [
        *("run", "--engine", "docker", "--image", image, "--device", "cpu"),
        *("--config", tiny_run / "config.json", "--registry", out / "registry", "--out", out),
    ]


def containers_of(out: Path) -> list[str]:
    return engine("ps", "--all", "--quiet", "--filter", f"label={RUN_LABEL}={out}").split()


@pytest.fixture(scope="module")
def container_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run in containers, of the same footage with the same settings as `tiny_run`."""
    out = tmp_path_factory.mktemp("containers") / "run"
    done = culling(*in_containers(tiny_run, out, IMAGE), timeout_s=550)
    assert done.returncode == 0, done.stderr
    return out


def contents(path: Path) -> dict[str, bytes]:
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name != TIMING)
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    "artifact",
    ["extract-frames/pool", "cull-confidence/selection", "label-selection/labels", "cull-precision/kept"],
)
def test_run_in_containers__selection_equals_culling_run(artifact, container_run, tiny_run):
    found = contents(container_run / "tasks" / artifact)
    assert "artifact.json" in found
    assert found == contents(tiny_run / "tasks" / artifact)


def test_run_in_containers__lays_out_what_culling_run_does(container_run, tiny_run):
    for task in WIRING:
        for name, schema in STAGES[task.stage].writes.items():
            verify(container_run / "tasks" / task.name / name, schema)
    theirs = {path.relative_to(tiny_run).as_posix() for path in tiny_run.rglob("*") if "footage" not in path.parts}
    ours = {path.relative_to(container_run).as_posix() for path in container_run.rglob("*")}
    extra = {"pipeline.yaml", "logs/kfp.log"}
    same = [re.compile(r"registry/.*"), re.compile(r"footage|logs/simulate-camera.log"), re.compile(r".*\.partial")]
    assert {name for name in theirs ^ ours if not any(kind.fullmatch(name) for kind in same)} == extra
    assert (container_run / "registry").is_dir()
    assert json.loads((container_run / "summary.json").read_text())["tasks_skipped"] == []


def test_run_in_containers__either_engine_continues_it(container_run, tiny_run):
    again = culling(*in_containers(tiny_run, container_run, IMAGE), "--json")
    assert again.returncode == 0, again.stderr
    assert set(json.loads(again.stdout)["tasks_skipped"]) == {task.name for task in WIRING}
    local = [part for part in in_containers(tiny_run, container_run, IMAGE) if part not in ("--image", IMAGE)]
    here = culling(*["local" if part == "docker" else part for part in local], "--json")
    assert here.returncode == 0, here.stderr
    assert json.loads(here.stdout)["tasks_skipped"] == [task.name for task in WIRING]


def test_run_in_containers__registry_names_the_image(container_run):
    (made_of,) = (container_run / "registry").rglob("provenance.json")
    assert json.loads(made_of.read_text())["image"] == IMAGE


def test_run_in_containers__failure_is_one_line_with_the_stages_code(acting, tiny_run, tmp_path):
    out = tmp_path / "run"
    done = culling(*in_containers(tiny_run, out, acting(FAILS)), "-q")
    assert (done.returncode, done.stderr.splitlines()) == (
        3,
        ["error: Frame extraction: pool: expected frames, found none. Give some."],
    )
    assert (out / "logs" / "extract-frames.log").read_text().startswith("looking at the frames\n")
    assert not list((out / "tasks").iterdir())
    assert containers_of(out) == []


def test_run_in_containers__death_without_a_word_names_its_log(acting, tiny_run, tmp_path):
    done = culling(*in_containers(tiny_run, tmp_path / "run", acting(BREAKS)), "-q")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Frame extraction: ended by SIGSEGV.")


def test_run_in_containers__exit_code_0_is_not_believed_without_outputs(acting, tiny_run, tmp_path):
    done = culling(*in_containers(tiny_run, tmp_path / "run", acting(CLAIMS)), "-q")
    assert done.returncode == 3
    assert "extract-frames/" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_run_in_containers__a_container_may_do_little(acting, tiny_run, tmp_path):
    video = next((tiny_run / "footage").glob("*.mp4"))
    out = tmp_path / "run"
    before = video.read_bytes()
    done = culling(*in_containers(tiny_run, out, acting(LOOKS.replace("$FOOTAGE", str(video)))))
    assert done.returncode == 1  # it did not explain itself
    said = (out / "logs" / "extract-frames.log").read_text().splitlines()
    assert said[0] == f"user {os.getuid()} capabilities {0:016x}"
    assert said[1].split() == ["network", "lo"]
    assert said[2:] == ["scratch is writable"]
    assert video.read_bytes() == before


def test_run_in_containers__terminated_it_leaves_no_container(acting, tiny_run, tmp_path):
    out = tmp_path / "run"
    with started(in_containers(tiny_run, out, acting(SLEEPS))) as run:
        until(lambda: "asleep" in _log(out))
        run.send_signal(signal.SIGTERM)
        assert run.wait(timeout=60) == 130
    assert containers_of(out) == []


def test_run_in_containers__what_a_killed_run_left_is_removed_by_the_next(acting, tiny_run, tmp_path):
    out = tmp_path / "run"
    with started(in_containers(tiny_run, out, acting(SLEEPS))) as run:
        until(lambda: "asleep" in _log(out))
        run.kill()
        run.wait(timeout=60)
    assert len(containers_of(out)) == 1
    assert culling(*in_containers(tiny_run, out, acting(FAILS))).returncode == 3
    assert containers_of(out) == []


def test_run_in_containers__unknown_image_is_one_line(tiny_run, tmp_path):
    done = culling(*in_containers(tiny_run, tmp_path / "run", "localhost/no-such-image:1"), "-q")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --image localhost/no-such-image:1: expected it among the engine's images")
    assert len(done.stderr.splitlines()) == 1


def _log(out: Path) -> str:
    file = out / "logs" / "extract-frames.log"
    return file.read_text() if file.exists() else ""


def started(arguments: list[str | Path]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dataset_culling.cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
