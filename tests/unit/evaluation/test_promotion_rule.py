"""The promotion gate on figures written by hand: checks that pass, that fail, and that are reported only."""

from __future__ import annotations

import pytest

from dataset_culling.evaluation.promotion_rule import Reference, Verdict, judge, strata
from dataset_culling.stages.promote_student.config import PromoteStudentConfig

GOOD = {
    "map_50_raw": 0.5, "map_50_trained": 0.7, "map_50_champion": 0.6,
    "low_95_gain_map_50": 0.1, "high_95_gain_map_50": 0.3,
    "low_95_gain_over_champion_map_50": 0.02, "high_95_gain_over_champion_map_50": 0.18,
}  # fmt: skip
CHAMPION = Reference("the champion, version 3", 0.6, "champion")
NIGHT = {
    "replay_20261101_map_50_trained": 0.50,
    "replay_20261101_map_50_champion": 0.54,
    "objects_replay_20261101": 40.0,
}


def verdict(figures: dict[str, float], reference: Reference = CHAMPION, **config: object) -> Verdict:
    return judge(GOOD | figures, PromoteStudentConfig.model_validate(config), reference)


def failed(found: Verdict) -> list[str]:
    return [check.name for check in found.checks if check.passed is False]


@pytest.mark.parametrize(
    ("trained", "reference", "min_gain", "better", "saying"),
    [
        pytest.param(0.7, 0.5, 0.0, True, "0.500 for it: a gain of +0.200", id="better"),
        pytest.param(0.5, 0.5, 0.0, False, "a gain of +0.000, where more than 0 is required", id="no gain"),
        pytest.param(0.52, 0.5, 0.05, False, "at least 0.050 is required", id="too small"),
        pytest.param(0.71, 0.70, 0.01, True, "a gain of +0.010", id="just enough, in binary a little less"),
        pytest.param(0.7, 0.8, 0.0, False, "a gain of -0.100", id="worse"),
        pytest.param(0.7, None, 0.0, False, "was not measured on these frames", id="unknown"),
    ],
)
def test_judge__the_gain_worked_by_hand(trained, reference, min_gain, better, saying):
    found = verdict({"map_50_trained": trained}, Reference("it", reference), min_gain=min_gain)
    assert found.better is better
    assert saying in found.text


def test_judge__a_gain_that_may_be_chance_is_none():
    found = verdict({"low_95_gain_over_champion_map_50": -0.01})
    assert failed(found) == ["significance"]
    assert "but the gain's 95 % interval is -0.010 to +0.180" in found.text
    assert verdict({"low_95_gain_over_champion_map_50": -0.01}, significant=False).better


def test_judge__a_gain_of_which_nothing_tells_how_sure_it_is_is_none():
    figures = {name: value for name, value in GOOD.items() if "95" not in name}
    found = judge(figures, PromoteStudentConfig(), CHAMPION)
    assert failed(found) == ["significance"]
    assert "too little footage was held out" in found.text


@pytest.mark.parametrize(
    ("champion", "objects", "passed"),
    [
        pytest.param(0.55, 40, True, id="a fall by just the bound, in binary a little more"),
        pytest.param(0.56, 40, False, id="more than the bound"),
        pytest.param(0.90, 29, None, id="too few objects to say"),
        pytest.param(0.40, 40, True, id="better"),
    ],
)
@pytest.mark.parametrize(
    ("stem", "count", "named"),
    [
        ("ap_50_car", "class_car", "class car"),
        ("hour_07_map_50", "hour_07", "hour 07"),
        ("elapsed_hour_00_map_50", "elapsed_hour_00", "hour 00 of the footage"),
        ("replay_20261101_2_map_50", "replay_20261101_2", "night 20261101_2"),
        ("check_map_50", "check", "the human check set"),
    ],
)
def test_judge__no_part_may_fall(stem, count, named, champion, objects, passed):
    found = verdict({f"{stem}_trained": 0.5, f"{stem}_champion": champion, f"objects_{count}": float(objects)})
    assert {check.name: check.passed for check in found.checks}[named] is passed
    assert found.better is (passed is not False)


def test_judge__names_the_first_failure_and_counts_the_others():
    fallen = {"ap_50_car_trained": 0.1, "ap_50_car_champion": 0.9, "objects_class_car": 99.0}
    found = verdict(fallen | NIGHT | {"replay_20261101_map_50_trained": 0.2})
    assert "but night 20261101: 0.540 -> 0.200 (-0.340)" in found.text
    assert found.text.endswith("and 1 more checks failed")


def test_judge__a_check_set_may_be_demanded():
    assert verdict({}).better
    refused = verdict({}, check_set="demand")
    assert not refused.better
    assert "has no human check set" in refused.text
    there = {"check_map_50_trained": 0.6, "check_map_50_champion": 0.6, "objects_check": 50.0}
    assert verdict(there, check_set="demand").better


@pytest.mark.parametrize(
    ("figures", "trusted"),
    [
        pytest.param({}, True, id="better, and nothing older is known"),
        pytest.param({"low_95_gain_over_champion_map_50": -0.1}, False, id="no better, and nothing older is known"),
        pytest.param(NIGHT | {"low_95_gain_over_champion_map_50": -0.1}, True, id="no better, but the old night holds"),
        pytest.param(NIGHT | {"replay_20261101_map_50_trained": 0.1}, False, id="better tonight, blind on the old one"),
    ],
)
def test_judge__whether_tonights_labels_can_be_believed(figures, trusted):
    assert verdict(figures).trusted is trusted


def test_judge__the_first_model_is_held_against_the_raw_student():
    raw = {"ap_50_car_trained": 0.3, "ap_50_car_raw": 0.9, "objects_class_car": 99.0}
    found = verdict(raw, Reference("the raw student", 0.5))
    assert failed(found) == ["class car"]


def test_strata__only_what_was_measured_for_both():
    figures = {
        "ap_50_car_trained": 0.5, "ap_50_bus_trained": 0.5, "ap_50_bus_champion": 0.4, "objects_class_bus": 7.0,
        "ap_50_car_trained_truth": 0.5, "replay_map_50_trained": 0.5, "replay_map_50_champion": 0.5,
    }  # fmt: skip
    assert [(part.name, part.objects) for part in strata(figures, "champion")] == [("class bus", 7)]
