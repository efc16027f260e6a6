"""Object storage behind one protocol (interim: local paths only)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dataset_culling.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Stat:
    """One object."""

    key: str
    size: int
    etag: str


def is_remote(uri: str) -> bool:
    """Whether a URI names an object store."""
    return uri.startswith(("s3://", "minio://"))


def fetch(uri: str, to: Path) -> Path:
    """Bring an object to this machine."""
    raise ConfigError(f"{uri}: no object store yet")


def list_prefix(uri: str) -> list[Stat]:
    """Objects under a prefix."""
    raise ConfigError(f"{uri}: no object store yet")
