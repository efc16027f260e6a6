from pathlib import Path

import pytest

from conftest import REPOSITORY
from dataset_culling.errors import ConfigError
from dataset_culling.fleet.config import minutes_of, read_fleet, set_paused

GOOD = """\
fleet: lot
defaults:
  time_zone: Europe/Berlin
  hour: 2
cameras:
  - name: entrance  # the gate
    source: s3://footage/entrance/
  - {name: yard, source: s3://footage/yard/, hour: 22:30, paused: true}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cameras.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_read_fleet__defaults_lie_under_every_camera(tmp_path):
    fleet = read_fleet(write(tmp_path, GOOD))
    entrance, yard = fleet.cameras["entrance"].camera, fleet.cameras["yard"].camera
    assert (entrance.hour, entrance.time_zone, entrance.paused) == (120, "Europe/Berlin", False)
    assert (yard.hour, yard.paused) == (22 * 60 + 30, True)  # of which YAML 1.1 would make the number 1350


@pytest.mark.parametrize(
    ("written", "minutes"), [("1:39", 99), ("01:39", 99), ("08", 480), ("0", 0), ("0:00", 0), ("23:59", 1439)]
)
def test_read_fleet__times_mean_what_is_written(tmp_path, written, minutes):
    """YAML 1.1 makes the number 99 of 1:39, the text '01:39' of 01:39, and the text '08' of 08."""
    fleet = read_fleet(write(tmp_path, GOOD.replace("hour: 2\n", f"hour: {written}\n")))
    assert fleet.cameras["entrance"].camera.hour == minutes


@pytest.mark.parametrize(
    ("said", "minutes"),
    [(0, 0), (23, 1380), ("02:30", 150), ("08", 480), (90, -1), (24, -1), (1440, -1), ("25:00", -1), (1.5, -1)],
)
def test_minutes_of__hours_and_times(said, minutes):
    assert minutes_of(said) == minutes


def test_read_fleet__settings_become_the_pipelines_parameters(tmp_path):
    text = GOOD.replace(
        "    source: s3://footage/entrance/\n",
        "    source: s3://footage/entrance/\n"
        "    preset: tiny\n"
        "    classes: [person, vehicle=car+truck]\n"
        "    budget: {target: 12, pool: 48}\n"
        "    gate: {mode: manual, min_gain: 0.02}\n"
        "    teacher: {name: tiny_teacher, weights: s3://models/t.safetensors}\n"
        "    settings: {train_student: {recipe: {epochs: 3}}}\n",
    )
    arguments = read_fleet(write(tmp_path, text)).cameras["entrance"].arguments
    assert arguments["camera"] == "entrance"
    assert arguments["footage"] == ["s3://footage/entrance/"]
    assert arguments["classes"] == ["person", "vehicle=car+truck"]
    assert (arguments["target"], arguments["pool"], arguments["epochs"]) == (12, 48, 3)
    assert arguments["promotion"] == "manual"
    assert arguments["promote_student_config"]["min_gain"] == 0.02
    assert arguments["teacher_weights"] == "s3://models/t.safetensors"
    assert arguments["student"] == "tiny"  # the preset's


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("hour: 2\n", "hour: 25\n"), "line 4: camera 'entrance': 'hour': wanted an hour"),
        (("Europe/Berlin", "Europe/Berlln"), "line 3: camera 'entrance': 'time_zone': .* Did you mean 'Europe/Berlin'"),
        (("name: yard", "name: entrance"), "line 8: .*the name is taken by the camera of line 6"),
        (
            ("source: s3://footage/yard/", "sauce: s3://x/"),
            "line 8: .*'sauce' is an unknown key. Did you mean 'source'",
        ),
        (("s3://footage/entrance/", "5"), "line 7: camera 'entrance': 'source': wanted"),
        (("s3://footage/entrance/", "/data/entrance"), "line 7: camera 'entrance': 'source': wanted s3://"),
        (("s3://footage/entrance/", "s3://a/\n    preset: tinny"), "line 8: .*Did you mean 'tiny'"),
        (("s3://footage/entrance/", "s3://a/\n    student: {name: yolox_nanno}"), "line 8: .*mean 'yolox_nano'"),
        (("s3://footage/entrance/", "s3://a/\n    settings: {train_student: {recipe: {epoch: 3}}}"), "line 8: .*epoch"),
        (("s3://footage/entrance/", "s3://a/\n    budget:\n      target: 0"), "line 9: .*'budget.target': wanted"),
        (("    source: s3://footage/entrance/\n", ""), "line 6: camera 'entrance': 'source' is missing"),
        (("fleet: lot", "fleet: lot\nfleet: yard"), "line 2: 'fleet' is there a second time"),
        (("fleet: lot", "fleet: lot\nspred_s: 5"), "line 2: 'spred_s' is an unknown key. Did you mean 'spread_s'"),
        (("fleet: lot", "fleet: [lot"), "line 2: expected YAML"),
        (("hour: 2\n", "hour: 010\n"), "line 4: camera 'entrance': 'hour': wanted an hour"),
        (("hour: 2\n", "hour: 1:39:00\n"), "line 4: camera 'entrance': 'hour': wanted an hour"),
        (("fleet: lot", "fleet: lot\nspread_s: 1:30"), "line 2: 'spread_s': wanted"),
        (("hour: 2\n", "hour: 99\n"), "line 4: camera 'entrance': 'hour': wanted an hour"),
        (("hour: 2\n", "hour: 2.5\n"), "line 4: camera 'entrance': 'hour': wanted an hour"),
        (("s3://footage/entrance/", "s3://a/{day}/\n    hour: \"23:30\""), "line 8: .*'hour': 23:30 .*over midnight"),
    ],
)  # fmt: skip
def test_read_fleet__errors_name_the_line(tmp_path, change, said):
    path = write(tmp_path, GOOD.replace(*change))
    with pytest.raises(ConfigError, match=said) as error:
        read_fleet(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_read_fleet__all_problems_at_once(tmp_path):
    text = GOOD.replace("s3://footage/entrance/", "/data").replace("22:30", "9999")
    with pytest.raises(ConfigError, match=r"line 7: .*; line 8: "):
        read_fleet(write(tmp_path, text))


def test_set_paused__changes_nothing_else(tmp_path):
    path = write(tmp_path, GOOD)
    assert set_paused(path, ("entrance", "yard"), True) == ["entrance"]
    assert path.read_text() == GOOD.replace("  - name: entrance", "  - paused: true\n    name: entrance")
    assert set_paused(path, ("entrance", "yard"), False) == ["entrance", "yard"]
    assert path.read_text() == GOOD.replace("  - name: entrance", "  - paused: false\n    name: entrance").replace(
        "paused: true}", "paused: false}"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["cameras.yaml"]


def test_set_paused__an_alias_is_left_alone(tmp_path):
    text = GOOD.replace("paused: true}", "paused: &off true}").replace(
        "    source: s3://footage/e", "    paused: *off\n    source: s3://footage/e"
    )
    path = write(tmp_path, text)
    before = path.read_text()
    with pytest.raises(ConfigError, match=r"cameras\.yaml"):
        set_paused(path, ("entrance",), False)  # *off resolves to the node of yard
    assert path.read_text() == before


def test_set_paused__an_anchor_is_left_alone(tmp_path):
    path = write(tmp_path, GOOD.replace("paused: true}", "paused: &off true}"))
    before = path.read_text()
    with pytest.raises(ConfigError, match=r"cameras\.yaml: 'paused: false' cannot be written in place"):
        set_paused(path, ("yard",), False)  # others may refer to the anchor
    assert path.read_text() == before


def test_read_fleet__the_example_is_fine():
    fleet = read_fleet(REPOSITORY / "manifests/examples/cameras.yaml")
    assert len(fleet.cameras) >= 3
    assert any(each.camera.paused for each in fleet.cameras.values())
