"""report/1: the page that people look at and the summary that machines read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataset_culling.artifacts.header import Origin, check_file, read_header, read_json_file, write_artifact

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
    """Read and check the summary.

    Raises:
        ArtifactError: If it is no report/1, or damaged.
    """
    found: dict[str, Any] = read_json_file(path, read_header(path, SCHEMA), SUMMARY)
    return found


def page_file(path: Path) -> Path:
    """Where the checked page lies.

    Raises:
        ArtifactError: If it is no report/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    return check_file(path, PAGE, header.files.get(PAGE, {"bytes": 0, "sha256": ""}))
