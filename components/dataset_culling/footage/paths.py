"""A video's place: a file, or an object in a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RemoteVideo:
    """A video in an object store, read by byte ranges and never copied as a whole."""

    uri: str
    num_bytes: int
    etag: str

    @property
    def name(self) -> str:
        """The last part of the URI."""
        return self.uri.rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self.uri


VideoPath = Path | RemoteVideo
