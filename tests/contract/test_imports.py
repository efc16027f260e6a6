"""Import rules that import-linter cannot check: what a fresh interpreter loads, and that its contracts are complete."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dataset_culling
from conftest import REPOSITORY
from dataset_culling.pipeline.graph import STAGES
from dataset_culling.strategies.table import STRATEGIES
from dataset_culling.training.techniques.table import TECHNIQUES

PACKAGE = Path(dataset_culling.__file__).parent
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


@pytest.mark.parametrize(
    "module", ["dataset_culling.cli", "dataset_culling.cli.program", "dataset_culling.pipeline.graph"]
)
def test_import__loads_neither_torch_nor_kfp(module: str):
    code = f"import sys, {module}; print(*sorted({{'torch', 'torchvision', 'kfp'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("name", "folder", "rows"),
    [
        ("Stages are independent of each other", "stages", {name.replace("-", "_") for name in STAGES}),
        ("Training techniques are independent of each other", "training.techniques", set(TECHNIQUES)),
        ("Strategies are independent of each other", "strategies", {row.folder for row in STRATEGIES.values()}),
    ],
)
def test_contract__names_every_row_of_its_table(name: str, folder: str, rows: set[str]):
    (contract,) = (contract for contract in CONTRACTS if contract["name"] == name)
    assert set(contract["modules"]) == {f"dataset_culling.{folder}.{row}" for row in rows}
