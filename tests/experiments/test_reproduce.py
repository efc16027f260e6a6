"""`python -m experiments.reproduce` in one go: killed, continued, and every table there; and once on a real clip."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY, SHARED, experiment
from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.timing import Timing, read_timing
from experiments.reproduce.arms import LOG_LEFT_OUT
from experiments.reproduce.cells import cells_of
from experiments.reproduce.config import read_config
from experiments.reproduce.results import CurvePoint, Overlap, Row, read_csv

DONE = re.compile(r"^\[ *\d+/\d+\] (?P<job>.+?): ")
BOTH = "confidence+precision"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str], list[str]]:
    """OUT and the results of the smoke preset, and what was said before and after it was killed in its third cell."""
    out = tmp_path_factory.mktemp("reproduce")
    command = ["--preset", "smoke", "--out", str(out / "work"), "--results", str(out / "results")]
    first = subprocess.Popen(
        [sys.executable, "-m", "experiments.reproduce", *command],
        cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    assert first.stderr is not None
    before: list[str] = []
    for line in first.stderr:
        before.append(line.rstrip())
        if sum("agreement" in one for one in before) == 2:
            os.kill(first.pid, signal.SIGKILL)
            break
    first.stderr.close()
    assert first.wait(timeout=60) == -signal.SIGKILL, before
    again = experiment("reproduce", *command, timeout_s=1200)
    assert again.returncode == 0, again.stderr
    return out / "work", out / "results" / "smoke", before, again.stderr.splitlines()


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_reproduce__after_a_kill_only_what_is_unfinished_is_done(smoke):
    _, _, before, after = smoke
    finished = {found["job"] for line in before if (found := DONE.match(line))}
    assert len(finished) >= 3
    skipped = {found["job"] for line in after if (found := DONE.match(line)) and ": already done" in line}
    assert skipped == finished
    assert any(" left" in line for line in after)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_reproduce__every_cell_has_a_row_with_figures_and_seconds(smoke):
    _, results, _, _ = smoke
    config = read_config("smoke")
    rows = read_csv(results / "results.csv", Row)
    trained = [row for row in rows if row.arm != "untrained"]
    assert {(row.camera, row.arm, row.size, row.opt_resolution, row.seed, row.variant) for row in trained} == {
        (cell.camera, cell.arm, cell.size, cell.opt_resolution, cell.seed, cell.variant) for cell in cells_of(config)
    }
    assert [row.camera for row in rows if row.arm == "untrained"] == ["lobby", "court"]
    for row in trained:
        assert row.frames == config.cameras[row.camera].frames
        assert row.heldout_frames == config.cameras[row.camera].heldout_frames
        asked = row.size or row.frames  # of the variants some may find fewer frames to believe or to look at
        assert row.trained_on == asked if row.variant == "plain" else 0 < row.trained_on <= asked
        assert row.epochs == 2
        for value in (row.agreement, row.accuracy, row.raw_agreement, row.teacher_accuracy):
            assert 0 <= value <= 1
        assert row.training_s > 0
        assert math.isfinite(row.total_s)
    of = {(row.arm, row.opt_resolution, row.variant): row for row in trained if (row.camera, row.size) == ("lobby", 16)}
    assert of["random", "off", "plain"].scored_s == 0 < of["precision", "off", "plain"].scored_s
    assert of["random", "off", "plain"].labelled == 16
    assert of[BOTH, "off", "plain"].labelled == 64
    assert of["precision", "off", "plain"].labelled == 96
    assert of[BOTH, "off", "gate"].pool <= 96
    assert of[BOTH, "loss", "plain"].opt_s > 0 == of[BOTH, "off", "plain"].opt_s
    assert len(read_csv(results / "curves.csv", CurvePoint)) == 4  # full size and three steps
    missed = {one.arm: one.missed_share for one in read_csv(results / "overlaps.csv", Overlap)}
    assert set(missed) == {"uniform", "random", "confidence-sum", BOTH}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_reproduce__scores_from_a_log_are_the_students_own(smoke):
    work, results, _, _ = smoke
    plain, logged = (work / "cameras" / name / "tasks/score-frames/detections" for name in ("lobby", "lobby+logged"))
    timing = read_timing(logged)
    assert isinstance(timing, Timing)
    assert (timing.counts["looked_at_frames"], timing.counts["logged_frames"]) == (
        96 // LOG_LEFT_OUT,
        96 - 96 // LOG_LEFT_OUT,
    )
    own, theirs = read_detections(plain), read_detections(logged)
    assert own.offsets.tolist() == theirs.offsets.tolist()
    assert own.class_ids.tolist() == theirs.class_ids.tolist()
    assert own.scores == pytest.approx(theirs.scores, abs=2e-3)  # batches differ, and five digits are logged
    assert own.boxes_xyxy == pytest.approx(theirs.boxes_xyxy, abs=0.1)
    rows = {row.variant: row for row in read_csv(results / "results.csv", Row) if (row.arm, row.size) == (BOTH, 16)
            and row.opt_resolution == "off" and row.camera == "lobby"}  # fmt: skip
    assert rows["logged"].trained_on == rows["plain"].trained_on


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_reproduce__the_page_has_all_tables_and_marks_nothing(smoke):
    page = (smoke[1] / "index.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", page, re.M)
    assert [heading.split(":")[0] for heading in headings] == [
        "The claims", "Table 1", "Table 2", "Figure 3", "Figure 4", "What else picks of precision's frames",
        "Beyond the paper", "Variants beside plain", "Measured seconds", "How",
    ]  # fmt: skip
    assert "**These figures prove nothing**" in page
    assert set(re.findall(r"\*\*(shown|not shown|contradicted)\*\*", page)) == {"not shown"}
    assert "python -m experiments.reproduce --preset smoke" in page
    for name in re.findall(r"\]\(([\w.]+)\)", page):
        assert (smoke[1] / name).is_file(), name


@pytest.mark.slow
@pytest.mark.footage
@pytest.mark.timeout(1500)
def test_reproduce__a_folder_of_real_videos_and_a_teacher(tmp_path: Path):
    clips = tmp_path / "clips"
    clips.mkdir()
    (clips / "corridor.mp4").symlink_to(SHARED / "footage" / "intel-one-by-one-person-detection.mp4")
    done = experiment(
        "reproduce", "--preset", "smoke", "--out", tmp_path / "work", "--results", tmp_path / "results",
        "--footage", clips, "--classes", "person", "--fps", "1", "--arms", "untrained,random,confidence+precision",
        "--sizes", "8", "--seeds", "0", "--student", "yolox_nano",
        "--student-weights", SHARED / "models" / "yolox_nano.onnx",
        "--teacher", "person-vehicle-bike-detection-2003.yaml",
        "--teacher-weights", SHARED / "models" / "person-vehicle-bike-detection-2003.FP16.xml", timeout_s=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_csv(tmp_path / "results/smoke/results.csv", Row)
    assert [(row.camera, row.arm) for row in rows] == [
        ("corridor", "untrained"), ("corridor", "random"), ("corridor", BOTH)
    ]  # fmt: skip
    assert all(math.isnan(row.accuracy) and 0 <= row.agreement <= 1 for row in rows)
    assert "**A wiring test on real footage**" in (tmp_path / "results/smoke/index.md").read_text(encoding="utf-8")
