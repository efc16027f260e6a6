"""Several results that appear together, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_culling.errors import OutputError
from dataset_culling.storage.atomic import appearing_together, check_writable


def test_appearing_together__all_at_the_end_and_older_ones_go(tmp_path: Path):
    out = tmp_path / "new" / "out"
    out.mkdir(parents=True)
    (out / "c.mp4").write_text("of an earlier call")
    with appearing_together(out, ["a.json", "b.txt"], stale=["c.mp4", "d"]) as (a, b):
        assert a.suffix == ".json"
        a.write_text("1")
        b.write_text("2")
        assert not (out / "a.json").exists()
    assert {file.name: file.read_text() for file in out.iterdir()} == {"a.json": "1", "b.txt": "2"}


def test_check_writable__makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path):
    check_writable(tmp_path / "new" / "out")
    assert list((tmp_path / "new" / "out").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/out: expected a folder to write to, found .* Choose another --out"):
        check_writable(tmp_path / "file" / "out")


def test_appearing_together__none_after_an_error(tmp_path: Path):
    def write() -> None:
        with appearing_together(tmp_path, ["a.json", "b"]) as (a, _):
            a.write_text("half")
            raise OSError(28, "No space left on device")

    (tmp_path / "a.json").write_text("before")
    with pytest.raises(OutputError, match="No space left"):
        write()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.json": "before"}
