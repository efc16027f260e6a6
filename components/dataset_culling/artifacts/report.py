"""report/1: the page for people and the summary for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import Origin, check_file, read_header, read_record, write_artifact

SCHEMA = "report/1"
PAGE = "report.html"
SUMMARY = "summary.json"


def write_report(path: Path, html: str, summary: Mapping[str, Any], origin: Origin) -> None:
    """Write page and summary into the directory `path`.

    Raises:
        ValueError: If a figure of the summary is NaN or infinite, which JSON cannot hold.
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.file(PAGE).write_text(html, encoding="utf-8", newline="\n")
        artifact.json(SUMMARY, dict(summary))
        artifact.counts["page_bytes"] = artifact.file(PAGE).stat().st_size


def read_summary(path: Path) -> dict[str, Any]:
    """Read and check the summary."""
    return read_record(path, SCHEMA, SUMMARY, dict[str, Any])


def page_file(path: Path) -> Path:
    """Return the path of the checked page."""
    return check_file(path, read_header(path, SCHEMA), PAGE)
