"""`culling compare`: folders in, table, JSON and page out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.metrics import write_metrics
from dataset_culling.cli.compare import compare_command
from dataset_culling.errors import ConfigError, InputError, OutputError
from dataset_culling.report.run_folders import METRICS, read_runs, short_names
from page_outline import Outline, assert_sound


def compared(*arguments: object) -> str:
    done = CliRunner().invoke(compare_command, list(map(str, arguments)), catch_exceptions=False, standalone_mode=False)
    return done.output


def finished(folder: Path, summary: dict[str, Any], *, labels: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    config = {
        "camera": "gate", "registry": str(folder), "train_student": {"classes": ["x"], "recipe": {"epochs": 5}},
        "train_control": {"training": {"recipe": {"epochs": 9}}},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "report.html").write_text("<!doctype html>")
    if labels:
        origin = Origin("evaluate-student", {}, {"frames": "f", "labels": labels})
        write_metrics(folder / METRICS, {"map_50_trained": 0.5}, origin)
    return folder


@pytest.fixture
def two_nights(tmp_path: Path) -> list[Path]:
    classes = {"classes": ["car"], "map_50_raw": 0.25}
    return [
        finished(tmp_path / "20" / "east gate", {**classes, "map_50_trained": 0.5}, labels="a"),
        finished(tmp_path / "21" / "east gate", {**classes, "map_50_trained": 0.625}, labels="a"),
    ]


def test_compare__table_page_and_links(two_nights: list[Path], tmp_path: Path):
    text = compared(*two_nights, "--out", tmp_path / "pages" / "both.html")
    assert [line.split()[2:] for line in text.splitlines() if "trained student" in line] == [["50.0", "62.5"]]
    html = (tmp_path / "pages" / "both.html").read_text(encoding="utf-8")
    assert_sound(html)
    links = [link for link in Outline(html).links if not link.startswith("#")]
    assert set(links) == {"../20/east%20gate/report.html", "../21/east%20gate/report.html"}
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["both.html"]


def test_compare__json(two_nights: list[Path]):
    values = json.loads(compared(*two_nights, "--json"))
    assert [one["name"] for one in values["runs"]] == ["20/east gate", "21/east gate"]
    assert values["runs"][1]["summary"]["map_50_trained"] == 0.625
    assert values["same_heldout_frames"] is True
    assert values["differing_settings"] == {}


def test_read_runs__what_does_not_count_is_no_setting(two_nights: list[Path]):
    (first, _) = read_runs(two_nights)
    assert dict(first.settings) == {
        "camera": "gate", "registry": str(two_nights[0]), "train_student.recipe.epochs": "5",
    }  # fmt: skip
    assert first.page == ""  # nothing to link from


def test_read_runs__a_summary_alone_is_enough(two_nights: list[Path], tmp_path: Path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "summary.json").write_text('{"classes": "car", "stage_seconds": 3}')
    runs = read_runs([two_nights[0], bare / "summary.json"])
    assert (dict(runs[1].summary), dict(runs[1].settings), runs[1].judged_on) == ({}, {}, "")


def test_compare__mistakes_are_one_line(two_nights: list[Path], tmp_path: Path):
    with pytest.raises(ConfigError, match=r"only .* is named\. Name two runs or more"):
        compared(two_nights[0])
    with pytest.raises(ConfigError, match=r"is named twice\. Name each run once"):
        compared(two_nights[0], two_nights[0] / "summary.json")
    with pytest.raises(InputError, match=r"no such file\. Name the folder of a finished run"):
        compared(two_nights[0], tmp_path / "nowhere")
    (two_nights[1] / "summary.json").write_text("[]")
    with pytest.raises(InputError, match="found a list"):
        compared(*two_nights)
    (two_nights[1] / "summary.json").write_text("{}")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"page\.html: .* Choose another --out"):
        compared(*two_nights, "--out", tmp_path / "file" / "page.html")


def test_short_names__as_many_parts_as_it_takes():
    assert short_names([Path("/r/demo"), Path("/r/night")]) == ["demo", "night"]
    assert short_names([Path("/r/20/a"), Path("/r/21/a")]) == ["20/a", "21/a"]
