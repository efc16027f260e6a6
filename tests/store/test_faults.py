"""What goes wrong with servers and disks, done to real ones: nothing is lost, nothing half-written is ever read."""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import minio.time
import pytest

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.errors import (
    AccessDenied,
    CullingError,
    MissingObject,
    ObjectChanged,
    OutputError,
    StoreError,
    TransientStoreError,
)
from dataset_culling.storage import (
    IF_ABSENT,
    LocalStore,
    fetch,
    get_tree,
    if_unchanged,
    open_store,
    put_file,
    put_tree,
)
from dataset_culling.storage.s3 import S3Store
from faulty_link import Fault, FaultyLink
from s3_server import S3Server, new_server, shared_server
from video_files import write_video

MIB = 1 << 20
PART = 5 * MIB


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat."""
    return random.Random(seed).randbytes(size)


@pytest.fixture
def link() -> Iterator[FaultyLink]:
    with FaultyLink(shared_server().endpoint) as link:
        yield link


@pytest.fixture
def server() -> Iterator[S3Server]:
    """A server of this test's own, to be killed."""
    if shared_server().external:
        pytest.skip("a server that the environment names is not killed")
    server = new_server().start()
    yield server
    server.stop()


# --- the server dies --------------------------------------------------------------------------------------------------


def test_put__server_killed_in_the_middle_and_restarted(server: S3Server, tmp_path: Path) -> None:
    """The upload goes on where it was; meanwhile nobody sees a part of it, and the version before is not lost."""
    store = server.store(CULLING_S3_RETRY_S=60, CULLING_S3_WORKERS=2)
    before, after = noise(1000, 1), noise(4 * PART + 123, 2)
    (tmp_path / "after").write_bytes(after)
    store.put_bytes("kept", before)
    store.put_bytes("film", before)
    with FaultyLink(server.endpoint) as link:
        link.bytes_per_s = 8e6
        slowly = server.store(link.endpoint, CULLING_S3_RETRY_S=60, CULLING_S3_WORKERS=2)
        upload = threading.Thread(target=slowly.put, args=("film", tmp_path / "after"))
        upload.start()
        wait_for(lambda: unfinished_parts(server) >= 2, 60)
        server.kill()
        assert upload.is_alive()
        with pytest.raises(TransientStoreError):
            server.store(CULLING_S3_RETRY_S=0.2).get("film", tmp_path / "copy")
        server.start(wait=False)
        seen = set()
        while upload.is_alive():
            store.get("film", tmp_path / "copy")
            seen.add((tmp_path / "copy").read_bytes())
            time.sleep(0.05)
        upload.join()
    store.get("film", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == after
    assert seen <= {before, after}
    assert store.get_bytes("kept")[0] == before


def test_get__server_killed_in_the_middle_and_restarted(server: S3Server, tmp_path: Path) -> None:
    """The parts that have come stay; the others come when the server is back; the file appears when it is whole."""
    data, copy = noise(6 * PART + 77), tmp_path / "copies" / "film"
    (tmp_path / "film").write_bytes(data)
    server.store(CULLING_S3_RETRY_S=60).put("film", tmp_path / "film")
    with FaultyLink(server.endpoint) as link:
        link.bytes_per_s = 12e6
        slowly = server.store(link.endpoint, CULLING_S3_RETRY_S=60, CULLING_S3_WORKERS=2)
        download = threading.Thread(target=slowly.get, args=("film", copy))
        download.start()
        wait_for(lambda: sum(file.stat().st_size for file in (tmp_path / "copies").glob("*")) > 2 * PART, 60)
        server.kill()
        assert download.is_alive()
        assert not copy.exists()
        link.bytes_per_s = 0
        server.start(wait=False)
        download.join()
    assert copy.read_bytes() == data
    assert [file.name for file in copy.parent.iterdir()] == ["film"]


def test_put__server_that_has_forgotten_the_upload(link: FaultyLink, tmp_path: Path) -> None:
    """As a server that lost its notes, or a lifecycle rule that cleans up: the upload is begun anew."""
    direct, key, data = shared_server().store(), f"faults/{os.getpid()}-forgotten", noise(3 * PART + 5)
    (tmp_path / "film").write_bytes(data)
    link.bytes_per_s = 10e6
    store = shared_server().store(link.endpoint, CULLING_S3_WORKERS=1)
    upload = threading.Thread(target=store.put, args=(key, tmp_path / "film"))
    upload.start()
    wait_for(lambda: unfinished_parts(shared_server()) >= 1, 60)
    assert direct.sweep(key, older_than_s=-3600) == 1
    link.bytes_per_s = 0
    upload.join()
    assert direct.get_bytes(key)[0] == data


def unfinished_parts(server: S3Server) -> int:
    """Parts that the server holds of uploads that are not complete."""
    client = server.store()._client
    from dataset_culling.storage.s3_errors import parse_xml

    uploads = parse_xml(client.ask("GET", "", "list", query={"uploads": "", "prefix": ""}).data).iter("Upload")
    return sum(
        len(list(parse_xml(client.ask("GET", key, "list", query={"uploadId": upload_id}).data).iter("Part")))
        for key, upload_id in ((one.findtext("Key"), one.findtext("UploadId")) for one in uploads)
    )


def wait_for(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Until it is so; a test that waits for longer than any machine needs has failed."""
    give_up_s = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < give_up_s, "it did not come about"
        time.sleep(0.02)


def test_put__acknowledged_objects_survive_a_killed_server(server: S3Server) -> None:
    store = server.store(CULLING_S3_RETRY_S=60)
    acknowledged: list[int] = []
    stop = threading.Event()

    def write(start: int) -> None:
        for number in range(start, 1_000_000, 4):
            if stop.is_set():
                return
            store.put_bytes(f"load/{number}", noise(2_000, number))
            acknowledged.append(number)

    writers = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for writer in writers:
        writer.start()
    wait_for(lambda: len(acknowledged) > 60)
    server.kill()
    at_the_kill = len(acknowledged)
    server.start(wait=False)
    wait_for(lambda: len(acknowledged) > at_the_kill + 20, 60)
    stop.set()
    for writer in writers:
        writer.join()
    assert all(store.get_bytes(f"load/{number}")[0] == noise(2_000, number) for number in acknowledged)


# --- the client dies --------------------------------------------------------------------------------------------------

UPLOAD = """
import sys
from pathlib import Path
from dataset_culling.storage import put_file
put_file(Path(sys.argv[1]), sys.argv[2])
"""


def test_put__client_killed_in_the_middle_leaves_the_old_object_and_parts_to_sweep(
    link: FaultyLink, tmp_path: Path
) -> None:
    store, key = shared_server().store(), f"faults/{os.getpid()}-client"
    old = store.put_bytes(key, b"old")
    (tmp_path / "new").write_bytes(noise(2 * PART + 1))
    link.bytes_per_s = 2e6
    child = subprocess.Popen(
        [sys.executable, "-c", UPLOAD, tmp_path / "new", f"s3://{shared_server().bucket}/{key}"],
        env={
            **os.environ,
            **shared_server().environment(link.endpoint),
            "CULLING_S3_PART_MIB": "5",
            "CULLING_S3_WORKERS": "1",
        },
    )
    wait_for(lambda: unfinished_parts(shared_server()) >= 1, 60)
    child.send_signal(signal.SIGKILL)
    child.wait()
    link.drop_all()
    assert store.get_bytes(key) == (b"old", old)
    assert store.sweep(key, older_than_s=3600) == 0
    assert store.sweep(key, older_than_s=-3600) == 1
    assert store.sweep(key, older_than_s=-3600) == 0
    assert store.get_bytes(key) == (b"old", old)


def test_put__local_writer_killed_in_the_middle_leaves_the_old_object_and_a_file_to_sweep(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    old = store.put_bytes("folder/a", b"old")
    feeder, child_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(child_end)
        with os.fdopen(feeder, "rb") as stream:
            store.put_stream("folder/a", stream)
        os._exit(0)
    os.close(feeder)
    os.write(child_end, b"new" * 10_000)
    wait_for(lambda: len(list((tmp_path / "store/folder").iterdir())) == 2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(child_end)
    assert store.get_bytes("folder/a") == (b"old", old)
    assert [stat.key for stat in store.find()] == ["folder/a"]
    assert store.sweep(older_than_s=3600) == 0
    assert store.sweep("folder/", older_than_s=-1) == 1
    assert [file.name for file in (tmp_path / "store/folder").iterdir()] == ["a"]


# --- the network ------------------------------------------------------------------------------------------------------


def test_put_get__connections_cut_again_and_again(link: FaultyLink, tmp_path: Path) -> None:
    store, key, data = shared_server().store(link.endpoint), f"faults/{os.getpid()}-cut", noise(3 * PART + 9)
    (tmp_path / "film").write_bytes(data)
    link.add(Fault("cut", times=6, after_bytes=2 * MIB))
    store.put(key, tmp_path / "film")
    link.add(Fault("cut", times=6, after_bytes=2 * MIB, direction="down"))
    store.get(key, tmp_path / "copy")
    assert link.suffered >= 10  # of twelve: what is left of a part may be too little to reach the cut once more
    assert (tmp_path / "copy").read_bytes() == data


def test_put__conditional_whose_answer_is_lost_knows_that_it_won(link: FaultyLink) -> None:
    """The write took place; a plain second try would be refused by the first one's object."""
    store, key = shared_server().store(link.endpoint), f"faults/{os.getpid()}-lost"
    shared_server().store().delete(key)
    store.put_bytes(f"{key}-warm", b"", when=IF_ABSENT)
    link.add(Fault("lose", times=1, direction="down"))
    first = store.put_bytes(key, b"1", when=IF_ABSENT)
    link.add(Fault("lose", times=1, direction="down"))
    second = store.put_bytes(key, b"2", when=if_unchanged(first.etag))
    assert link.suffered == 2
    assert store.get_bytes(key) == (b"2", second)
    with pytest.raises(ObjectChanged):
        store.put_bytes(key, b"3", when=if_unchanged(first.etag))
    store.delete(f"{key}-warm")


def test_put__completing_whose_answer_is_lost_is_complete(link: FaultyLink, tmp_path: Path) -> None:
    direct, key = shared_server().store(), f"faults/{os.getpid()}-complete"
    (tmp_path / "film").write_bytes(noise(2 * PART))

    class LosesCompletion(S3Store):
        """Has the link lose the answer to the last request of the upload."""

        def _complete(self, *arguments: object) -> str:
            link.add(Fault("lose", times=1, direction="down"))
            return super()._complete(*arguments)  # type: ignore[arg-type]

    store = LosesCompletion(shared_server().bucket, shared_server().settings(link.endpoint))
    for when in (IF_ABSENT, if_unchanged(store.put(key, tmp_path / "film").etag)):
        if when.absent:
            direct.delete(key)
        written = store.put(key, tmp_path / "film", when=when)
        assert written == direct.stat(key)
    assert link.suffered == 3


def test_put_get__busy_server_is_waited_for(link: FaultyLink, tmp_path: Path) -> None:
    store, key, data = shared_server().store(link.endpoint), f"faults/{os.getpid()}-busy", noise(2 * PART)
    (tmp_path / "film").write_bytes(data)
    for use in (
        lambda: store.put_bytes(key, b"1"),
        lambda: store.put(key, tmp_path / "film"),
        lambda: store.get(key, tmp_path / "copy"),
        lambda: store.stat(key),
        lambda: list(store.find(key)),
    ):
        link.add(Fault("busy", times=4))
        use()
    assert link.suffered == 20
    assert (tmp_path / "copy").read_bytes() == data


def test_put_tree_get_tree__busy_and_cut_now_and_then(link: FaultyLink, tmp_path: Path) -> None:
    """Many small objects while the server is busy for a while and connections break: each arrives, once and whole."""
    (tmp_path / "frames").mkdir()
    for number in range(60):
        (tmp_path / "frames" / f"{number:03}.jpg").write_bytes(noise(40_000, number))
    store, prefix = shared_server().store(link.endpoint), f"faults/{os.getpid()}-many/"
    link.add(Fault("busy", times=12))
    link.add(Fault("cut", times=12, after_bytes=20_000))
    put_tree(store, tmp_path / "frames", prefix)
    link.add(Fault("busy", times=3))  # the listing alone, which has nothing beside it, suffers all of these
    link.add(Fault("cut", times=12, after_bytes=30_000, direction="down"))
    copies = get_tree(store, prefix, tmp_path / "copies")
    assert link.suffered >= 30  # of 39: a connection that is dropped or carries too little does not count
    assert [copy.read_bytes() for copy in copies] == [noise(40_000, number) for number in range(60)]


def test_get__busy_for_longer_than_patience_is_said(link: FaultyLink, tmp_path: Path) -> None:
    store = shared_server().store(link.endpoint, CULLING_S3_RETRY_S=1)
    link.add(Fault("busy", times=10_000))
    with pytest.raises(TransientStoreError, match=r"expected to read, found SlowDown in \d+ tries"):
        store.get("whatever", tmp_path / "copy")


def test_put_get__link_slower_than_its_time_limit(link: FaultyLink, tmp_path: Path) -> None:
    """A part takes longer than the longest silence that is borne; as long as bytes flow, that is no trouble."""
    link.bytes_per_s = 400_000
    store = shared_server().store(link.endpoint, CULLING_S3_TIMEOUT_S=2, CULLING_S3_RETRY_S=0)
    key, data = f"faults/{os.getpid()}-slow", noise(1_200_000)
    store.put_bytes(key, data)
    store.get(key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("hours", [-3, 3])
def test_put_get__this_machines_clock_is_wrong(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses such signatures; its own time, from its refusal, mends them."""
    now = minio.time.utcnow
    monkeypatch.setattr(minio.time, "utcnow", lambda: now() + datetime.timedelta(hours=hours))
    store, key = shared_server().store(), f"faults/{os.getpid()}-clock"
    store.put_bytes(key, b"1")
    assert store.get_bytes(key)[0] == b"1"
    assert store.stat(key).size == 1


def test_put_get__keys_are_rotated_under_a_running_program(tmp_path: Path) -> None:
    """A mounted secret changes on disk; the next request uses it."""
    server = shared_server()
    for name, text in (("accesskey", server.access_key), ("secretkey", "not-yet-the-right-one")):
        (tmp_path / name).write_text(text)
    store = server.store(CULLING_S3_ACCESS_KEY="", CULLING_S3_SECRET_KEY="", CULLING_S3_SECRET_DIR=str(tmp_path))
    with pytest.raises(AccessDenied, match=f"keys from {tmp_path}"):
        store.put_bytes("faults/rotated", b"1")
    (tmp_path / "secretkey").write_text(server.secret_key + "\n")
    os.utime(tmp_path / "secretkey", ns=(1, 1))
    store.put_bytes("faults/rotated", b"1")
    assert store.get_bytes("faults/rotated")[0] == b"1"


# --- the disk ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_put__local_disk_full(tiny_disk: Path, tmp_path: Path) -> None:
    store = LocalStore(tiny_disk / "store")
    old = store.put_bytes("a", noise(MIB))
    with pytest.raises(OutputError, match=r"found No space left on device\. Free space"):
        store.put_bytes("a", noise(MIB + 500_000, 1))
    assert store.get_bytes("a") == (noise(MIB), old)
    assert [file.name for file in (tiny_disk / "store").iterdir()] == ["a"]
    store.put_bytes("a", b"small")
    assert store.get_bytes("a")[0] == b"small"


def test_get__disk_full_here(tiny_disk: Path) -> None:
    store, key = shared_server().store(), f"faults/{os.getpid()}-large"
    store.put_bytes(key, noise(3 * MIB))
    with pytest.raises(OutputError, match="found No space left on device"):
        store.get(key, tiny_disk / "copy")
    assert list(tiny_disk.iterdir()) == []


def test_get__disk_full_here_in_a_later_part(tmp_path: Path) -> None:
    """It is this disk, not the network, so it is not tried again; what had come is taken away."""
    store, key, folder = shared_server().store(), f"faults/{os.getpid()}-larger", tmp_path / "disk"
    (tmp_path / "film").write_bytes(noise(4 * PART))
    store.put(key, tmp_path / "film")
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        with pytest.raises(OutputError, match="found No space left on device"):
            store.get(key, folder / "copy")
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_put__local_file_size_limit(tmp_path: Path) -> None:
    """As with a quota, and without rights to mount anything: the kernel allows no file over 100 kB in this process."""
    store = LocalStore(tmp_path)
    old = store.put_bytes("a", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match=os.strerror(errno.EFBIG)):
            store.put_bytes("a", noise(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert store.get_bytes("a") == (b"old", old)
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_put__disk_of_the_server_full(tmp_path: Path) -> None:
    """It says so or gives up after patience ends; what was stored before stays readable."""
    if shared_server().external:
        pytest.skip("a server that the environment names has a disk of its own")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("this user may not mount a small file system")
    server = new_server()
    try:
        server.start(data=folder)
        store = server.store(CULLING_S3_RETRY_S=3)
        store.put_bytes("before", noise(MIB))
        (tmp_path / "film").write_bytes(noise(64 * MIB))
        with pytest.raises((StoreError, OutputError)) as caught:
            store.put("film", tmp_path / "film")
        assert str(caught.value).startswith("s3://culling/film: expected to write, found")
        assert store.get_bytes("before")[0] == noise(MIB)
        with pytest.raises(MissingObject):
            store.stat("film")
    finally:
        server.stop()
        subprocess.run(["umount", "-l", folder], check=True)


# --- a stage goes on --------------------------------------------------------------------------------------------------


def test_extract_frames__server_killed_and_restarted_while_it_runs(server: S3Server, tmp_path: Path) -> None:
    """Footage from the store, shards into the store, the server away in between: the same frames as without that."""
    for number in range(4):
        write_video(tmp_path / f"cam_2026-11-20T0{number}-00-00.mp4", num_frames=60, frames_per_second=2)
    put_tree(server.store(), tmp_path, "footage/")
    with FaultyLink(server.endpoint) as link:
        environment = {
            **os.environ, **server.environment(link.endpoint), "CULLING_S3_RETRY_S": "60", "OMP_NUM_THREADS": "1",
        }  # fmt: skip

        def extract(name: str) -> subprocess.Popen[bytes]:
            config = {
                "sources": [f"s3://{server.bucket}/footage/"], "shards_uri": f"s3://{server.bucket}/{name}",
                "shard_bytes": 100_000, "heldout_share": 0.5,
            }  # fmt: skip
            outputs = [f"--{each}={tmp_path / name / each}" for each in ("pool", "heldout")]
            command = ["stage", "extract-frames", "--config", json.dumps(config), *outputs]
            return subprocess.Popen([sys.executable, "-m", "dataset_culling.cli", *command], env=environment)

        assert extract("calm").wait() == 0
        passed = link.passed
        stage = extract("stormy")
        wait_for(lambda: link.passed > passed + 20_000, 60)
        server.kill()
        assert stage.poll() is None
        server.start(wait=False)
        assert stage.wait() == 0
    store = server.store()

    def read(uri: str, offset: int, length: int) -> bytes:
        return store.read_range(uri.removeprefix(store.uri("")), offset, length)

    for part in ("pool", "heldout"):
        calm, stormy = (FrameReader(tmp_path / name / part, read) for name in ("calm", "stormy"))
        assert len(calm.table.frame_ids) > 0
        assert calm.table.frame_ids.tolist() == stormy.table.frame_ids.tolist()
        assert list(calm.jpegs(calm.table.frame_ids)) == list(stormy.jpegs(stormy.table.frame_ids))


# --- through URIs -----------------------------------------------------------------------------------------------------


def test_fetch__an_object_a_folder_and_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shared_server().environment().items():
        monkeypatch.setenv(name, value)
    base = f"s3://{shared_server().bucket}/faults/{os.getpid()}-fetch"
    (tmp_path / "weights").write_bytes(noise(1_000))
    put_file(tmp_path / "weights", f"{base}/model/weights")
    put_file(tmp_path / "weights", f"{base}/model/deep/card")
    copy = fetch(f"{base}/model/weights", tmp_path / "cache" / "weights")
    assert hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(noise(1_000)).digest()
    first = copy.stat()
    assert fetch(f"{base}/model/weights", copy).stat() == first, "a good copy is not fetched again"
    copy.write_bytes(b"damaged")
    assert fetch(f"{base}/model/weights", copy).read_bytes() == noise(1_000)
    (tmp_path / "weights").write_bytes(noise(1_000, 1))
    put_file(tmp_path / "weights", f"{base}/model/weights")
    assert fetch(f"{base}/model/weights", copy).read_bytes() == noise(1_000, 1), "the object is another one now"
    folder = fetch(f"{base}/model", tmp_path / "model")
    assert (folder / "deep" / "card").read_bytes() == noise(1_000)
    assert (folder / "weights").read_bytes() == noise(1_000, 1)
    with pytest.raises(MissingObject):
        fetch(f"{base}/mod", tmp_path / "mod")
    assert open_store(base)[0] is open_store(f"{base}/other")[0], "connections are kept"


def test_errors__are_all_ours() -> None:
    """Whatever a request ends in, people see one line of ours."""
    store = shared_server().store(CULLING_S3_RETRY_S=0)
    with pytest.raises(CullingError) as caught:
        store._client.ask("PUT", "faults/x", "write", query={"partNumber": "0", "uploadId": "none"}, body=b"1")
    assert "\n" not in str(caught.value)
