"""From rows that a person could have written to CSV, to tables, to a page whose bad news come first."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from dataset_culling.errors import InputError
from experiments.reproduce.about import About, Made
from experiments.reproduce.config import read_config
from experiments.reproduce.cost import evened, measured_times, projected, projected_times
from experiments.reproduce.page import build_page, write_results
from experiments.reproduce.results import CurvePoint, Overlap, Row, read_csv, write_csv
from reproduce_rows import STEP_S, row

BOTH = "confidence+precision"
MADE = Made("abcdef012345", "2026-11-20 08:00 UTC", "a small machine", 2, 1)
ABOUT = About("cpu", "a machine", "2026-11-21 12:00 UTC", "0123456789ab", "experiments.reproduce --preset cpu", (MADE,))
ROWS = [
    row("untrained", 60, accuracy=0.55),
    row("uniform", 80, accuracy=0.7),
    row(BOTH, 84, size=64, accuracy=0.7),
    row(BOTH, 88, accuracy=0.74),
    row(BOTH, 90, accuracy=0.76, seed=1),
    row("full", 91, accuracy=0.75),
    row(BOTH, 89, variant="logged", scored_s=5.0),
    row(BOTH, 87, opt_resolution="loss", scale=0.81, gflops=1.31, opt_s=3.0),
]
CURVE = [CurvePoint("street", 128, 0, scale, 288, 2.0, change, ap, int(scale == 0.9))
         for scale, change, ap in ((1.0, 0.0, 0.9), (0.9, 0.03, 0.895), (0.81, 0.07, 0.8))]  # fmt: skip
OVERLAPS = [Overlap("street", BOTH, 128, 0, 0.25, 0.9)]


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    part = page[page.index(f"{heading}\n") :]
    lines = re.search(r"(?:^\|.*\n)+", part, re.M)
    assert lines is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()]


def line(cells: list[list[str]], first: str) -> list[str]:
    (found,) = [one for one in cells if one[0] == first]
    return found[1:]


@pytest.fixture
def from_csv(tmp_path: Path) -> list[Row]:
    """The rows, through a file."""
    write_csv(tmp_path / "results.csv", Row, ROWS)
    return read_csv(tmp_path / "results.csv", Row)


def test_csv__what_is_written_is_read(from_csv: list[Row], tmp_path: Path):
    assert [repr(one) for one in from_csv] == [repr(one) for one in ROWS]  # repr: NaN equals itself there
    assert math.isnan(from_csv[6].accuracy)
    write_csv(tmp_path / "curves.csv", CurvePoint, CURVE)
    assert read_csv(tmp_path / "curves.csv", CurvePoint) == CURVE


def test_csv__a_table_of_another_version_is_refused(tmp_path: Path):
    (tmp_path / "old.csv").write_text("camera,arm\nstreet,full\n")
    with pytest.raises(InputError, match="column 'group' is missing"):
        read_csv(tmp_path / "old.csv", Row)
    write_csv(tmp_path / "bad.csv", Row, ROWS[:1])
    (tmp_path / "bad.csv").write_text(
        (tmp_path / "bad.csv").read_text().replace("street,surveillance,untrained,0", "a,b,c,many")
    )
    with pytest.raises(InputError, match=r"not a CSV of results \(invalid literal"):
        read_csv(tmp_path / "bad.csv", Row)


def test_cost__measured_and_projected_by_hand(from_csv: list[Row]):
    both = from_csv[3]
    assert both.total_s == pytest.approx(100 + 512 + 25.6)
    assert measured_times(both, from_csv) == pytest.approx(1200 / 637.6)
    day = projected(both, 86_400)
    assert (day.student_s, day.teacher_s, day.training_s) == pytest.approx((8640, 512, 25.6))
    assert projected_times(both, from_csv, 86_400) == pytest.approx(86_400 * 1.2 / 9177.6)
    precision = row("precision", 90)
    assert projected(precision, 2000).teacher_s == 2000
    quick = row("full", 91, epochs=2, training_s=20.0)
    assert projected(quick, 2000, epochs=20).training_s == pytest.approx(400)
    assert projected(quick, 2000).training_s == pytest.approx(40)
    assert math.isnan(measured_times(both, from_csv[:4]))


def test_cost__a_variant_is_held_against_the_usual_training_on_everything():
    plain = row(BOTH, 88)
    usual_s = 86_400 * (1 + 20 * 0.01)  # labels and 20 passes, at the plain row's seconds
    subset = row(BOTH, 86, variant="random-pb", passes=10.0, training_s=plain.training_s / 2)
    assert projected_times(subset, [plain, subset], 86_400) == pytest.approx(usual_s / (8640 + 512 + 12.8))
    slow = row(BOTH, 86, variant="expand", step_s=0.02, training_s=2 * plain.training_s)
    assert projected_times(slow, [plain, slow], 86_400) == pytest.approx(usual_s / (8640 + 512 + 51.2))
    assert projected_times(slow, [plain, slow], 86_400) < projected_times(plain, [plain, slow], 86_400)
    assert math.isnan(projected_times(slow, [slow, row(BOTH, 88, camera="lobby")], 86_400))
    short = row(BOTH, 86, epochs=10, training_s=plain.training_s / 2)  # a recipe of its own, held against it on all
    assert projected_times(short, [short], 86_400) == pytest.approx(86_400 * 1.1 / (8640 + 512 + 12.8))


def test_cost__alike_trainings_are_counted_at_one_pace():
    quick, slow, busy = (row(BOTH, 88, seed=seed, step_s=pace, training_s=128 * 20 * pace)
                         for seed, pace in enumerate((0.01, 0.011, 0.03)))  # fmt: skip
    logged = row(BOTH, 88, variant="logged", step_s=0.02, training_s=128 * 20 * 0.02)
    expand = row(BOTH, 88, variant="expand", step_s=0.05, training_s=128 * 20 * 0.05)
    small = row(BOTH, 88, opt_resolution="loss", side_px=224, step_s=0.006, training_s=128 * 20 * 0.006)
    full = row("full", 90, step_s=0.01, training_s=1000 * 20 * 0.01)
    lobby = row(BOTH, 88, camera="lobby")
    raw = row("untrained", 60, step_s=0.0)
    rows = [quick, slow, busy, logged, expand, small, full, lobby, raw]
    pace = 0.011  # the median of 0.01, 0.011, 0.03, 0.02 and 0.01
    found = evened(rows)
    assert [one.step_s for one in found] == pytest.approx([pace] * 4 + [0.05, 0.006, pace, STEP_S, 0])
    assert [one.training_s for one in found[:4]] == pytest.approx([128 * 20 * pace] * 4)
    assert found[6].training_s == pytest.approx(1000 * 20 * pace)
    assert found[4:6] == [expand, small]
    assert [one.agreement for one in found] == [one.agreement for one in rows]


def test_cost__a_gate_saves_scoring_of_what_it_drops():
    gated = row(BOTH, 88, variant="gate", pool=250, scored_s=25.0)
    assert projected(gated, 86_400).student_s == pytest.approx(2160)


def test_build_page__tables_from_a_csv(from_csv: list[Row]):
    page = build_page(read_config("cpu"), from_csv, CURVE, OVERLAPS, ABOUT)
    first = table(page, "### Surveillance")
    assert first[0] == ["", "64", "128", "full", "untrained"]
    assert line(first, "paper, agreement (86,400 frames)") == ["85.56", "88.3", "88.5", "58.6"]
    assert line(first, "paper, total hours (times cheaper)")[:3] == ["1.9 (54)", "2 (50)", "104"]
    assert line(first, "**ours, agreement** (1,000 frames)") == ["84.0", "89.0 ± 1.4", "91.0", "60.0"]
    assert line(first, "**ours, accuracy**, against truth") == ["70.0", "75.0 ± 1.4", "75.0", "55.0"]
    assert line(first, "total s, measured") == ["368.8", "637.6", "1200.0", "–"]
    assert line(first, "times cheaper than full, measured") == ["3.3", "1.9", "1", "–"]
    assert line(first, "hours at 86,400 frames, projected") == ["2.47", "2.55", "28.80", "–"]
    second = table(page, "## Table 2: which frames (n = 128)")
    assert line(second, "intermittent (uniform)")[:5] == ["73.1", "0.15", "80.0", "70.0", "25.6"]
    third = table(page, "## Figure 3: untrained, trained, smaller")
    assert line(third, "paper, Coral")[:3] == ["78.2", "90.2", "89.6"]
    assert line(third, "**street**")[:4] == ["60.0", "89.0 ± 1.4", "87.0", "–"]
    fourth = table(page, "## Figure 4: mAP and the change of the confidence loss over the scale")
    assert line(fourth, "street")[:5] == ["128", "0", "0.90", "0.81", "0.81"]
    beyond = table(page, "## Beyond the paper")
    logged = line(beyond, "scores from the camera's log: confidence + precision, n = 128")
    assert logged[:3] == ["89.0", "88.0", "91.0"]  # without it: the same seed's
    assert logged[-2] == "107"  # 103,680 over 86.4 x 5 + 537.6
    how = table(page, "## How")
    assert line(how, "commit") == ["abcdef012345: 1 cells"]
    assert line(how, "date") == ["2026-11-20 08:00 UTC"]
    assert line(how, "machine") == ["a small machine; 2 at a time, 1 thread each"]
    assert line(how, "this page") == ["0123456789ab, 2026-11-21 12:00 UTC, on a machine"]
    assert line(how, "command") == [f"`{ABOUT.command}`"]


def test_build_page__cells_of_several_runs_are_told_apart(from_csv: list[Row]):
    later = Made("fedcba543210", "2026-11-21 09:00 UTC", "a small machine", 1, 2)
    about = replace(ABOUT, made=(MADE, later, later, Made()))
    how = table(build_page(read_config("cpu"), from_csv, CURVE, OVERLAPS, about), "## How")
    assert line(how, "commit") == ["abcdef012345: 1 cells; fedcba543210: 2 cells; not recorded: 1 cells"]
    assert line(how, "date") == ["2026-11-20 08:00 UTC to 2026-11-21 09:00 UTC"]
    assert line(how, "machine") == [
        "a small machine; 2 at a time, 1 thread each / a small machine; 1 at a time, 2 threads each"
    ]


def test_build_page__variants_are_paired_with_the_plain_cell_of_their_camera_and_seed():
    plain = [
        row(BOTH, 88, accuracy=0.80, seed=0), row(BOTH, 90, accuracy=0.81, seed=1),
        row(BOTH, 91, accuracy=0.82, seed=2),
        row(BOTH, 60, camera="lobby"), row(BOTH, 62, camera="lobby", seed=1), row(BOTH, 50, camera="far"),
    ]  # fmt: skip
    slow = {"variant": "expand", "step_s": 0.02, "training_s": 2 * plain[0].training_s}
    rows = [
        *plain,
        row(BOTH, 89, accuracy=0.70, seed=0, **slow), row(BOTH, 97, accuracy=0.75, seed=1, **slow),
        row(BOTH, 95, accuracy=0.84, seed=2, **slow), row(BOTH, 70, seed=7, **slow),
        row(BOTH, 66, camera="lobby", **slow), row(BOTH, 70, camera="lobby", seed=1, **slow),
    ]  # fmt: skip
    page = build_page(read_config("seeds"), rows, [], [], ABOUT)
    cells = line(table(page, "## Variants beside plain"), "ExpandNets, 4 times: confidence + precision, n = 128")
    # street, agreement: +1 +7 +4; lobby: +6 +8. Pooled variance (2 x 9 + 1 x 2) / 3; error sqrt(v (1/3 + 1/2)) / 2
    # street, accuracy: -10 -6 +2; lobby's truth is not known, so its column and *better in* go by agreement
    assert cells == ["+5.5 ± 2.4", "−4.7 ± 7.1", "−4.7 ± 6.1", "+7.0 ± 1.4", "–", "3 of 5", "2.00"]
    halved = [*plain, row(BOTH, 91, accuracy=0.81, variant="half-rate", step_s=0.03, training_s=90.0)]
    same = table(build_page(read_config("seeds"), halved, [], [], ABOUT), "## Variants beside plain")
    assert line(same, "half the learning rate: confidence + precision, n = 128")[-1] == "as plain"
    assert "## The claims" not in page  # this preset is not about them
    assert "Not shown" not in page


def test_build_page__variants_stand_in_one_order_and_are_told_apart():
    knobs = ("off", "ap", "loss")
    rows = [row(BOTH, 88, opt_resolution=opt, variant=variant) for variant in ("plain", "gate") for opt in knobs]
    page = build_page(read_config("cpu"), rows, [], [], ABOUT)
    for heading in ("## Beyond the paper", "## Variants beside plain"):
        title = "near-duplicate gate: confidence + precision, n = 128"
        assert [cells[0] for cells in table(page, heading)[2:]] == [
            f"{title}, optResolution by ap", f"{title}, optResolution by loss", title
        ]  # fmt: skip


def test_build_page__bad_news_first(from_csv: list[Row]):
    bad = [*from_csv, *(row(arm, 95) for arm in ("confidence-sum", "precision"))]
    page = build_page(read_config("cpu"), bad, CURVE, OVERLAPS, ABOUT)
    told = page.index("**S2 is contradicted**")
    assert told < page.index("Not shown: ") < page.index("## The claims")
    assert "| S2 |" in page[told:]


def test_build_page__figures_that_mean_nothing_mark_nothing(from_csv: list[Row]):
    bad = [*from_csv, *(row(arm, 95) for arm in ("confidence-sum", "precision"))]
    page = build_page(read_config("smoke"), bad, CURVE, OVERLAPS, ABOUT)
    assert "**These figures prove nothing**" in page
    assert {cells[2] for cells in table(page, "## The claims")[2:]} == {"**not shown**"}


def test_build_page__failures_are_told(from_csv: list[Row]):
    about = About("cpu", "m", "d", "c", "x", real_footage=True, failures={"lobby full-s0": "out of | memory"})
    page = build_page(read_config("cpu"), from_csv, [], [], about)
    assert "- lobby full-s0: out of \\| memory" in page
    assert "**A wiring test on real footage**" in page


def test_write_results__plots_are_files_for_both_schemes(tmp_path: Path):
    page = write_results(tmp_path / "r", read_config("cpu"), rows=ROWS, curves=CURVE, overlaps=OVERLAPS, about=ABOUT)
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]*\]\((\w+\.svg)\)", text)
    assert pictures == ["sizes.svg", "arms.svg", "cameras.svg", "curves.svg"]
    for name in pictures:
        svg = (tmp_path / "r" / name).read_text(encoding="utf-8")
        assert svg.startswith("<svg ")
        assert "prefers-color-scheme:dark" in svg
        assert 'xmlns="http://www.w3.org/2000/svg"' in svg
        assert "#0101" not in svg  # every stand-in colour was replaced
    assert {one.name for one in (tmp_path / "r").iterdir()} == {
        "index.md",
        "results.csv",
        "curves.csv",
        "overlaps.csv",
        *pictures,
    }
