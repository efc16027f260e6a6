"""The plot of candidates for a camera's student."""

from __future__ import annotations

from xml.etree import ElementTree

from dataset_culling.report.charts.students import ACCURACY, AGREEMENT, Dot, students_svg

DOTS = [
    Dot("small", 10.0, 0.70, 0.60, True, False),
    Dot("large", 40.0, 0.80, 0.65, True, False),
    Dot("slow", 60.0, 0.75, 0.50, False, False),
    Dot("teacher", 90.0, 1.00, 0.70, False, True),
]


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(one.itertext()).strip() for one in root.iter() if one.tag.endswith("}text")]


def test_students_svg__names_all_candidates_and_calls_agreement_agreement():
    drawn = students_svg(DOTS, chosen="small", engine="torch on a toaster", budget_ms=50)
    found = texts(drawn)
    assert {"small", "large", "slow", "teacher", AGREEMENT, ACCURACY, "torch on a toaster"} <= set(found)
    assert found.count("Pareto front") == 1  # on the panel that it was taken from
    assert found.count("chosen: small") == found.count("budget: 50 ms") == 2
    assert found.count("the run's teacher: agrees with itself") == 1
    assert drawn == students_svg(DOTS, chosen="small", engine="torch on a toaster", budget_ms=50)


def test_students_svg__without_truth_there_is_no_accuracy():
    alone = [Dot(one.name, one.latency_ms, one.agreement, None, one.on_front, one.is_teacher) for one in DOTS]
    assert ACCURACY not in texts(students_svg(alone, chosen="", engine="torch"))
