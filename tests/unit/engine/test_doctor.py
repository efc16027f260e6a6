"""Each check of `culling doctor` against the real thing, well and broken."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from conftest import culling
from dataset_culling.engine.doctor import (
    Finding,
    NotHealthy,
    check_codecs,
    check_disk,
    check_kfp,
    check_python,
    check_store,
    check_torch,
    check_weights,
    overfit_all,
    print_findings,
    torch_wanted,
)
from dataset_culling.errors import ConfigError
from dataset_culling.storage.settings import ENVIRONMENT


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """An HTTP server on loopback that always says this, and remembers what it was asked; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            del arguments

    asked: list[str] = []
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
        assert asked == ["/apis/v2beta1/healthz"]
    finally:
        server.shutdown()
        server.server_close()


def closed_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_store_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.mark.parametrize("check", [check_python, check_torch, check_codecs, check_weights])
def test_checks__this_environment_is_well(check):
    finding = check()
    assert (finding.verdict, finding.todo) == ("ok", "")


@pytest.mark.parametrize(
    ("requirements", "wanted"),
    [
        pytest.param(["numpy", "torch==2.14.1", "pillow>=5.3"], "2.14.1", id="as torchvision writes it"),
        pytest.param(["torch (==2.14.0)", "torchdata==1.0"], "2.14.0", id="in brackets"),
        pytest.param(["torch>=2"], "", id="no pin"),
        pytest.param([], "", id="nothing"),
    ],
)
def test_torch_wanted__reads_the_pin(requirements, wanted):
    assert torch_wanted(requirements) == wanted


def test_check_torch__a_torch_that_torchvision_is_not_made_for(monkeypatch):
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["torch==1.2.3"])
    finding = check_torch()
    assert (finding.verdict, finding.todo) == ("wrong", "pip install torch==1.2.3")


def test_check_disk__asks_the_nearest_folder_that_exists(tmp_path):
    finding = check_disk(tmp_path / "runs" / "today")
    assert finding.verdict in ("ok", "warning")
    assert f"at {tmp_path}" in finding.found
    assert not list(tmp_path.iterdir())


def test_check_disk__a_folder_that_cannot_be_written():
    finding = check_disk(Path("/proc/runs"))
    assert finding.verdict == "wrong"
    assert finding.todo


def test_check_kfp__well():
    with answering(200, b'{"tag_name": "2.17.0", "multi_user": false}') as url:
        assert check_kfp(url) == Finding("Kubeflow Pipelines", "ok", f"{url} is well, API 2.17.0")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(200, b"<html>sign in</html>", "Expecting value", id="a sign-in page"),
        pytest.param(200, b"[]", "not as Kubeflow Pipelines does", id="another service"),
        pytest.param(404, b"", "Not Found", id="not there"),
    ],
)
def test_check_kfp__something_else_answers(status, body, words):
    with answering(status, body) as url:
        finding = check_kfp(url)
    assert finding.verdict == "wrong"
    assert words in finding.found
    assert "port-forward" in finding.todo


def test_check_kfp__nobody_answers():
    assert "refused" in check_kfp(f"127.0.0.1:{closed_port()}").found
    assert check_kfp("ftp://somewhere").verdict == "wrong"
    assert check_kfp("").verdict == "ok"


def test_check_store__none_is_fine_and_a_path_is_not():
    assert check_store("").verdict == "ok"
    assert check_store("/data").verdict == "wrong"


@pytest.mark.parametrize("uri", ["", "s3://bucket/prefix"])
def test_check_store__an_endpoint_where_nobody_listens(monkeypatch, uri):
    monkeypatch.setenv("CULLING_S3_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("CULLING_S3_ACCESS_KEY", "key")
    monkeypatch.setenv("CULLING_S3_SECRET_KEY", "not to be shown")
    monkeypatch.setenv("CULLING_S3_RETRY_S", "0")
    finding = check_store(uri)
    assert finding.verdict == "wrong"
    assert "not to be shown" not in finding.found + finding.todo


def test_check_store__an_endpoint_without_keys(monkeypatch):
    monkeypatch.setenv("CULLING_S3_ENDPOINT", "http://127.0.0.1:9000")
    assert "CULLING_S3_ACCESS_KEY" in check_store("").found


def test_doctor__one_wrong_thing_is_exit_code_3():
    findings = [Finding("a", "ok", ""), Finding("b", "warning", "", "x"), Finding("c", "wrong", "", "y")]
    print_findings(findings[:2])
    with pytest.raises(NotHealthy, match="found c wrong") as error:
        print_findings(findings)
    assert error.value.exit_code == 3


def test_overfit_all__unknown_names_are_refused_before_anything_is_built():
    with pytest.raises(ConfigError, match=r"--overfit yolox_nono: .* Did you mean 'yolox_nano'\?"):
        overfit_all(["tiny", "yolox_nono"], device="cpu")


def test_doctor_command__json_and_exit_codes(tmp_path):
    well = culling("doctor", "--json", "--out", tmp_path)
    assert well.returncode == 0, well.stderr
    assert {finding["verdict"] for finding in json.loads(well.stdout)} <= {"ok", "warning"}
    ill = culling("doctor", "--kfp", f"http://127.0.0.1:{closed_port()}", "--out", tmp_path)
    assert ill.returncode == 3
    assert "WRONG    Kubeflow Pipelines" in ill.stdout
    assert ill.stderr.startswith("error: doctor: expected everything to be well, found Kubeflow Pipelines wrong.")
    assert culling("doctor", "tiny").returncode == 2
