"""Fingerprints of files outside the artifacts: footage, weights, truth."""

from __future__ import annotations

import glob
from pathlib import Path

from dataset_culling.storage import is_remote, list_prefix


def fingerprint(uri: str) -> str:
    """Return a text that changes with the content at `uri`: size and time of change, or the object's etag.

    A name that is no path at all (torchvision's COCO_V1) stands for itself.
    """
    if is_remote(uri):
        return "\n".join(f"{found.key} {found.size} {found.etag}" for found in list_prefix(uri))
    paths = [Path(found) for found in sorted(glob.glob(uri))] if glob.has_magic(uri) else [Path(uri)]
    lines = []
    for path in paths:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            lines.append(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}" if file.is_file() else str(file))
    return "\n".join(lines)
