"""`culling plan`: the paper's table, a run's measured seconds, a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dataset_culling.cli.plan import find_grounds, read_summary
from dataset_culling.cli.program import cli
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.planning import PAPER_RATES, culled_cost
from dataset_culling.report.summary import summarise
from report_inputs import shared_run


def planned(*arguments: object) -> str:
    done = CliRunner().invoke(cli, ["plan", *map(str, arguments)], catch_exceptions=False, standalone_mode=False)
    return done.output


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """1,000 frames: 0.1 s to score, 1 s to label, 0.5 s to train on one once, 10 epochs; 4 labelled for each kept."""
    summary = {
        "student_seconds_per_frame": 0.1, "teacher_seconds_per_frame": 1.0, "train_seconds_per_image": 0.5,
        "epochs": 10, "frames_pool": 1000, "frames_labeled": 80, "frames_kept": 20, "gpu_seconds": 0.0,
        "stage_seconds": {"choose-resolution": 5.0, "label-heldout": 60.0, "evaluate-student": 25.0, "score-frames": 9},
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    return tmp_path


def test_plan__paper_prints_table_1():
    lines = planned("--paper").splitlines()
    rows = [line.split() for line in lines if line.split()[0] in ("64", "128", "256", "all")]
    assert [row[:7] for row in rows[:3]] == [
        ["64", "3,560", "0.07", "1.54", "0.33", "1.93", "53x"],
        ["128", "3,560", "0.14", "1.54", "0.33", "2.00", "51x"],
        ["256", "3,560", "0.28", "1.54", "0.33", "2.14", "48x"],
    ]
    assert rows[3] == ["all", "86,400", "94.08", "0.00", "7.99", "102.07"]


def test_plan__a_run_measures_and_a_budget_picks(run_folder: Path):
    text = planned(run_folder, "--targets", "10,40", "--budget-minutes", 10)
    rows = [line.split() for line in text.splitlines() if line.split()[:1] in (["10"], ["40"], ["all"])]
    # 10: 10 * 10 * 0.5 = 50 s to train, 100 s to score, 40 s to label; everything: 5000 s and 1000 s
    assert rows[0] == ["10", "40", "0.83", "1.67", "0.67", "3.17", "32x"]
    assert rows[1] == ["40", "160", "3.33", "1.67", "2.67", "7.67", "13x"]
    assert rows[2] == ["all", "1,000", "83.33", "0.00", "16.67", "100.00"]
    # 600 s: 100 to score, then 4 + 5 s for each frame kept: 55, and 595 s in all
    assert "10 min: train on 55 of 220 labelled frames, 9 min 55 s" in text
    assert "culling run --target 55 --shortlist 220" in text
    assert "used no GPU" in text
    assert "Besides, that run spent 1 min 30 s" in text


def test_plan__json_in_seconds_and_given_figures_go_before_measured_ones(run_folder: Path):
    values: dict[str, Any] = json.loads(
        planned(run_folder / "summary.json", "--frames", 2000, "--teacher-s", 2, "--pool", 300, "--targets", "100",
                "--json")
    )  # fmt: skip
    (row,) = values["rows"]
    assert (row["student_s"], row["teacher_s"], row["training_s"]) == (200, 600, 500)
    assert values["full"]["total_s"] == 2000 * 2 + 2000 * 5
    assert "plan" not in values


def test_plan__without_a_run_every_figure_is_given():
    text = planned("--frames", 100, "--student-s", 1, "--teacher-s", 10, "--step-s", 0.5, "--epochs", 10,
                   "--variants", 1, "--targets", 20)  # fmt: skip
    assert "20        80" in text
    with pytest.raises(ConfigError, match=r"found no --teacher-s, --step-s\. Pass the folder of a run"):
        planned("--frames", 100, "--student-s", 1)


@pytest.mark.parametrize("targets", ["", "a", "0", "64,-1"])
def test_plan__targets_are_numbers(targets: str):
    with pytest.raises(ConfigError, match="expected numbers of frames such as"):
        planned("--paper", "--targets", targets)


def test_plan__wrong_figures_are_one_line(run_folder: Path):
    with pytest.raises(ConfigError, match="teacher_s"):
        planned(run_folder, "--teacher-s", -1)
    with pytest.raises(ConfigError, match="a run or --paper, found both"):
        planned(run_folder, "--paper")
    with pytest.raises(ConfigError, match="expected a budget of at least"):
        planned(run_folder, "--budget-minutes", 1)


def test_read_summary__says_what_is_missing(tmp_path: Path):
    with pytest.raises(InputError, match=r"found no such file\. Run culling run --out first"):
        read_summary(tmp_path / "summary.json")
    (tmp_path / "summary.json").write_text('{"epochs": 3}')
    with pytest.raises(InputError, match=r"found no student_seconds_per_frame\. Run culling run again"):
        read_summary(tmp_path / "summary.json")
    (tmp_path / "summary.json").write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        read_summary(tmp_path / "summary.json")


def test_find_grounds__reads_what_the_report_writes(tmp_path: Path):
    summary = summarise(shared_run())
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    grounds = find_grounds(tmp_path, paper=False, given={})
    assert grounds.rates.model_dump() == {
        "student_s": 0.012, "teacher_s": 0.085, "step_s": 0.028, "epochs": 30, "variants": 1,
    }  # fmt: skip
    assert (grounds.frames, grounds.pool_factor) == (36, 20 / 8)
    assert grounds.other_s == pytest.approx(6.1 + 24.9 + 8.6)


def test_find_grounds__the_papers_are_the_models():
    grounds = find_grounds(None, paper=True, given={"frames": 3600, "pool": None})
    assert grounds.rates == PAPER_RATES
    assert culled_cost(3600, 1000, 64, grounds.rates).student_s == pytest.approx(230.4)
