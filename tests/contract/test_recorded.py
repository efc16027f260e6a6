"""Recorded facts that a refactor must not change: exit codes, artifact kinds, stage interfaces, edges of the DAG."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path

import dataset_culling.artifacts
from dataset_culling.errors import EXIT_CODES, CullingError
from dataset_culling.pipeline.graph import STAGES, WIRING

RECORDED = json.loads((Path(__file__).parents[1] / "recorded" / "contracts.json").read_text())


def error_classes(parent: type[CullingError] = CullingError) -> dict[str, int]:
    """Return name -> exit code of every error that the package itself defines."""
    found = {parent.__name__: parent.exit_code} if parent.__module__ == "dataset_culling.errors" else {}
    for child in parent.__subclasses__():
        found |= error_classes(child)
    return found


def test_exit_codes__are_those_recorded():
    assert {str(code) for code in EXIT_CODES} == set(RECORDED["exit_codes"])
    found = error_classes()
    assert found
    assert {name: code for name, code in RECORDED["errors"].items() if name in found} == found


def test_artifact_kinds__are_those_recorded():
    modules = [found.name for found in pkgutil.iter_modules(dataset_culling.artifacts.__path__)]
    kinds = {getattr(importlib.import_module(f"dataset_culling.artifacts.{name}"), "SCHEMA", "") for name in modules}
    assert sorted(kinds - {""}) == RECORDED["artifact_kinds"]


def test_stages__read_and_write_what_is_recorded():
    found = {
        name: {"reads": dict(spec.reads), "optional_reads": dict(spec.optional_reads), "writes": dict(spec.writes)}
        for name, spec in STAGES.items()
    }
    assert found == RECORDED["stages"]


def test_wiring__has_the_recorded_edges():
    found = {
        task.name: {"stage": task.stage, "display_name": task.display_name, "inputs": dict(task.inputs)}
        for task in WIRING
    }
    assert found == RECORDED["edges"]
