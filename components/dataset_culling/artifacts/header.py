"""The header that every artifact carries: artifact.json, written last, so a directory without one is unfinished.

{"kind": "detections", "version": 1, "made_by": "score-frames", "config": {...}, "inputs": {"frames": "sha256..."},
 "files": {"scores.npy": {"bytes": 1234, "sha256": "..."}}, "counts": {"frames": 60, "boxes": 412}}

No time stamps: equal inputs give equal bytes. What does differ between runs (seconds, memory) lies in timing.json
beside it, which the header does not list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataset_culling.errors import ArtifactError, CorruptArtifact, OutputError, SchemaMismatch
from dataset_culling.storage.atomic import replacing

HEADER = "artifact.json"
TIMING = "timing.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who writes an artifact, from what: goes into its header."""

    made_by: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)  # input name -> digest of its header


@dataclass(frozen=True, slots=True)
class Header:
    """artifact.json, read."""

    kind: str
    version: int
    made_by: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: Mapping[str, Mapping[str, Any]]
    counts: Mapping[str, int]

    @property
    def schema(self) -> str:
        """Kind and version, as 'frames/1'."""
        return f"{self.kind}/{self.version}"


class ArtifactWriter:
    """Collects an artifact's files and counts; the header is written on a clean exit of `write_artifact`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = {}

    def file(self, name: str) -> Path:
        """Where to write one of the artifact's files."""
        return self.path / name

    def array(self, name: str, values: npt.NDArray[Any]) -> None:
        """Write one array as NAME.npy."""
        np.save(self.path / f"{name}.npy", values, allow_pickle=False)

    def json(self, name: str, value: Any) -> None:
        """Write one JSON file: sorted keys, one final newline."""
        write_json(self.path / name, value)


@contextmanager
def write_artifact(path: Path, schema: str, origin: Origin) -> Iterator[ArtifactWriter]:
    """Write an artifact into the directory `path`, which need not exist; its header comes last.

    Args:
        path: The directory. Files already in it stay and are counted in, but for an old header, removed first.
        schema: Kind and version, as 'detections/1'.
        origin: Who writes it, from what.

    Raises:
        OutputError: If the directory cannot be written (no permission, disk full, a file in the way).
    """
    kind, _, version = schema.partition("/")
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / HEADER).unlink(missing_ok=True)
        writer = ArtifactWriter(path)
        yield writer
        files = {
            str(file.relative_to(path)): {"bytes": file.stat().st_size, "sha256": sha256_file(file)}
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name not in (HEADER, TIMING)
        }
        header = {
            "kind": kind,
            "version": int(version),
            "made_by": origin.made_by,
            "config": dict(origin.config),
            "inputs": dict(sorted(origin.inputs.items())),
            "files": files,
            "counts": writer.counts,
        }
        write_json(path / HEADER, header)
    except OSError as error:
        raise OutputError(
            f"{error.filename or path}: expected to write {schema}, found {error.strerror or error}. "
            f"Free space or choose another --out."
        ) from error


def read_header(path: Path, schema: str | None = None) -> Header:
    """Read the header of the artifact in directory `path`.

    Raises:
        ArtifactError: If there is none or it is no header.
        SchemaMismatch: If it is not of `schema`, where one is given.
    """
    try:
        values = json.loads((path / HEADER).read_text(encoding="utf-8"))
        header = Header(
            kind=values["kind"],
            version=int(values["version"]),
            made_by=values["made_by"],
            config=values["config"],
            inputs=values["inputs"],
            files=values["files"],
            counts=values["counts"],
        )
    except FileNotFoundError:
        what = "nothing" if not path.exists() else "a directory without one" if path.is_dir() else "a file"
        raise ArtifactError(
            f"{path}: expected an artifact with {HEADER}, found {what}. Check the path or re-run the stage before."
        ) from None
    except NotADirectoryError:
        raise ArtifactError(f"{path}: expected an artifact directory, found a file. Check the path.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path / HEADER}: expected an artifact's header, found {error!r}. Delete the directory, re-run its stage."
        ) from None
    if schema is not None and header.schema != schema:
        raise SchemaMismatch(path, expected=schema, found=header.schema)
    return header


def verify(path: Path, schema: str | None = None) -> Header:
    """Read the header and check every file's size and SHA-256.

    Raises:
        CorruptArtifact: If a file is missing, of another size or of other bytes.
    """
    header = read_header(path, schema)
    for name, wanted in header.files.items():
        check_file(path, name, wanted)
    return header


def check_file(path: Path, name: str, wanted: Mapping[str, Any]) -> Path:
    """Check one file of an artifact against its header's entry, and return where it lies."""
    file = path / name
    if not file.is_file():
        raise CorruptArtifact(file, expected=f"{wanted['bytes']} bytes", found="no such file")
    if (size := file.stat().st_size) != wanted["bytes"]:
        raise CorruptArtifact(file, expected=f"{wanted['bytes']} bytes", found=f"{size}")
    if (digest := sha256_file(file)) != wanted["sha256"]:
        raise CorruptArtifact(file, expected=f"sha256 {wanted['sha256'][:12]}", found=digest[:12])
    return file


def digest(path: Path) -> str:
    """The artifact's identity: SHA-256 of its header, which holds the SHA-256 of all else."""
    read_header(path)
    return sha256_file(path / HEADER)


def read_array(path: Path, header: Header, name: str) -> npt.NDArray[Any]:
    """Read and check NAME.npy of an artifact."""
    file = f"{name}.npy"
    if file not in header.files:
        raise CorruptArtifact(path / file, expected="the file in the header's list", found="no entry")
    values: npt.NDArray[Any] = np.load(check_file(path, file, header.files[file]), allow_pickle=False)
    return values


def read_json_file(path: Path, header: Header, name: str) -> Any:
    """Read and check one JSON file of an artifact."""
    if name not in header.files:
        raise CorruptArtifact(path / name, expected="the file in the header's list", found="no entry")
    return json.loads(check_file(path, name, header.files[name]).read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON beside `path` and rename it there: whole or not at all."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
