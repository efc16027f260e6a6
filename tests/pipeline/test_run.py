"""`culling run` as a user meets it: the whole chain, killed and continued, and given rubbish."""

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
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.pipeline.graph import STAGES, WIRING

SUMMARY_KEYS = {
    "frames_extracted", "frames_kept_confidence", "frames_labeled", "frames_kept", "map_50_raw", "map_50_trained",
    "map_50_teacher_truth", "map_50_raw_truth", "map_50_trained_truth", "scale", "gflops_full", "gflops_chosen",
    "stage_seconds", "peak_rss_mib", "projected_full_training_seconds", "promoted", "promotion_reason",
}  # fmt: skip
KEPT = Path("tasks/cull-precision/kept/selection.jsonl")


def test_run__leaves_model_page_and_summary(tiny_run):
    summary = json.loads((tiny_run / "summary.json").read_text())
    assert set(summary) >= SUMMARY_KEYS
    assert (tiny_run / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    assert (tiny_run / "model" / "model.safetensors").stat().st_size > 100_000
    assert set(summary["stage_seconds"]) >= {task.name for task in WIRING}


def test_run__the_funnel_narrows_as_configured(tiny_run):
    summary = json.loads((tiny_run / "summary.json").read_text())
    assert summary["frames_kept_confidence"] == summary["frames_labeled"] == 24
    assert summary["frames_kept"] == 8
    assert summary["frames_extracted"] > 24
    pool = set(read_selection(tiny_run / "tasks/cull-confidence/selection").frame_ids.tolist())
    assert set(read_selection(tiny_run / "tasks/cull-precision/kept").frame_ids.tolist()) < pool


def test_run__again_does_nothing_and_ends_the_same(tiny_run):
    before = (tiny_run / KEPT).read_bytes()
    again = culling("run", "--preset", "tiny", "--out", tiny_run, "--json")
    assert again.returncode == 0, again.stderr
    summary = json.loads(again.stdout)
    assert summary["tasks_skipped"] == [task.name for task in WIRING]
    assert (tiny_run / KEPT).read_bytes() == before


def test_run__another_budget_redoes_only_what_depends_on_it(tiny_run, tmp_path):
    out = tmp_path / "copy"
    subprocess.run(["cp", "-a", tiny_run, out], check=True)
    video = next((tiny_run / "footage").glob("*.mp4"))
    truth = video.with_suffix(".truth.json")
    done = culling(
        "run", "--preset", "tiny", "--video", video, "--truth", truth, "--out", out, "--target", "6", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["frames_kept"] == 6
    assert "score-frames" in summary["tasks_skipped"]
    assert "cull-precision" not in summary["tasks_skipped"]
    assert "train-student" not in summary["tasks_skipped"]


def _start(out: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dataset_culling.cli", "run", "--preset", "tiny", "--out", str(out), "--quiet"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored where we run behind '&'
    )


def _descendants(pid: int) -> dict[int, int]:
    """Living processes below `pid`: process -> its parent."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: dict[int, int] = {}
    ahead = [pid]
    while ahead:
        parent = ahead.pop()
        below = [child for child, its in parents.items() if its == parent]
        found.update(dict.fromkeys(below, parent))
        ahead += below
    return found


def _stage_of(pid: int) -> int:
    """The stage's process of the run `pid`: below the fork server, or a new interpreter; 0: none."""
    for child, parent in _descendants(pid).items():
        try:
            words = (Path("/proc") / str(child) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent != pid or b"--multiprocessing-fork" in words:
            return child
    return 0


def _wait_for(condition, *, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("task", ["extract-frames", "train-student"])
def test_run__killed_in_a_stage_and_started_again_ends_with_the_same_selection(tiny_run, tmp_path, task):
    out = tmp_path / "run"
    running = _start(out)
    _wait_for(lambda: (out / "tasks" / f".{task}.partial").is_dir() and _stage_of(running.pid))
    stages = list(_descendants(running.pid))
    running.send_signal(signal.SIGKILL)
    running.wait()
    _wait_for(lambda: not any(_alive(pid) for pid in stages), seconds=10)  # no stage outlives its run
    assert len(list((out / "scratch" / task).iterdir())) == 1  # what it may go on from is still there
    done = culling("run", "--preset", "tiny", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert not any((out / "scratch").iterdir())
    finished_before = [name.name for name in WIRING[: [t.name for t in WIRING].index(task)]]
    assert set(json.loads(done.stdout)["tasks_skipped"]) == set(finished_before)
    assert (out / KEPT).read_bytes() == (tiny_run / KEPT).read_bytes()


def test_run__a_stage_that_is_killed_ends_the_run_in_one_line(tmp_path):
    out = tmp_path / "run"
    running = subprocess.Popen(
        [sys.executable, "-m", "dataset_culling.cli", "run", "--preset", "tiny", "--out", str(out), "--quiet"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _wait_for(lambda: (out / "tasks" / ".score-frames.partial").is_dir() and _stage_of(running.pid))
    os.kill(_stage_of(running.pid), signal.SIGKILL)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 1
    assert error.splitlines() == [
        line for line in error.splitlines() if line.startswith("error: Student scoring: ended by SIGKILL")
    ]


def test_run__ctrl_c_ends_all_children(tmp_path):
    out = tmp_path / "run"
    running = _start(out)
    _wait_for(lambda: (out / "tasks" / ".score-frames.partial").is_dir() and _stage_of(running.pid))
    stages = list(_descendants(running.pid))
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=30) == 130
    _wait_for(lambda: not any(_alive(pid) for pid in stages), seconds=10)
    assert not (out / "tasks" / "score-frames").exists()


def test_run__two_runs_do_not_share_a_folder(tmp_path):
    out = tmp_path / "run"
    running = _start(out)
    try:
        _wait_for(lambda: (out / "tasks").is_dir())
        second = culling("run", "--preset", "tiny", "--out", out)
        assert second.returncode == 2
        assert "another run is using this folder" in second.stderr
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=30)


def test_run__a_damaged_artifact_is_made_again(tiny_run, tmp_path):
    out = tmp_path / "copy"
    subprocess.run(["cp", "-a", tiny_run, out], check=True)
    scores = out / "tasks/score-frames/detections/scores.npy"
    scores.write_bytes(scores.read_bytes()[:-4])
    done = culling("run", "--preset", "tiny", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert "score-frames" not in json.loads(done.stdout)["tasks_skipped"]
    assert (out / KEPT).read_bytes() == (tiny_run / KEPT).read_bytes()


def test_stage__runs_by_hand_with_the_words_of_the_graph(tiny_run, tmp_path):
    tasks = tiny_run / "tasks"
    done = culling(
        "stage", "cull-confidence", "--config", '{"budget": 5.0}', "--set", "min_gap_s", "0",
        "--detections", tasks / "score-frames/detections", "--selection", tmp_path / "kept",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(read_selection(tmp_path / "kept")) == 5


def test_stage__every_stage_explains_itself():
    for name in STAGES:
        shown = culling("stage", name, "--help")
        assert shown.returncode == 0
        assert "--config" in shown.stdout


def test_show__prints_header_and_rows(tiny_run):
    shown = culling("show", tiny_run / "tasks/cull-precision/kept", "--verify")
    assert shown.returncode == 0
    assert "selection/1  made by cull-precision" in shown.stdout
    assert "loss" in shown.stdout


@pytest.mark.parametrize("key", ["pool", "heldout"])
def test_run__equal_footage_gives_equal_frames(tiny_run, tmp_path, key):
    video = next((tiny_run / "footage").glob("*.mp4"))
    config = json.loads((tiny_run / "logs/extract-frames.config.json").read_text())
    done = culling(
        "stage", "extract-frames", "--config", json.dumps({**config, "sources": [str(video)]}),
        "--pool", tmp_path / "pool", "--heldout", tmp_path / "heldout",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digest(tmp_path / key) == digest(tiny_run / "tasks/extract-frames" / key)
