"""A stage's report to KFP about its outputs: reads the executor input, writes the executor output. Imports no kfp."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.storage.atomic import replacing

PAGES: Mapping[str, tuple[str, str]] = {"page": ("report", "report.html")}
"""KFP output -> the stage's output and the file in it that is copied there. The UI shows a file, never a directory."""


def write_executor_output(
    executor_input: str, outputs: Mapping[str, Path], metadata: Mapping[str, Mapping[str, float | str]]
) -> None:
    """Write the executor output where the executor input says, listing every output.

    Args:
        executor_input: KFP's `{{$}}`: JSON with `outputs.outputFile` and `outputs.artifacts`.
        outputs: Output name -> the directory that the stage wrote.
        metadata: Output name -> flat values to show beside it. Numbers that are not finite become text, as KFP's store
            takes none.

    Raises:
        ConfigError: If `executor_input` is invalid, or lacks one of `outputs`.
        OutputError: If the file cannot be written.

    Source:
        kubeflow/pipelines 2.17, backend/src/v2/component/launcher_v2.go (uploadOutputArtifacts, mergeRuntimeArtifacts).
    """
    known, output_file = _parse(executor_input)
    listed: dict[str, Any] = {}
    for name in outputs:
        if name not in known:
            raise ConfigError(
                f"--executor-input: expected output '{name}' in outputs.artifacts, found {', '.join(known) or '-'}. "
                f"Compile the pipeline again with this version."
            )
        listed[name] = _entry(known[name], metadata.get(name, {}))
    try:
        for page, (source, file) in PAGES.items():
            if page in known and source in outputs:
                shutil.copyfile(outputs[source] / file, _sibling(outputs[source], known[source], known[page]))
                listed[page] = _entry(known[page], {})
        output_file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(output_file) as part:
            part.write_text(json.dumps({"parameterValues": {}, "artifacts": listed}, sort_keys=True), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{error.filename or output_file}: expected to write KFP's metadata, found {error.strerror or error}. "
            f"Give the container a writable scratch."
        ) from error


def _parse(executor_input: str) -> tuple[dict[str, dict[str, Any]], Path]:
    """Each output's first artifact, and where the executor output goes."""
    try:
        outputs = json.loads(executor_input)["outputs"]
        artifacts = {name: entry["artifacts"][0] for name, entry in outputs.get("artifacts", {}).items()}
        for artifact in artifacts.values():
            artifact["uri"]
        return artifacts, Path(outputs["outputFile"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ConfigError(
            f"--executor-input: expected KFP's executor input as JSON, found {type(error).__name__}: {error}. "
            f"Leave the option out when there is no KFP."
        ) from None


def _entry(artifact: Mapping[str, Any], metadata: Mapping[str, float | str]) -> dict[str, Any]:
    flat = {key: _storable(value) for key, value in metadata.items()}
    return {"artifacts": [{"name": artifact.get("name", ""), "uri": artifact["uri"], "metadata": flat}]}


def _storable(value: float | str) -> float | str:
    return value if isinstance(value, str) or math.isfinite(value) else str(value)


def _sibling(path: Path, artifact: Mapping[str, Any], other: Mapping[str, Any]) -> Path:
    """Return the path of `other`, given that of `artifact`: KFP keeps a task's outputs side by side."""
    uri, other_uri = str(artifact["uri"]), str(other["uri"])
    if PurePosixPath(uri).parent != PurePosixPath(other_uri).parent:
        raise ConfigError(f"--executor-input: expected '{other_uri}' beside '{uri}', found them apart.")
    return path.parent / PurePosixPath(other_uri).name
