"""Files found and put in time order."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataset_culling.errors import FootageError
from dataset_culling.footage.find import Source, find_sources, order_by_time, time_in_name, utc_text
from dataset_culling.footage.probe import VideoInfo
from dataset_culling.stages.extract_frames.config import NAME_TIME_PATTERN
from dataset_culling.storage import Stat

PATTERN = re.compile(NAME_TIME_PATTERN)


@pytest.mark.parametrize(
    ("name", "utc"),
    [
        ("cam7/2026-11-20T14-30-05.mp4", "2026-11-20T14:30:05.000Z"),
        ("cam7/20261120_143005.mkv", "2026-11-20T14:30:05.000Z"),
        ("cam7_20261120-143005_main.mp4", "2026-11-20T14:30:05.000Z"),
        ("cam7/2026-11-20/14.30.05.mp4", "2026-11-20T14:30:05.000Z"),
        ("s3://bucket/camera/2026-11-20/14-30.mp4", "2026-11-20T14:30:00.000Z"),
        ("cam 2026-11-20 14:30:05.avi", "2026-11-20T14:30:05.000Z"),
        ("old/20250101_000000/20261120_143005.mp4", "2026-11-20T14:30:05.000Z"),
        ("segment_0007.mp4", ""),
        ("20269920_143005.mp4", ""),
    ],
)
def test_time_in_name__common_namings(name: str, utc: str) -> None:
    found = time_in_name(name, PATTERN, "UTC")
    assert (utc_text(found) if found else "") == utc


def test_time_in_name__in_the_cameras_time_zone() -> None:
    found = time_in_name("20260720_143005.mp4", PATTERN, "Europe/Berlin")
    assert found == datetime(2026, 7, 20, 12, 30, 5, tzinfo=UTC)


def bucket(*uris: str) -> Callable[[str], list[Stat]]:
    """The listing of an object store that holds these URIs."""
    return lambda uri: [Stat(u, 9, "1", u) for u in uris if u == uri or u.startswith(uri.rstrip("/") + "/")]


def on_disk(*sources: str) -> list[Source]:
    return find_sources(sources, list_objects=bucket())


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_find_sources__folder_glob_and_file_each_file_once(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.MKV", "notes.txt", "day/c.avi", ".hidden/d.mp4", ".e.mp4")
    found = on_disk(str(tmp_path), str(tmp_path / "*.mp4"), str(tmp_path / "b.mp4"))
    assert [Path(source.name).relative_to(tmp_path).as_posix() for source in found] == ["a.MKV", "b.mp4", "day/c.avi"]
    assert not any(source.explicit for source in found)


def test_find_sources__recursive_and_relative_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cam/1/a.mp4", "cam/2/b.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(on_disk("cam/**/*.mp4")) == 2
    assert len(on_disk(f"{tmp_path}/cam/*/a.mp4")) == 1


def test_find_sources__file_named_itself_need_not_end_like_a_video(tmp_path: Path) -> None:
    touch(tmp_path, "recording.dat")
    assert [source.explicit for source in on_disk(str(tmp_path / "recording.dat"))] == [True]


def test_find_sources__empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="no videos under it"):
        on_disk(str(tmp_path))


def test_find_sources__glob_without_a_match(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="no file matches"):
        on_disk(str(tmp_path / "*.mp4"))


DAY = tuple(f"s3://bucket/cam/2026-11-20/{name}" for name in ("10.mp4", "11.mp4", "12.mkv", "notes.txt", ".x.mp4"))


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("s3://bucket/cam", ["10.mp4", "11.mp4", "12.mkv"]),
        ("s3://bucket/cam/2026-11-20/", ["10.mp4", "11.mp4", "12.mkv"]),
        ("s3://bucket/cam/*/1?.mp4", ["10.mp4", "11.mp4"]),
        ("s3://bucket/cam/2026-11-20/*.mkv", ["12.mkv"]),
        ("s3://bucket/cam/2026-11-20/notes.txt", ["notes.txt"]),
    ],
)
def test_find_sources__prefix_pattern_and_object(source: str, names: list[str]) -> None:
    found = find_sources([source], list_objects=bucket(*DAY))
    assert [file.path.name for file in found] == names
    assert all(file.explicit is (file.name == source) for file in found)


def test_find_sources__prefix_with_nothing_under_it() -> None:
    with pytest.raises(FootageError, match="s3://bucket/other: no videos under it"):
        find_sources(["s3://bucket/other"], list_objects=bucket(*DAY))


def info(path: Path, *, duration_s: float = 60, created: datetime | None = None) -> VideoInfo:
    return VideoInfo(path, "mp4", "h264", 64, 48, 0, 1.0, 25.0, duration_s, created)


def ordered(
    tmp_path: Path, names: list[str], *, created: list[datetime | None] | None = None, ends_s: list[float] | None = None
) -> tuple[list[str], list[datetime | None], str]:
    touch(tmp_path, *names)
    for name, end_s in zip(names, ends_s or [], strict=False):
        os.utime(tmp_path / name, (end_s, end_s))
    sources = [Source(tmp_path / name, explicit=False) for name in names]
    times = created or [None] * len(names)
    infos = [info(tmp_path / source.path.name, created=time) for source, time in zip(sources, times, strict=True)]
    order, starts, how = order_by_time(sources, infos, pattern=PATTERN, zone="UTC")
    return [names[row] for row in order], starts, how


def at(minute: int) -> datetime:
    return datetime(2026, 11, 20, 14, minute, tzinfo=UTC)


def test_order_by_time__names_come_first(tmp_path: Path) -> None:
    names, starts, how = ordered(tmp_path, ["x_20261120_1431.mp4", "y_20261120_1430.mp4"], created=[at(1), at(2)])
    assert names == ["y_20261120_1430.mp4", "x_20261120_1431.mp4"]
    assert starts == [at(30), at(31)]
    assert "file names" in how


def test_order_by_time__then_the_container(tmp_path: Path) -> None:
    names, starts, how = ordered(tmp_path, ["1.mp4", "2.mp4"], created=[at(9), at(3)])
    assert (names, starts) == (["2.mp4", "1.mp4"], [at(3), at(9)])
    assert "container" in how


def test_order_by_time__one_creation_time_for_all_is_none(tmp_path: Path) -> None:
    _, starts, how = ordered(tmp_path, ["1.mp4", "2.mp4"], created=[at(9), at(9)], ends_s=[1000, 1000])
    assert starts == [None, None]
    assert "names" in how


def test_order_by_time__then_modification_times_as_the_ends_of_recordings(tmp_path: Path) -> None:
    names, starts, how = ordered(tmp_path, ["a.mp4", "b.mp4"], ends_s=[2_000_000_120, 2_000_000_058])
    assert names == ["b.mp4", "a.mp4"]
    assert [start.timestamp() for start in starts if start] == [1_999_999_998, 2_000_000_060]
    assert "modification" in how


def test_order_by_time__copied_files_go_by_natural_names(tmp_path: Path) -> None:
    names, starts, how = ordered(tmp_path, ["cam10.mp4", "cam9.mp4"], ends_s=[2_000_000_001, 2_000_000_002])
    assert (names, starts) == (["cam9.mp4", "cam10.mp4"], [None, None])
    assert "one right after another" in how


def test_order_by_time__one_file_without_a_time(tmp_path: Path) -> None:
    assert ordered(tmp_path, ["a.mp4"])[1] == [None]
