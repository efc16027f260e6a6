"""Runs side by side: rows, caveats, output in a terminal, and the page."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from dataset_culling.report.compare_page import build_comparison_page
from dataset_culling.report.compare_runs import (
    ComparedRun,
    as_values,
    caveats,
    differing_settings,
    headline,
    num_same_settings,
    same_heldout,
)
from dataset_culling.report.terminal import print_comparison
from dataset_culling.report.words import short
from page_outline import assert_sound

MONDAY: dict[str, Any] = {
    "camera": "gate", "classes": ["person", "car"], "map_50_raw": 0.5, "map_50_trained": 0.75, "ap_50_person_raw": 0.4,
    "ap_50_person_trained": 0.7, "ap_50_car_raw": 0.6, "ap_50_car_trained": 0.8, "low_95_map_50_trained": 0.7,
    "high_95_map_50_trained": 0.8, "frames_pool": 1287, "frames_kept": 64, "culled_training_seconds": 155.0,
    "projected_full_training_seconds": 1860.0, "projected_full_training_ratio": 12.0,
    "stage_seconds": {"score-frames": 20.0, "label-selection": 30.0, "train-student": 100.0}, "promoted": True,
    "promoted_version": 3, "promotion_reason": "Promoted: better than the champion.", "side_px": 224,
    "full_side_px": 288, "gpu_seconds": 0,
}  # fmt: skip
TUESDAY: dict[str, Any] = {
    "camera": "gate", "classes": ["car", "person"], "map_50_raw": 0.5, "map_50_trained": 0.45,
    "map_50_trained_truth": 0.4, "map_50_raw_truth": 0.35, "map_50_teacher_truth": 0.8, "promoted": False,
    "promotion_reason": "Not promoted: worse.",
}  # fmt: skip


def run(name: str, summary: dict[str, Any], **more: Any) -> ComparedRun:
    return ComparedRun(name, summary, **more)


def rows(runs: list[ComparedRun]) -> dict[tuple[str, str], tuple[str, ...]]:
    return {(group.title, label): values for group in headline(runs) for label, values in group.rows}


def test_headline__figures_with_intervals_and_gaps_where_a_run_has_none():
    found = rows([run("mon", MONDAY), run("tue", TUESDAY)])
    agreement = "Agreement with the teacher, mAP@50"
    assert found[agreement, "trained student"] == ("75.0 (70.0 to 80.0)", "45.0")
    assert found[agreement, "change"] == ("+25.0", "−5.0")
    assert found["Accuracy against the truth, mAP@50", "teacher"] == ("–", "80.0")
    assert found["Cost", "projected over spent"] == ("12×", "–")
    assert found["Input size", "short side, px"] == ("224 of 288", "–")
    assert found["Decision", "promoted"] == ("yes, version 3", "no")
    assert (agreement, "control arm") not in found
    assert ("Cost", "of them on a GPU") not in found  # zero seconds are not worth a row


def test_headline__a_summary_with_odd_values_is_no_error():
    odd = {"map_50_raw": "high", "frames_pool": None, "promoted": True, "projected_full_training_ratio": True}
    assert rows([run("a", odd), run("b", {})]) == {("Decision", "promoted"): ("yes", "–")}


def test_differing_settings__known_to_all_and_not_the_same():
    one = run("a", {}, settings={"seed": "0", "epochs": "20", "registry": "/x", "only_here": "1"})
    two = run("b", {}, settings={"seed": "0", "epochs": "30", "registry": "/y"})
    unknown = run("c", {})
    assert differing_settings([one, two, unknown]) == (("epochs", ("20", "30", "–")),)
    assert num_same_settings([one, two, unknown]) == 1
    assert differing_settings([one, unknown]) == ()


def test_caveats__classes_frames_and_missing_configuration():
    settings = {"seed": "0"}
    one = run("mon", MONDAY, judged_on="a", settings=settings)
    assert caveats([one, run("tue", TUESDAY, judged_on="a", settings=settings)]) == ()  # an order is no difference
    other = run("dogs", {"classes": ["dog"]}, judged_on="b")
    notes = " ".join(caveats([one, other]))
    assert "different classes (mon: car, person; dogs: dog)" in notes
    assert "judged on different held-out frames" in notes
    assert "No configuration was found for dogs" in notes
    assert same_heldout([one, run("x", {})]) is None
    assert as_values([one, other])["same_heldout_frames"] is False


def printed(runs: list[ComparedRun], *, width: int, terminal: bool) -> list[str]:
    out = io.StringIO()
    print_comparison(runs, Console(file=out, width=width, force_terminal=terminal, no_color=True, highlight=False))
    return out.getvalue().splitlines()


def test_print_comparison__a_narrow_terminal_gets_several_tables():
    runs = [run(f"night-{place}", MONDAY) for place in range(4)]
    lines = printed(runs, width=80, terminal=True)
    tables = [line for line in lines if "night-" in line and "Promoted" not in line]
    assert len(tables) >= 2
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) <= 80
    assert sum(line.count("75.0 (70.0 to 80.0)") for line in lines) == 4


def test_print_comparison__a_pipe_gets_plain_characters_in_one_table():
    runs = [run(f"night-{place}", TUESDAY if place else MONDAY) for place in range(6)]
    lines = printed(runs, width=80, terminal=False)
    assert all(line.isascii() for line in lines)
    change = next(line for line in lines if line.strip().startswith("change"))
    assert change.split()[1:] == ["+25.0", *["-5.0"] * 5]
    assert not [line for line in lines if line != line.rstrip()]


def test_build_comparison_page__is_sound_and_links_to_the_runs():
    runs = [run("mon", MONDAY, page="mon/report.html"), run("<tue>&", TUESDAY)]
    html = build_comparison_page(runs)
    outline = assert_sound(html)
    assert outline.links.count("mon/report.html") == 3
    assert "<tue>" not in html
    assert {"chart-by-run", "chart-by-class", "chart-cost-by-run"} <= set(outline.ids)
    assert "chart-by-class-truth" not in outline.ids
    assert "Not promoted: worse." in html
    assert build_comparison_page(runs) == html


def test_build_comparison_page__runs_without_figures():
    html = build_comparison_page([run("a", {}), run("b", {"camera": "gate"})])
    assert_sound(html)
    assert "Unknown" in html


def test_build_comparison_page__many_runs_stay_small_and_too_many_are_refused():
    runs = [run(f"night-{place:02d}", MONDAY) for place in range(24)]
    assert_sound(build_comparison_page(runs))
    with pytest.raises(ValueError, match="the page of 24 runs needs"):
        build_comparison_page(runs, max_bytes=100_000)


def test_short__both_ends_stay():
    assert short("entrance", 8) == "entrance"
    assert short("2026-11-20/entrance", 9) == "2026…ance"
