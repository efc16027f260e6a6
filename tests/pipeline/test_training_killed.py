"""SIGKILL in the middle of training: the next start goes on, and ends with the very same model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import culling
from dataset_culling.artifacts.header import digest
from dataset_culling.engine.stage_main import PROGRESS_FD

EPOCHS = 6  # of two steps


def stage(run: Path, model: Path, config: Path) -> list[str]:
    """`culling stage train-student` on the inputs of a finished run."""
    tasks = run / "tasks"
    return [
        *("stage", "train-student", "--config", f"@{config}", "--device", "cpu", "--model", str(model)),
        *("--frames", str(tasks / "extract-frames" / "pool"), "--labels", str(tasks / "label-selection" / "labels")),
        *("--selection", str(tasks / "cull-precision" / "kept")),
        *("--resolution", str(tasks / "choose-resolution" / "resolution")),
    ]


def configured(run: Path, folder: Path, **changes: object) -> Path:
    """The run's own training with more epochs and a checkpoint after every step."""
    config = json.loads((run / "logs" / "train-student.config.json").read_text(encoding="utf-8"))
    config |= {"checkpoint_every_s": 0.0, **changes}
    config["recipe"]["epochs"] = EPOCHS
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def kill_at(arguments: list[str], step: int, **environment: str) -> int:
    """Run the stage, SIGKILL it when it reports that step; its exit code."""
    read_fd, write_fd = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "dataset_culling.cli", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", PROGRESS_FD: str(write_fd), **environment},
        pass_fds=(write_fd,),
        stdout=subprocess.DEVNULL,
    )
    os.close(write_fd)
    with os.fdopen(read_fd, encoding="utf-8") as lines:
        for line in lines:
            if json.loads(line)["done"] == step:
                child.send_signal(signal.SIGKILL)
                break
        return child.wait()


def test_train_student__killed_goes_on_to_the_same_model(tiny_run, tmp_path):
    config = configured(tiny_run, tmp_path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    whole = culling(*stage(tiny_run, tmp_path / "whole", config), CULLING_SCRATCH="")
    assert whole.returncode == 0, whole.stderr
    halves = stage(tiny_run, tmp_path / "halves", config)

    assert kill_at(halves, 5, CULLING_SCRATCH=str(scratch)) == -signal.SIGKILL
    assert not (tmp_path / "halves").exists()
    assert [file.suffix for file in scratch.iterdir()] == [".safetensors"]
    again = culling(*halves, CULLING_SCRATCH=str(scratch))
    assert again.returncode == 0, again.stderr
    # Progress is told before the checkpoint of that step is written: the signal finds the one or the other.
    assert f"training goes on from step 4 of {2 * EPOCHS}" in again.stdout or "from step 5" in again.stdout
    assert digest(tmp_path / "halves") == digest(tmp_path / "whole")


@pytest.mark.slow
def test_train_student__a_checkpoint_folder_of_ones_own_is_left_empty(tiny_run, tmp_path):
    config = configured(tiny_run, tmp_path, checkpoints=str(tmp_path / "kept"))
    arguments = stage(tiny_run, tmp_path / "model", config)
    assert kill_at(arguments, 3, CULLING_SCRATCH="") == -signal.SIGKILL
    assert len(list((tmp_path / "kept").glob("training-*.safetensors"))) == 1
    done = culling(*arguments, CULLING_SCRATCH="")
    assert done.returncode == 0, done.stderr
    assert "training goes on from step" in done.stdout
    assert not list((tmp_path / "kept").glob("training-*"))


@pytest.mark.slow
def test_train_student__another_recipe_does_not_take_the_checkpoint(tiny_run, tmp_path):
    kept = str(tmp_path / "kept")
    arguments = stage(tiny_run, tmp_path / "model", configured(tiny_run, tmp_path, checkpoints=kept))
    assert kill_at(arguments, 3, CULLING_SCRATCH="") == -signal.SIGKILL
    values = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    values["recipe"]["seed"] = 8
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    done = culling(*arguments, CULLING_SCRATCH="")
    assert done.returncode == 0, done.stderr
    assert "goes on" not in done.stdout
    assert len(list((tmp_path / "kept").glob("training-*"))) == 1  # the first one's, untouched


@pytest.mark.slow
def test_run__killed_in_training_goes_on_and_leaves_no_scratch(tmp_path):
    out = tmp_path / "run"
    arguments = ["run", "--preset", "tiny", "--device", "cpu", "--out", str(out)]
    changes = ["--set", "train_student.recipe.epochs", "12", "--set", "train_student.checkpoint_every_s", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1"}
    run = subprocess.Popen(
        [sys.executable, "-m", "dataset_culling.cli", *arguments, *changes],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    scratch = out / "scratch" / "train-student"
    while run.poll() is None and not list(scratch.glob("*/training-*.safetensors")):
        time.sleep(0.01)
    run.kill()
    assert run.wait() == -signal.SIGKILL, "the run ended before it could be killed in training"
    assert not (out / "tasks" / "train-student").exists()
    done = culling(*arguments, *changes)
    assert done.returncode == 0, done.stderr
    notes = json.loads((out / "tasks" / "train-student" / "model" / "timing.json").read_text(encoding="utf-8"))["notes"]
    assert any("training goes on from step" in note for note in notes)
    assert not scratch.exists()
