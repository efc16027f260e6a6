"""Fixtures of tests/cluster: a KFP server on loopback, and the command line beside it, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import REPOSITORY
from dataset_culling.cli.program import cli, exit_code_of
from kfp_server import KfpServer, kfp_server

PIPELINE = REPOSITORY / "pipelines" / "compiled" / "kind.yaml"


@dataclass
class Said:
    """What a command printed and exited with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Culling = Callable[..., Said]


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as running:
        yield running


@pytest.fixture
def culling(server: KfpServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Culling:
    """Run `culling ...` against the server."""
    for name in ("CULLING_KFP_TOKEN", "CULLING_KFP_COOKIES", "KF_PIPELINES_SA_TOKEN_PATH", "CULLING_KFP_NAMESPACE",
                 "KF_PIPELINES_UI_ENDPOINT"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.url)
    monkeypatch.setenv("CULLING_KFP_RETRY_S", "60")

    def run(*arguments: str | Path) -> Said:
        capsys.readouterr()
        code = exit_code_of(lambda: cli.main([str(each) for each in arguments], standalone_mode=False))
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def cameras(tmp_path: Path) -> Callable[..., Path]:
    """Write a cameras.yaml: names, and lines put before the cameras or into one of them."""

    def write(*names: str, top: str = "", **own: str) -> Path:
        path = tmp_path / "cameras.yaml"
        rows = "".join(
            f"  - name: {name}\n    source: s3://footage/{name}/\n{own.get(name.replace('-', '_'), '')}"
            for name in names
        )
        path.write_text(
            f"fleet: lot\npipeline: {{file: {PIPELINE}}}\n{top}"
            f"defaults: {{time_zone: Europe/Berlin, hour: 2, preset: tiny}}\ncameras:\n{rows}",
            encoding="utf-8",
        )
        return path

    return write
