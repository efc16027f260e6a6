"""summary.json and what the terminal makes of it."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from dataset_culling.pipeline.graph import WIRING
from dataset_culling.report.run_data import TASK_NAMES, Run
from dataset_culling.report.summary import CULLING_TASKS, culling_gain, projection, summarise
from dataset_culling.report.terminal import print_summary
from report_inputs import TIMINGS, shared_run


@pytest.fixture(scope="module")
def small_run() -> Run:
    return shared_run()


def test_summarise__holds_what_machines_ask_for(small_run: Run):
    summary = summarise(small_run)
    wanted = {
        "frames_extracted", "frames_kept_confidence", "frames_labeled", "frames_kept", "frames_heldout",
        "map_50_raw", "map_50_trained", "map_50_teacher_truth", "map_50_raw_truth", "map_50_trained_truth",
        "scale", "side_px", "gflops_full", "gflops_chosen", "stage_seconds", "peak_rss_mib",
        "projected_full_training_seconds", "promoted", "promotion_reason", "camera", "classes",
    }  # fmt: skip
    assert wanted <= set(summary)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["frames_extracted"] == 36 + 12
    assert summary["frames_labeled"] == summary["frames_kept_confidence"] == 20
    assert summary["peak_rss_mib"] == 1180.4
    assert summary["stage_seconds"] == {task: timing.seconds for task, timing in TIMINGS.items()}
    assert [key for key, value in summary.items() if isinstance(value, dict)] == ["stage_seconds"]


def test_summarise__says_nothing_that_it_cannot_know(small_run: Run):
    metrics = {key: value for key, value in small_run.metrics.items() if not key.endswith("_truth")}
    summary = summarise(dataclasses.replace(small_run, metrics=metrics, costs={}))
    assert not [key for key in summary if "truth" in key or "projected" in key or key == "peak_rss_mib"]
    assert summary["stage_seconds"] == {}


def test_projection__worked_by_hand():
    found = projection(TIMINGS, num_pool=1000, epochs=30)
    # 1000 frames: 0.085 s to label each, 30 epochs of 0.028 s to train on each
    assert found["projected_full_training_seconds"] == pytest.approx(1000 * (0.085 + 30 * 0.028))
    assert found["culled_training_seconds"] == pytest.approx(16.8 + 0.3 + 22.4 + 0.4 + 6.1 + 54.0)
    assert found["projected_full_training_ratio"] == pytest.approx(925 / 100)


@pytest.mark.parametrize("task", ["score-frames", "label-selection", "train-student"])
def test_projection__needs_every_rate(task: str):
    timings = {name: timing for name, timing in TIMINGS.items() if name != task}
    assert projection(timings, num_pool=1000, epochs=30) == {}


def test_task_names__are_those_of_the_graph():
    assert dict(TASK_NAMES) == {task.name: task.display_name for task in WIRING}
    assert set(CULLING_TASKS) <= set(TASK_NAMES)


def printed(summary: dict[str, object], tmp_path, **options: object) -> str:
    file = io.StringIO()
    print_summary(summary, tmp_path, Console(file=file, **options))
    return file.getvalue()


def test_print_summary__plain_text_where_there_is_no_terminal(small_run: Run, tmp_path):
    text = printed(summarise(small_run), tmp_path, width=200)
    assert text.isascii()
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    flat = " ".join(text.split())
    for part in ("agreement with the teacher", "accuracy against the truth", "kept by precision 8", "not measured",
                 "Decision Promoted", "GFLOPs", "train-student 54.0"):  # fmt: skip
        assert part in flat, part
    assert f"Page        {tmp_path / 'report.html'}\n" in text  # in one piece, to be copied


def test_print_summary__fits_a_terminal_of_80_columns(small_run: Run, tmp_path):
    text = printed(summarise(small_run), tmp_path, width=80, force_terminal=True, color_system=None)
    assert max(len(line.rstrip()) for line in text.splitlines() if str(tmp_path) not in line) <= 80
    assert "█" in text


def test_print_summary__agreement_is_never_called_accuracy(small_run: Run, tmp_path):
    metrics = {key: value for key, value in small_run.metrics.items() if not key.endswith("_truth")}
    text = printed(summarise(dataclasses.replace(small_run, metrics=metrics)), tmp_path)
    assert "agreement with the teacher" in text
    assert "accura" not in text.lower()


def test_print_summary__an_empty_summary_is_no_error(tmp_path):
    assert "report.html" in printed({}, tmp_path)


def test_terminal__loads_nothing_heavy():
    code = (
        "import sys, dataset_culling.report.terminal\n"
        "print([name for name in ('torch', 'matplotlib', 'cv2', 'jinja2', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


def test_culling_gain__trained_less_control():
    metrics = {"map_50_trained": 0.6, "map_50_control": 0.55, "map_50_trained_truth": 0.5}
    assert culling_gain(metrics) == {"culling_gain_map_50": pytest.approx(0.05)}
    metrics["map_50_control_truth"] = 0.7
    assert culling_gain(metrics)["culling_gain_map_50_truth"] == pytest.approx(-0.2)
    assert culling_gain({"map_50_trained": 0.6}) == {}


def test_print_summary__what_culling_was_worth(small_run: Run, tmp_path):
    metrics = {**small_run.metrics, "map_50_trained": 0.6, "map_50_control": 0.55}
    text = printed(summarise(dataclasses.replace(small_run, metrics=metrics)), tmp_path)
    assert "worth +5.0 points on this camera: as many random frames give 55.0" in " ".join(text.split())
    assert "random frames" not in printed(summarise(small_run), tmp_path)
