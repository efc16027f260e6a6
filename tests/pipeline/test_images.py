"""The image: what its recipe may hold, every stage's command and a whole run inside a built one.

The last two need an engine and an image, named by the environment (`.ci/run` builds one where it can):

    export CULLING_ENGINE=podman CULLING_IMAGE=localhost/dataset-culling:0.1.0-cpu
    python -m pytest tests/pipeline/test_images.py
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import ENGINE, IMAGE, REPOSITORY
from dataset_culling.artifacts.header import TIMING, verify
from dataset_culling.kubeflow.resources import CACHE, SCRATCH, USER_ID
from dataset_culling.pipeline.graph import STAGES, WIRING

DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"
LOCK = REPOSITORY / "docker" / "requirements-image.lock"


def pinned(lock: Path) -> dict[str, str]:
    """Package -> version in a lock file."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", lock.read_text(), flags=re.MULTILINE))


def instructions() -> list[str]:
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE)
    return [line.strip() for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]


# --- the recipe ------------------------------------------------------------------------------------------------------


def test_dockerfile__linter_is_content():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("no hadolint")
    done = subprocess.run([hadolint, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_dockerfile__names_no_registry_and_builds_on_one_base():
    text = DOCKERFILE.read_text()
    assert not re.search(r"https?://", text)
    bases = [line.split()[1] for line in instructions() if line.startswith("FROM")]
    assert bases == ["${PYTHON_IMAGE}", "runtime", "runtime"]
    assert "apt-get" not in text


def test_dockerfile__runs_as_the_user_that_the_pods_name():
    users = [line for line in instructions() if line.startswith("USER")]
    assert users == [f"USER {USER_ID}:{USER_ID}"]
    assert not [line for line in instructions() if line.startswith("ENTRYPOINT")]  # KFP passes the whole command


def test_dockerfile__writes_only_where_the_pods_mount_something():
    environment = " ".join(line for line in instructions() if line.startswith("ENV PATH"))
    written = dict(re.findall(r"\b(HOME|TMPDIR|MPLCONFIGDIR|TORCH_HOME|CULLING_CACHE)=(\S+)", environment))
    assert set(written) == {"HOME", "TMPDIR", "MPLCONFIGDIR", "TORCH_HOME", "CULLING_CACHE"}
    assert all(path.startswith((SCRATCH, CACHE)) for path in written.values())


def test_image_lock__is_the_projects_lock_without_what_stages_do_not_need():
    image, project = pinned(LOCK), pinned(REPOSITORY / "requirements.lock")
    assert image.items() <= project.items()
    assert not [name for name in image if name.startswith(("kfp", "kubernetes", "pytest", "mypy", "ruff", "uv"))]
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = declared["optional-dependencies"]
    wanted = [*declared["dependencies"], *extras["torch"], *extras["store"], *extras["tracks"]]
    assert {re.split(r"[<>=!~;\[ ]", each)[0].lower() for each in wanted} <= set(image)


def test_image_lock__every_package_has_hashes():
    entries = re.split(r"^(?=[a-z0-9])", LOCK.read_text(), flags=re.MULTILINE)[1:]
    assert len(entries) == len(pinned(LOCK)) > 40
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in LOCK.read_text()


def test_dockerignore__lets_through_what_is_copied():
    allowed = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert allowed[1] == "*"
    for source in ("pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY_LICENSES.md", "components", "docker/*.lock"):
        assert f"!{source}" in allowed


# --- a built image ---------------------------------------------------------------------------------------------------


def needs_image(test: Any) -> Any:
    """Mark a test that runs in a built image."""
    return pytest.mark.image(pytest.mark.skipif(not IMAGE, reason="CULLING_IMAGE names no built image")(test))


def in_container(*command: str, mounts: dict[Path, str] | None = None) -> subprocess.CompletedProcess[str]:
    """As in a pod: read-only root, the image's own user, scratch at /tmp, no network."""
    volumes = [part for path, mode in (mounts or {}).items() for part in ("--volume", f"{path}:{path}:{mode}")]
    return subprocess.run(
        [
            ENGINE, "run", "--rm", "--read-only", "--network", "none", "--cap-drop", "ALL",
            "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:rw,mode=1777", "--env", "OMP_NUM_THREADS=1",
            *volumes, IMAGE, *command,
        ],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


@needs_image
def test_image__holds_no_compiler_no_kfp_and_no_root():
    done = in_container("python", "/opt/check_image.py")
    assert done.returncode == 0, done.stderr
    assert f"user {USER_ID}" in done.stdout
    refused = in_container("sh", "-c", "touch /opt/venv/x || touch /etc/x || touch /x")
    assert refused.returncode != 0


@needs_image
@pytest.mark.parametrize("task", WIRING, ids=lambda task: task.name)
def test_image__stage_runs_in_it(task, tiny_run, tmp_path):
    spec = STAGES[task.stage]
    inputs = {name: tiny_run / "tasks" / source.replace(".", "/") for name, source in task.inputs.items()}
    outputs = {name: tmp_path / "out" / name for name in spec.writes}
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)  # the container's user is nobody here
    flags = [p for name, path in {**inputs, **outputs}.items() for p in (f"--{name.replace('_', '-')}", str(path))]
    config = tiny_run / "logs" / f"{task.name}.config.json"
    changes = ["--set", "registry", str(tmp_path / "out" / "registry")] if task.stage == "promote-student" else []
    done = in_container(
        "culling", "stage", task.stage, "--config", f"@{config}", *changes, "--device", "cpu", *flags,
        mounts={tiny_run: "ro", tmp_path / "out": "rw"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name, schema in spec.writes.items():
        verify(outputs[name], schema)
    if task.name in ("extract-frames", "cull-confidence", "cull-precision"):
        for name in spec.writes:
            here = tiny_run / "tasks" / task.name / name
            files = [file for file in here.rglob("*") if file.is_file() and file.name != TIMING]
            assert files
            for file in files:
                assert (outputs[name] / file.relative_to(here)).read_bytes() == file.read_bytes()


@needs_image
def test_image__a_whole_run_in_one_container(tiny_run, tmp_path):
    footage = next((tiny_run / "footage").glob("*.mp4"))
    out = tmp_path / "results"
    out.mkdir()
    out.chmod(0o777)  # the container's user is nobody here
    truth = footage.with_suffix(".truth.json")
    done = in_container(
        "culling", "run", "--preset", "tiny", "--video", str(footage), "--truth", str(truth), "--device", "cpu",
        "--out", str(out / "run"), "--json",
        mounts={footage.parent: "ro", out: "rw"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tasks_skipped"] == []
    for task in WIRING:
        for name, schema in STAGES[task.stage].writes.items():
            verify(out / "run" / "tasks" / task.name / name, schema)
    assert (out / "run" / "report.html").is_file()
    assert (out / "run" / "model" / "model.safetensors").is_file()
