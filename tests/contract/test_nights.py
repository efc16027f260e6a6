"""Kept nights, in a folder and in a real bucket: whole or absent, once, bounded, fetched as they were kept."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest

from builders import frame
from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.labels import read_labels, write_labels
from dataset_culling.errors import CorruptObject
from dataset_culling.registry.models import Registry
from dataset_culling.registry.nights import Night, Nights, appearance_of, most_redundant
from dataset_culling.storage import LocalStore
from dataset_culling.types import Detections
from s3_server import shared_server

ORIGIN = Origin("test")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.store)])
def nights(request: pytest.FixtureRequest, tmp_path: Path) -> Nights:
    if request.param == "folder":
        return Nights(Registry(LocalStore(tmp_path / "registry")))
    return Nights(Registry(shared_server().store(), f"nights/{uuid.uuid4().hex}/"))


def night_on_disk(folder: Path, level: int) -> Path:
    """Two frames of one grey level, a box on each."""
    images = [np.full((16, 24, 3), level, np.uint8) for _ in range(2)]
    with FrameWriter(folder / "frames", origin=ORIGIN) as writer:
        for number, image in enumerate(images):
            writer.add(1000 * number, float(number), image)
    labels = Detections.from_images(
        [frame((0, 0.9, 1, 1, 9, 9))] * 2, frame_ids=np.array([0, 1000]), time_s=np.array([0.0, 1.0]),
        class_names=("person",),
    )  # fmt: skip
    write_labels(folder / "labels", labels, np.array([24, 24]), np.array([16, 16]), ORIGIN)
    return folder


def keep(nights: Nights, folder: Path, name: str, level: int, start_utc: str = "") -> Night:
    made = night_on_disk(folder / name, level)
    return nights.keep(
        "door", made / "frames", made / "labels", night_id=name, start_utc=start_utc, train=[0], heldout=[1000],
        class_names=("person",), look=appearance_of([np.full((16, 24, 3), level, np.uint8)]), version=3,
    )  # fmt: skip


def test_keep__once_and_fetched_as_it_was(nights, tmp_path):
    first = keep(nights, tmp_path, "aa", 10, "2026-11-02T20:00:00+00:00")
    assert keep(nights, tmp_path / "again", "aa", 200) == first
    assert keep(nights, tmp_path, "bb", 200, "2026-11-01T20:00:00+00:00").date == "20261101"
    assert [night.id for night in nights.all("door")] == ["bb", "aa"]
    got = nights.fetch("door", first, tmp_path / "got")
    assert FrameReader(got["frames"]).image(1000).mean() == pytest.approx(10, abs=2)
    assert read_labels(got["labels"]).frame_ids.tolist() == [0, 1000]
    assert nights.all("window") == []


def test_fetch__a_changed_file_is_refused_and_leaves_nothing(nights, tmp_path):
    found = keep(nights, tmp_path, "aa", 10)
    key = next(one.key for one in nights.store.find(nights.registry.prefix) if one.key.endswith("labels/labels.json"))
    nights.store.put_bytes(key, b"{}")
    with pytest.raises(CorruptObject, match=r"labels\.json"):
        nights.fetch("door", found, tmp_path / "got")
    assert not list(tmp_path.glob("*got*"))


def test_all__a_night_without_its_last_file_is_none(nights, tmp_path):
    keep(nights, tmp_path, "aa", 10)
    key = next(one.key for one in nights.store.find(nights.registry.prefix) if one.key.endswith("night.json"))
    nights.store.delete(key)
    assert nights.all("door") == []
    assert keep(nights, tmp_path / "again", "aa", 10).id == "aa"
    nights.store.put_bytes(key, b'{"id": "aa"}')
    with pytest.raises(CorruptObject, match="a kept night"):
        nights.all("door")


def test_thin__of_two_alike_the_older_goes(nights, tmp_path):
    for day, (name, level) in enumerate([("dark", 10), ("day1", 200), ("dusk", 100), ("day2", 205)], start=1):
        keep(nights, tmp_path, name, level, f"2026-11-0{day}T12:00:00+00:00")
    assert nights.thin("door", 3) == ("day1",)
    assert [night.id for night in nights.all("door")] == ["dark", "dusk", "day2"]
    assert nights.thin("door", 3) == ()


def test_check_set__the_last_one_counts(nights, tmp_path):
    assert nights.check_set("door") is None
    for name, level in (("one", 10), ("two", 90)):
        made = night_on_disk(tmp_path / name, level)
        nights.set_check("door", made / "frames", made / "labels", class_names=("person",))
    found = nights.check_set("door")
    assert found is not None
    assert (found.kind, found.heldout, found.train) == ("check", (0, 1000), ())
    got = nights.fetch("door", found, tmp_path / "got")
    assert FrameReader(got["frames"]).image(0).mean() == pytest.approx(90, abs=2)
    nights.drop_check("door")
    assert nights.check_set("door") is None
    assert nights.all("door") == []


def test_appearance_of__worked_by_hand():
    grey, red = np.full((4, 4, 3), 255, np.uint8), np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    look = appearance_of([grey, red])
    assert look[7] == 1.0  # both are bright in one channel
    assert (look[8], look[15]) == (0.5, 0.5)  # one without, one full of colour
    assert appearance_of([]) == (0.0,) * 16


def test_most_redundant__worked_by_hand():
    assert most_redundant([(0, 1), (1, 0), (0.1, 0.9), (0.95, 0.05)]) == 1
    assert most_redundant([(1, 0), (1, 0), (1, 0)]) == 0
