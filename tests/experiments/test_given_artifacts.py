"""The engine on artifacts made elsewhere, as the cells of a reproduction share theirs: both culls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builders import CLASSES, footage, frame, scored
from dataset_culling.artifacts.detections import write_detections
from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.labels import write_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.engine.local import RunResult, run_pipeline
from experiments.reproduce.cells import Cell
from experiments.reproduce.config import read_config
from experiments.reproduce.queue import Watcher
from experiments.reproduce.work import cell_config, cell_wiring

BOX = (0.0, 0.0, 10.0, 10.0)


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Path]:
    """Twelve frames of one box each: the student less and less sure; the teacher sees it in all but the last four."""
    student = scored(*([0.95 - 0.04 * k] for k in range(12)))
    teacher = footage(*(frame((0, 0.9, *BOX)) if k < 8 else frame((0, 0.9, 50, 50, 60, 60)) for k in range(12)))
    write_detections(tmp_path / "detections", student, Origin("test"))
    size = np.full(12, 100)
    write_labels(tmp_path / "labels", teacher, size, size, Origin("test"))
    return {"score-frames.detections": tmp_path / "detections", "label-pool.labels": tmp_path / "labels"}


def both_culls(arm: str, size: int, out: Path, given: dict[str, Path]) -> RunResult:
    config = read_config("smoke", over={"cameras": {"lobby": {"classes": list(CLASSES)}}})
    cell = Cell("lobby", arm, size, "off", 0)
    return run_pipeline(
        cell_config(config, cell, out), out / arm, display=Watcher(), wiring=cell_wiring(own_labels=False)[:2],
        given=given,
    )  # fmt: skip


def test_run_pipeline__given_artifacts_are_read_not_made(given: dict[str, Path], tmp_path: Path):
    first = both_culls("confidence+precision", 2, tmp_path, given)
    assert first.skipped == ()
    wide = read_selection(first.artifacts["cull-confidence.selection"]).frame_ids
    assert sorted(wide.tolist()) == [4, 5, 6, 7, 8, 9, 10, 11]  # 4 x 2, the least sure
    kept = read_selection(first.artifacts["cull-precision.kept"]).frame_ids
    assert set(kept.tolist()) <= {8, 9, 10, 11}  # where teacher and student disagree
    again = both_culls("confidence+precision", 2, tmp_path, given)
    assert again.skipped == ("cull-confidence", "cull-precision")
    write_detections(given["score-frames.detections"], scored(*([0.5 + 0.04 * k] for k in range(12))), Origin("test"))
    changed = both_culls("confidence+precision", 2, tmp_path, given)
    assert changed.skipped == ()
    assert not (tmp_path / "confidence+precision" / "tasks" / "score-frames").exists()


def test_run_pipeline__an_arm_with_one_stage_keeps_what_the_first_takes(given: dict[str, Path], tmp_path: Path):
    done = both_culls("top-confidence", 3, tmp_path, given)
    assert sorted(read_selection(done.artifacts["cull-precision.kept"]).frame_ids.tolist()) == [0, 1, 2]
    assert done.timings["cull-confidence"].counts["kept"] == 3
