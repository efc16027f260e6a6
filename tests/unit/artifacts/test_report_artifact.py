"""report/1: page and summary, written and checked when read."""

from __future__ import annotations

import pytest

from dataset_culling.artifacts.header import Origin, read_header
from dataset_culling.artifacts.report import PAGE, SCHEMA, page_file, read_summary, write_report
from dataset_culling.errors import CorruptArtifact


def test_report__round_trip(tmp_path):
    write_report(tmp_path, "<!doctype html>é", {"map_50_raw": 0.5, "stage_seconds": {"a": 1.0}}, Origin("test"))
    assert read_summary(tmp_path) == {"map_50_raw": 0.5, "stage_seconds": {"a": 1.0}}
    assert page_file(tmp_path).read_text(encoding="utf-8") == "<!doctype html>é"
    assert read_header(tmp_path, SCHEMA).counts == {"page_bytes": 17}


def test_report__a_changed_page_is_refused(tmp_path):
    write_report(tmp_path, "<!doctype html>", {}, Origin("test"))
    (tmp_path / PAGE).write_text("<!doctype htmx>")
    with pytest.raises(CorruptArtifact, match="sha256"):
        page_file(tmp_path)


def test_report__nan_is_refused_and_leaves_no_header(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path, "", {"map_50_raw": float("nan")}, Origin("test"))
    assert not (tmp_path / "artifact.json").exists()
