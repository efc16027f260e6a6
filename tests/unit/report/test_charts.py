"""Charts of the page, from the metrics of an evaluation."""

from __future__ import annotations

from dataset_culling.report.charts.accuracy import accuracy_chart, accuracy_rows

METRICS = {
    "map_50_raw": 0.6, "map_50_trained": 0.8, "map_50_champion": 0.75, "ap_50_person_raw": 0.5,
    "ap_50_person_trained": 0.7, "hour_07_map_50_raw": 0.4, "hour_07_map_50_trained": 0.65,
    "hour_08_map_50_raw": 0.62, "low_95_map_50_trained": 0.77, "high_95_map_50_trained": 0.83,
}  # fmt: skip


def test_accuracy_rows__hours_stand_below_classes_where_there_are_several():
    assert accuracy_rows(METRICS, ["person"]) == [
        ("all classes", "map_50"),
        ("person", "ap_50_person"),
        ("07 to 08 h", "hour_07_map_50"),
        ("08 to 09 h", "hour_08_map_50"),
    ]
    one_hour = {key: value for key, value in METRICS.items() if not key.startswith("hour_08")}
    assert accuracy_rows(one_hour, [])[-1] == ("all classes", "map_50")
    assert accuracy_rows({"map_50_raw": 0.1, "elapsed_hour_00_map_50_raw": 0.1, "elapsed_hour_01_map_50_raw": 0.2}, [])[
        1:
    ] == [("hour 1", "elapsed_hour_00_map_50"), ("hour 2", "elapsed_hour_01_map_50")]


def test_accuracy_chart__champion_and_intervals_are_shown():
    chart = accuracy_chart(METRICS, ["person"])
    assert chart is not None
    assert chart.title == "By class, object size and hour"
    assert chart.table.columns == ("", "Raw", "Champion", "Trained")
    assert chart.table.rows[0] == ("all classes", "60.0", "75.0", "80.0 (77.0 to 83.0)")
    assert chart.table.rows[2] == ("07 to 08 h", "40.0", "–", "65.0")
    assert "The deployed champion has 75.0." in chart.alt
    assert "block bootstrap" in chart.text
    assert ">champion<" in chart.wide_svg
    plain = accuracy_chart({"map_50_raw": 0.6, "map_50_trained": 0.8}, [])
    assert plain is not None
    assert "bootstrap" not in plain.text
    assert ">champion<" not in plain.wide_svg
