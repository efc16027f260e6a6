"""A training's checkpoint, and the doctor's probe, in a real bucket."""

from __future__ import annotations

import uuid

import pytest

from dataset_culling.engine.doctor import check_store
from dataset_culling.errors import AccessDenied
from dataset_culling.storage import list_prefix
from dataset_culling.training.checkpoint_store import StoredCheckpoint
from s3_server import S3Server, shared_server


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> S3Server:
    server = shared_server()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server


def test_stored_checkpoint__written_replaced_read_and_removed(server):
    uri = f"s3://{server.bucket}/night-{uuid.uuid4().hex}/training-1.safetensors"
    one, other = StoredCheckpoint(uri, every_s=60), StoredCheckpoint(uri, every_s=60)
    assert one.read() is None
    one.write(b"a" * 9_000_000)  # more than one part
    one.write(b"b" * 9_000_000)
    assert other.read() == b"b" * 9_000_000
    assert one.where == uri
    other.remove()
    assert one.read() is None
    assert one.notes == other.notes == []


def test_stored_checkpoint__wrong_keys_show_before_the_first_step_and_do_not_end_a_night(server, monkeypatch, capsys):
    monkeypatch.setenv("CULLING_S3_SECRET_KEY", "wrong")
    checkpoint = StoredCheckpoint(f"s3://{server.bucket}/night/training-1.safetensors", every_s=60)
    with pytest.raises(AccessDenied):
        checkpoint.read()
    checkpoint.write(b"state")
    checkpoint.write(b"state")
    assert len(checkpoint.notes) == 1
    assert "no checkpoint was written" in capsys.readouterr().err


def test_check_store__leaves_nothing_behind(server):
    uri = f"s3://{server.bucket}/doctor-{uuid.uuid4().hex}"
    assert check_store(uri).verdict == "ok"
    assert list_prefix(uri) == []


def test_check_store__wrong_keys(server, monkeypatch):
    monkeypatch.setenv("CULLING_S3_SECRET_KEY", "not to be shown")
    finding = check_store(f"s3://{server.bucket}/x")
    assert finding.verdict == "wrong"
    assert "not to be shown" not in finding.found
