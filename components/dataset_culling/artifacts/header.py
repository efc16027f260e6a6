"""The header that every artifact carries: artifact.json, written last, so a directory without one is unfinished.

{"kind": "detections", "version": 1, "made_by": "score-frames", "config": {...}, "inputs": {"frames": "sha256..."},
 "files": {"scores.npy": {"bytes": 1234, "sha256": "..."}}, "counts": {"frames": 60, "boxes": 412}}

The header holds no time stamps: equal inputs give equal bytes. Figures that differ between runs (seconds, memory) lie
in timing.json, which the header does not list.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from dataset_culling.errors import ArtifactError, CorruptArtifact, OutputError, SchemaMismatch
from dataset_culling.storage.atomic import replacing

HEADER = "artifact.json"
TIMING = "timing.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Origin:
    """The writer of an artifact and its inputs, as the header records them."""

    made_by: str
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)  # input name -> digest of its header


@dataclass(frozen=True, slots=True)
class Header:
    """The contents of artifact.json."""

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
        """Return the path at which to write one of the artifact's files."""
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
        path: The directory. An old header is removed first; other files already there stay and are listed.
        schema: Kind and version, as 'detections/1'.
        origin: The writer and its inputs.

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
        ArtifactError: If the header is missing or cannot be parsed.
        SchemaMismatch: If the artifact is not a `schema`, where one is given.
    """
    try:
        values = json.loads((path / HEADER).read_text(encoding="utf-8"))
        header = Header(**{name: values[name] for name in Header.__dataclass_fields__})
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
    """Read the header and check the size and SHA-256 of every file.

    Raises:
        CorruptArtifact: If a file is missing or its size or bytes differ.
    """
    header = read_header(path, schema)
    for name in header.files:
        check_file(path, header, name)
    return header


def check_file(path: Path, header: Header, name: str) -> Path:
    """Check one file of an artifact against its header's entry and return its path."""
    file = path / name
    if name not in header.files:
        raise CorruptArtifact(file, expected="a file that the header lists", found="no such file in it")
    wanted = header.files[name]
    if not file.is_file():
        raise CorruptArtifact(file, expected=f"{wanted['bytes']} bytes", found="no such file")
    if (size := file.stat().st_size) != wanted["bytes"]:
        raise CorruptArtifact(file, expected=f"{wanted['bytes']} bytes", found=f"{size}")
    if (digest := sha256_file(file)) != wanted["sha256"]:
        raise CorruptArtifact(file, expected=f"sha256 {wanted['sha256'][:12]}", found=digest[:12])
    return file


def digest(path: Path) -> str:
    """Return the artifact's identity: SHA-256 of its header, which holds the SHA-256 of all else."""
    read_header(path)
    return sha256_file(path / HEADER)


def read_array(path: Path, header: Header, name: str) -> npt.NDArray[Any]:
    """Read and check NAME.npy of an artifact."""
    values: npt.NDArray[Any] = np.load(check_file(path, header, f"{name}.npy"), allow_pickle=False)
    return values


def read_json_file(path: Path, header: Header, name: str) -> Any:
    """Read and check one JSON file of an artifact."""
    return json.loads(check_file(path, header, name).read_text(encoding="utf-8"))


def read_record(path: Path, schema: str, name: str, kind: type[T], *, missing: T | None = None) -> T:
    """Read one JSON file of an artifact as a dataclass or another type.

    Args:
        path: The artifact's directory.
        schema: Kind and version that the artifact must have.
        name: The JSON file.
        kind: Type of the result; lists become tuples and objects become dataclasses as its annotations say.
        missing: Result for an artifact without this file; None: an artifact without it is corrupt.

    Raises:
        ArtifactError: If the artifact is not a `schema`, or the file is damaged or does not fit `kind`.
    """
    header = read_header(path, schema)
    if missing is not None and name not in header.files:
        return missing
    with corrupt_if_invalid(path / name, schema):
        return TypeAdapter(kind).validate_python(read_json_file(path, header, name))


@contextmanager
def corrupt_if_invalid(file: Path, schema: str) -> Iterator[None]:
    """Turn errors while parsing a file's values into CorruptArtifact."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptArtifact(file, expected=f"the fields of {schema}", found=f"{where}: {first['msg']}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifact(file, expected=f"the fields of {schema}", found=repr(error)) from None


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a temporary file and rename it to `path`."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
