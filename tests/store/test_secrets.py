"""No key of the object store is ever written or shown: a stage and its mistakes, looked at from outside.

Looked through: what the processes say at the most talkative, every file they write, every object they store, and the
command line of every process while they run. What the search finds is tried first, on a key that lies there openly.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from dataset_culling.storage import put_tree
from s3_server import S3Server, shared_server
from video_files import write_video

WRONG_ID, WRONG_SECRET = "a-wrong-id-not-to-be-shown", "a-wrong-secret-not-to-be-shown"


@pytest.fixture
def server() -> S3Server:
    if shared_server().external:
        pytest.skip("the keys of a server that the environment names may be words that stand in any file")
    return shared_server()


def lying_open(
    secrets: tuple[str, ...], *, files: Path, said: str, lines: set[str], objects: dict[str, bytes]
) -> list[tuple[str, str]]:
    """(where, which) of every secret that is to be seen, by its first letters only."""
    texts = {"output": said.encode(), "command lines": "\n".join(sorted(lines)).encode(), **objects}
    texts |= {str(file): file.read_bytes() for file in files.rglob("*") if file.is_file()}
    texts |= {f"name of {where}": where.encode() for where in tuple(texts)}
    return [(where, secret[:4]) for where, text in texts.items() for secret in secrets if secret.encode() in text]


def watched(command: list[str], environment: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], set[str], bool]:
    """Run it; the command lines of every process of the machine meanwhile; whether its environment was seen too."""
    lines: set[str] = set()
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    over, had_keys = threading.Event(), False

    def watch() -> None:
        nonlocal had_keys
        while not over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    lines.add((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                    if process.name == str(child.pid):
                        had_keys |= b"CULLING_S3_SECRET_KEY=" in (process / "environ").read_bytes()
                except OSError:  # it has just ended
                    continue
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    said, _ = child.communicate(timeout=300)
    over.set()
    watcher.join()
    return subprocess.CompletedProcess(command, child.returncode, said), lines, had_keys


def bucket(server: S3Server, prefix: str) -> dict[str, bytes]:
    store = server.store()
    return {stat.uri: store.get_bytes(stat.key)[0] for stat in store.find(prefix)}


TALKATIVE = """
import logging, sys
for name in ("urllib3", "minio", "dataset_culling"):
    logging.getLogger(name).addHandler(logging.StreamHandler(sys.stderr))
    logging.getLogger(name).setLevel(logging.DEBUG)
from dataset_culling.cli import main
from dataset_culling.engine import stage_main
stage_main.NOISY = ()  # which it would quieten
main()
"""
"""The command line with every library that knows keys logging all that it can; urllib3, every request."""


def test_stage__no_key_in_output_files_objects_or_command_lines(server: S3Server, tmp_path: Path) -> None:
    prefix = f"secrets/{uuid.uuid4().hex}"
    (tmp_path / "camera").mkdir()
    write_video(tmp_path / "camera" / "cam_2026-11-20T00-00-00.mp4", num_frames=60, frames_per_second=2)
    put_tree(server.store(), tmp_path / "camera", f"{prefix}/footage/")
    folder = tmp_path / "out"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CULLING_", "AWS_"))},
        **server.environment(), "TMPDIR": str(tmp_path / "out"), "HOME": str(tmp_path / "out"),
    }  # fmt: skip
    folder.mkdir()

    def stage(**settings: object) -> list[str]:
        config = {
            "sources": [f"s3://{server.bucket}/{prefix}/footage/"], "heldout_share": 0.5,
            "shards_uri": f"s3://{server.bucket}/{prefix}/frames", **settings,
        }  # fmt: skip
        outputs = [f"--{each}={folder / uuid.uuid4().hex}" for each in ("pool", "heldout")]
        return ["stage", "extract-frames", "-v", "--config", json.dumps(config), *outputs]

    wrong = {"CULLING_S3_SECRET_KEY": WRONG_SECRET}
    nobody = {"CULLING_S3_ACCESS_KEY": WRONG_ID, "CULLING_S3_SECRET_KEY": WRONG_SECRET}
    away = {"CULLING_S3_ENDPOINT": "http://127.0.0.1:9", "CULLING_S3_RETRY_S": "1"}
    secrets = (server.secret_key, WRONG_SECRET, WRONG_ID)
    for changes, code in (({}, 0), (wrong, 4), (nobody, 4), (away, 4)):
        done, lines, had_keys = watched([sys.executable, "-c", TALKATIVE, *stage()], {**environment, **changes})
        assert "Starting new HTTP connection" in done.stdout
        assert had_keys
        assert any("dataset_culling.cli" in line for line in lines)
        assert done.returncode == code, done.stdout
        seen = {"files": folder, "said": done.stdout, "lines": lines, "objects": bucket(server, prefix)}
        assert any(f"{prefix}/frames" in uri for uri in seen["objects"])
        assert lying_open(secrets, **seen) == []
    # The search itself: a key in each of the places is found.
    (folder / "planted").write_text(server.secret_key)
    planted = {"files": folder, "said": WRONG_ID, "lines": {WRONG_SECRET}, "objects": {"s3://x": WRONG_ID.encode()}}
    assert len(lying_open(secrets, **planted)) == 4


@pytest.mark.parametrize("profile", ["cpu", "gpu", "kind"])
def test_compiled_pipeline__names_the_secret_and_holds_none(profile: str) -> None:
    """What is committed and sent to a cluster takes keys from a Secret, by its name, and no key from anywhere else."""
    folder = Path(__file__).resolve().parents[2] / "pipelines" / "compiled"
    text = (folder / f"{profile}.yaml").read_text(encoding="utf-8")
    assert "envVar: CULLING_S3_SECRET_KEY" in text
    assert re.findall(r"name: CULLING_S3_(?:ACCESS|SECRET)_KEY", text) == []
