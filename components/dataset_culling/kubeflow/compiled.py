"""Compiled pipelines: what a YAML file holds, and one compiled on the spot."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dataset_culling.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CompiledPipeline:
    """A compiled pipeline file."""

    path: Path
    name: str
    digest: str
    defaults: Mapping[str, Any] = field(repr=False)
    """Parameter -> default; None where it must be given."""
    tasks: Mapping[str, str] = field(repr=False)
    """Task's name -> its name in the UI."""

    @property
    def version(self) -> str:
        """Name of its version in KFP: equal bytes, one version."""
        return f"{self.name}-{self.digest[:16]}"


def read_compiled(path: Path) -> CompiledPipeline:
    """Read a file that `culling compile` wrote.

    Raises:
        ConfigError: If the file is missing or holds something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a compiled pipeline, found {error.strerror}. Run culling compile."
        ) from None
    try:
        spec = next(each for each in yaml.load_all(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if each)
        inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        tasks = spec["root"]["dag"]["tasks"]
        return CompiledPipeline(
            path=path,
            name=str(spec["pipelineInfo"]["name"]),
            digest=hashlib.sha256(data).hexdigest(),
            defaults={name: entry.get("defaultValue") for name, entry in inputs.items()},
            tasks={name: str(entry.get("taskInfo", {}).get("name", name)) for name, entry in tasks.items()},
        )
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: expected a pipeline that culling compile wrote, found {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'nothing'}. Compile it again."
        ) from None


@contextmanager
def compiled_pipeline(path: Path | None, profile: str, image: str) -> Iterator[CompiledPipeline]:
    """Give the compiled pipeline in a file; without one, compile it into a temporary file."""
    if path is not None:
        yield read_compiled(path)
        return
    from dataset_culling.kubeflow.pipeline import compile_pipeline

    with tempfile.TemporaryDirectory(prefix="culling-") as folder:
        made = Path(folder) / "pipeline.yaml"
        compile_pipeline(made, profile, image)
        yield read_compiled(made)


def differing(arguments: Mapping[str, Any], defaults: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the arguments that differ from the pipeline's defaults, which keeps requests and the UI short.

    Raises:
        ConfigError: If the pipeline lacks such a parameter.
    """
    for name in arguments:
        if name not in defaults:
            raise ConfigError(
                f"{where}: the pipeline was compiled without the parameter '{name}'. "
                f"Compile it again with this version: culling compile."
            )
    return {name: value for name, value in arguments.items() if defaults[name] != value}
