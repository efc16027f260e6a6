"""What a kept night is called: by its footage, so that the same night kept twice is one night."""

from __future__ import annotations

from pathlib import Path

from dataset_culling.artifacts.frames import SCHEMA
from dataset_culling.artifacts.header import digest, read_header


def name_of_night(heldout: Path) -> str:
    """16 hex digits of the digest of the night's held-out frames/1.

    Raises:
        ArtifactError: If it is no frames/1.
    """
    read_header(heldout, SCHEMA)
    return digest(heldout)[:16]
