"""What every object store promises, asked of a local folder and of a real S3 server alike."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from minio import Minio

from dataset_culling.errors import (
    AccessDenied,
    ConfigError,
    CorruptObject,
    CullingError,
    MissingObject,
    ObjectChanged,
    OutputError,
    TransientStoreError,
)
from dataset_culling.storage import IF_ABSENT, LocalStore, ObjectStore, get_tree, if_unchanged, put_tree
from dataset_culling.storage.atomic import PARTIAL
from dataset_culling.storage.uris import open_reader
from faulty_link import Fault, FaultyLink
from s3_server import READER_KEY, READER_SECRET, shared_server

MIB = 1 << 20
PART = 5 * MIB  # of the S3 store under test: larger objects go in parts


@dataclass
class Place:
    """A store, and a corner of it that no other test uses."""

    store: ObjectStore
    prefix: str
    folder: Path | None  # where the objects are files

    def key(self, name: str) -> str:
        return f"{self.prefix}{name}"


@pytest.fixture(params=[pytest.param("local"), pytest.param("s3", marks=pytest.mark.store)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "local":
        return Place(LocalStore(tmp_path / "store"), "", tmp_path / "store")
    return Place(shared_server().store(), f"contract/{uuid.uuid4().hex}/", None)


@pytest.fixture
def link() -> Iterator[FaultyLink]:
    with FaultyLink(shared_server().endpoint) as link:
        yield link


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not repeat, so that parts in a wrong order show."""
    return random.Random(seed).randbytes(size)


# --- whole objects ----------------------------------------------------------------------------------------------------

SIZES = [0, 1, 100_000, PART, PART + 1, 3 * PART + 12_345]


@pytest.mark.parametrize("size", SIZES)
def test_put_get__every_byte_comes_back(place: Place, tmp_path: Path, size: int) -> None:
    data, source, copy = noise(size), tmp_path / "source", tmp_path / "deep" / "copy"
    source.write_bytes(data)
    written = place.store.put(place.key("a/b.bin"), source)
    read = place.store.get(place.key("a/b.bin"), copy)
    assert copy.read_bytes() == data
    assert written == read == place.store.stat(place.key("a/b.bin"))
    assert (read.size, read.uri) == (size, place.store.uri(place.key("a/b.bin")))
    assert place.store.get_bytes(place.key("a/b.bin")) == (data, read)
    assert sorted(file.name for file in copy.parent.iterdir()) == ["copy"]


@pytest.mark.parametrize("size", SIZES)
def test_put_stream__length_unknown_and_in_dribs(place: Place, tmp_path: Path, size: int) -> None:
    class Pipe(io.RawIOBase):
        """Gives less than it is asked for, as pipes do."""

        def __init__(self) -> None:
            self.data = io.BytesIO(noise(size))

        def read(self, size: int = -1) -> bytes:
            return self.data.read(min(size, 700_001))

    written = place.store.put_stream(place.key("stream"), Pipe())  # type: ignore[arg-type]
    place.store.get(place.key("stream"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == noise(size)
    assert written == place.store.stat(place.key("stream"))


def test_put__overwriting_changes_the_etag(place: Place) -> None:
    first = place.store.put_bytes(place.key("a"), b"one")
    second = place.store.put_bytes(place.key("a"), b"two")
    assert first.etag != second.etag
    assert place.store.get_bytes(place.key("a")) == (b"two", second)


@pytest.mark.parametrize(
    "name",
    [
        "plain.txt",
        "with space",
        "per%20cent%",
        "plus+and&",
        "käse/日本",
        "a#b?c=d",
        "~tilde",
        "(1)*'!",
        "x" * 200,
        ".hidden",
    ],
)
def test_put_get__names(place: Place, name: str) -> None:
    place.store.put_bytes(place.key(name), name.encode())
    assert place.store.get_bytes(place.key(name))[0] == name.encode()
    assert [found.key for found in place.store.find(place.prefix)] == [place.key(name)]


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", "a/../b", "./a", "a\0b", "x" * 1025])
def test_put__impossible_keys_are_refused(place: Place, key: str) -> None:
    with pytest.raises(ConfigError, match="expected an object's key"):
        place.store.put_bytes(key, b"")


def test_put__a_source_that_is_not_there(place: Place, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="expected a file to store, found No such file"):
        place.store.put(place.key("a"), tmp_path / "nothing")


def test_delete__twice_is_fine(place: Place) -> None:
    place.store.put_bytes(place.key("a/b/c"), b"1")
    place.store.delete(place.key("a/b/c"))
    place.store.delete(place.key("a/b/c"))
    assert list(place.store.find(place.prefix)) == []


# --- parts of objects -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        pytest.param(0, 10, b"0123456789", id="all"),
        pytest.param(3, 4, b"3456", id="middle"),
        pytest.param(8, 100, b"89", id="over the end"),
        pytest.param(10, 5, b"", id="from the end"),
        pytest.param(500, 5, b"", id="beyond the end"),
        pytest.param(2, 0, b"", id="nothing"),
    ],
)
def test_read_range(place: Place, offset: int, length: int, expected: bytes) -> None:
    place.store.put_bytes(place.key("a"), b"0123456789")
    assert place.store.read_range(place.key("a"), offset, length) == expected


def test_read_range__of_another_version_is_refused(place: Place) -> None:
    old = place.store.put_bytes(place.key("a"), b"0123456789")
    assert place.store.read_range(place.key("a"), 1, 2, etag=old.etag) == b"12"
    place.store.put_bytes(place.key("a"), b"abcdefghij")
    with pytest.raises(ObjectChanged):
        place.store.read_range(place.key("a"), 1, 2, etag=old.etag)


def test_open_reader__reads_and_seeks_as_a_file(place: Place) -> None:
    data = noise(300_000)
    place.store.put_bytes(place.key("a"), data)
    lots = random.Random(1)
    with open_reader(place.store, place.key("a"), buffer_bytes=10_000) as file:
        assert file.read(7) == data[:7]
        for _ in range(20):
            start, length = lots.randrange(320_000), lots.randrange(50_000)
            file.seek(start)
            assert file.read(length) == data[start : start + length]
        assert file.seek(-5, io.SEEK_END) == 299_995
        assert file.read() == data[-5:]


# --- many objects -----------------------------------------------------------------------------------------------------


def test_find__prefix_and_order_of_bytes(place: Place) -> None:
    names = ["a", "a.txt", "a-b/x", "a0", "ab/1", "ab/2/3", "b", "ä"]
    for name in reversed(names):
        if name != "a":
            place.store.put_bytes(place.key(name), b"")
    ordered = sorted((name for name in names if name != "a"), key=str.encode)
    found = [stat.key.removeprefix(place.prefix) for stat in place.store.find(place.prefix)]
    assert found == ordered
    assert [stat.key for stat in place.store.find(place.key("ab/"))] == [place.key("ab/1"), place.key("ab/2/3")]
    assert [stat.key for stat in place.store.find(place.key("a"))] == [place.key(n) for n in ordered if n[0] == "a"]
    assert list(place.store.find(place.key("nothing/"))) == []


def test_put_tree_get_tree__more_than_one_page(place: Place, tmp_path: Path) -> None:
    """A page of an S3 server holds a thousand objects."""
    source = tmp_path / "source"
    for number in range(1150):
        file = source / f"{number % 7}" / f"{number:05d}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(str(number).encode())
    (source / "0" / f".left.{PARTIAL}").write_bytes(b"not a file of ours")
    written = put_tree(place.store, source, place.key("tree/"))
    assert len(written) == 1150
    assert [stat.key for stat in place.store.find(place.key("tree/"))] == sorted(stat.key for stat in written)
    copies = get_tree(place.store, place.key("tree/"), tmp_path / "copy")
    assert len(copies) == 1150
    assert all(file.read_bytes() == str(int(file.name)).encode() for file in copies)


# --- conditions -------------------------------------------------------------------------------------------------------


def test_put__if_absent(place: Place, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(noise(PART + 1))
    for key, put in (
        (place.key("small"), lambda key: place.store.put_bytes(key, b"1", when=IF_ABSENT)),
        (place.key("large"), lambda key: place.store.put(key, large, when=IF_ABSENT)),
        (place.key("stream"), lambda key: place.store.put_stream(key, io.BytesIO(noise(PART + 1)), when=IF_ABSENT)),
    ):
        first = put(key)
        with pytest.raises(ObjectChanged, match="Read it again, then decide again"):
            put(key)
        assert place.store.stat(key) == first


def test_put__if_unchanged(place: Place) -> None:
    first = place.store.put_bytes(place.key("a"), b"1")
    second = place.store.put_bytes(place.key("a"), b"2", when=if_unchanged(first.etag))
    with pytest.raises(ObjectChanged):
        place.store.put_bytes(place.key("a"), b"3", when=if_unchanged(first.etag))
    assert place.store.get_bytes(place.key("a")) == (b"2", second)
    place.store.delete(place.key("a"))
    with pytest.raises(ObjectChanged):
        place.store.put_bytes(place.key("a"), b"4", when=if_unchanged(second.etag))


def test_put__if_absent_sixteen_at_once_one_wins(place: Place) -> None:
    starter = threading.Barrier(16)

    def put(number: int) -> bool:
        starter.wait()
        try:
            place.store.put_bytes(place.key("race"), str(number).encode(), when=IF_ABSENT)
        except ObjectChanged:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(put, range(16)))
    assert won.count(True) == 1
    assert place.store.get_bytes(place.key("race"))[0] == str(won.index(True)).encode()


def count_up(store: ObjectStore, key: str, times: int) -> None:
    """Add one `times` times, by compare-and-swap."""
    for _ in range(times):
        while True:
            data, stat = store.get_bytes(key)
            try:
                store.put_bytes(key, str(int(data) + 1).encode(), when=if_unchanged(stat.etag))
            except ObjectChanged:
                continue
            break


def test_put__if_unchanged_loses_no_count(place: Place) -> None:
    place.store.put_bytes(place.key("count"), b"0")
    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(count_up, place.store, place.key("count"), 10) for _ in range(6)]:
            done.result()
    assert place.store.get_bytes(place.key("count"))[0] == b"60"


def test_put__if_unchanged_loses_no_count_between_processes(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("count", b"0")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=count_up, args=(store, "count", 15)) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 4
    assert store.get_bytes("count")[0] == b"60"


def test_get__while_it_is_overwritten_is_one_version_or_the_other(place: Place, tmp_path: Path) -> None:
    versions = [bytes([letter]) * (2 * PART + 17) for letter in b"ab"]
    files = []
    for number, version in enumerate(versions):
        files.append(tmp_path / f"version{number}")
        files[-1].write_bytes(version)
    place.store.put(place.key("a"), files[0])
    stop = threading.Event()

    def overwrite() -> None:
        for turn in range(100):
            if stop.is_set():
                break
            place.store.put(place.key("a"), files[turn % 2])

    writer = threading.Thread(target=overwrite)
    writer.start()
    seen = set()
    try:
        for _ in range(4):
            try:
                place.store.get(place.key("a"), tmp_path / "copy")
            except ObjectChanged:  # it changed faster than it could be read: said, and nothing written
                continue
            seen.add((tmp_path / "copy").read_bytes())
    finally:
        stop.set()
        writer.join()
    assert seen <= set(versions)


# --- four errors ------------------------------------------------------------------------------------------------------


def test_missing(place: Place, tmp_path: Path) -> None:
    place.store.put_bytes(place.key("folder/a"), b"1")
    for name in ("nothing", "folder"):
        key = place.key(name)
        for read in (
            lambda key=key: place.store.stat(key),
            lambda key=key: place.store.get(key, tmp_path / "copy"),
            lambda key=key: place.store.get_bytes(key),
            lambda key=key: place.store.read_range(key, 0, 1),
            lambda key=key: open_reader(place.store, key),
        ):
            with pytest.raises(MissingObject, match=r"expected an object, found .* Check the name") as caught:
                read()
            assert str(caught.value).startswith(place.store.uri(key))
    assert not (tmp_path / "copy").exists()


@pytest.mark.store
def test_missing__bucket_is_named(tmp_path: Path) -> None:
    store = shared_server().store(bucket="no-such-bucket")
    for use in (
        lambda: list(store.find()),
        lambda: store.stat("a"),
        lambda: store.get("a", tmp_path / "a"),
        lambda: store.put_bytes("a", b""),
    ):
        with pytest.raises(MissingObject, match="the bucket does not exist"):
            use()


@pytest.mark.store
@pytest.mark.parametrize("keys", [("culling-tests", "wrong"), ("nobody", "wrong")], ids=["wrong secret", "unknown key"])
def test_denied__s3_wrong_keys(keys: tuple[str, str], tmp_path: Path) -> None:
    shared_server().store().put_bytes("contract/denied", b"1")
    store = shared_server().store(CULLING_S3_ACCESS_KEY=keys[0], CULLING_S3_SECRET_KEY=keys[1])
    for use in (
        lambda: store.stat("contract/denied"),
        lambda: store.get("contract/denied", tmp_path / "copy"),
        lambda: store.put_bytes("contract/denied", b"2"),
        lambda: list(store.find("contract/")),
        lambda: store.delete("contract/denied"),
    ):
        with pytest.raises(AccessDenied, match="keys from the environment") as caught:
            use()
        assert keys[1] not in str(caught.value)


@pytest.mark.store
@pytest.mark.skipif("shared_server().external", reason="another server has no such reader")
def test_denied__s3_reader_may_not_write() -> None:
    shared_server().store().put_bytes("contract/reader", b"1")
    store = shared_server().store(CULLING_S3_ACCESS_KEY=READER_KEY, CULLING_S3_SECRET_KEY=READER_SECRET)
    assert store.get_bytes("contract/reader")[0] == b"1"
    for use in (
        lambda: store.put_bytes("contract/reader", b"2"),
        lambda: store.put_stream("contract/reader", io.BytesIO(noise(PART + 1))),
        lambda: store.delete("contract/reader"),
    ):
        with pytest.raises(AccessDenied, match=r"expected to (write|delete)"):
            use()


def test_denied__local_file_of_another_user(tmp_path: Path) -> None:
    """As a user without rights, in a process of its own, as tests may run as root."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    store = LocalStore(tmp_path / "store")
    store.put_bytes("folder/secret", b"1")
    (tmp_path / "store/folder/secret").chmod(0)
    (tmp_path / "store/folder").chmod(0o555)
    (tmp_path / "store/closed").mkdir(mode=0)
    found = as_nobody(
        lambda: store.get_bytes("folder/secret"),
        lambda: store.put_bytes("folder/new", b"1"),
        lambda: store.delete("folder/secret"),
        lambda: list(store.find("closed/")),
    )
    (tmp_path / "store/closed").chmod(0o755)
    (tmp_path / "store/folder").chmod(0o755)
    assert [name for name, _ in found] == ["AccessDenied"] * 4
    assert "Change its owner or mode" in found[0][1]


def as_nobody(*uses: Callable[[], object]) -> list[tuple[str, str]]:
    """The errors that `uses` end in for the user nobody."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        found = []
        for use in uses:
            try:
                use()
                found.append(("", ""))
            except CullingError as error:
                found.append((type(error).__name__, str(error)))
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answers:
        text = answers.read()
    os.waitpid(child, 0)
    return [(name, message) for name, message in json.loads(text)]


@pytest.mark.store
def test_transient__one_reset_is_not_noticed(link: FaultyLink, tmp_path: Path) -> None:
    store, key = shared_server().store(link.endpoint), f"contract/{uuid.uuid4().hex}"
    for direction, after_bytes in (("up", 0), ("up", 2_000), ("up", 400_000), ("down", 0), ("down", 300)):
        link.add(Fault("cut", times=2, after_bytes=after_bytes, direction=direction))  # type: ignore[arg-type]
        store.put_bytes(key, noise(500_000))
        store.get(key, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == noise(500_000)
    assert link.suffered >= 8


@pytest.mark.store
def test_transient__no_server_is_said_after_patience_ends(tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:9"  # the port of the discard service, where nobody listens
    store = shared_server().store(endpoint, CULLING_S3_RETRY_S=0.5)
    for use in (
        lambda: store.stat("a"),
        lambda: store.get("a", tmp_path / "copy"),
        lambda: store.put_bytes("a", b""),
        lambda: list(store.find()),
    ):
        with pytest.raises(TransientStoreError, match=r"found no connection in \d+ tries.*127.0.0.1:9 answers"):
            use()


def test_corrupt__local_bytes_that_changed_by_themselves(tmp_path: Path) -> None:
    store, file = LocalStore(tmp_path / "store"), tmp_path / "store" / "a"
    store.put_bytes("a", b"0123456789")
    if not has_attributes(file):
        pytest.skip("this file system has no extended attributes, where checksums are kept")
    before = file.stat()
    with file.open("r+b") as damaged:
        damaged.seek(3)
        damaged.write(b"X")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "copy").write_bytes(b"old")
    for read in (lambda: store.get("a", tmp_path / "copy"), lambda: store.get_bytes("a")):
        with pytest.raises(CorruptObject, match=r"expected 10 bytes with sha256 84d89877f0d4, found .* write it again"):
            read()
    assert (tmp_path / "copy").read_bytes() == b"old"


def has_attributes(file: Path) -> bool:
    """Whether the file system keeps extended attributes."""
    try:
        return bool(os.listxattr(file))
    except OSError:
        return False


def test_corrupt__local_file_that_somebody_edited_is_a_new_object(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    old = store.put_bytes("a", b"0123456789")
    (tmp_path / "a").write_bytes(b"edited")
    data, stat = store.get_bytes("a")
    assert data == b"edited"
    assert stat.etag != old.etag


@pytest.mark.store
@pytest.mark.parametrize("size", [1_000, 2 * PART])
def test_corrupt__s3_stored_with_the_checksum_of_other_bytes(tmp_path: Path, size: int) -> None:
    server, key = shared_server(), f"contract/{uuid.uuid4().hex}"
    client = Minio(server.endpoint.partition("://")[2], server.access_key, server.secret_key, secure=False)
    wrong = {"sha256": hashlib.sha256(b"other bytes").hexdigest()}
    client.put_object(server.bucket, key, io.BytesIO(noise(size)), size, metadata=wrong, part_size=PART)
    with pytest.raises(CorruptObject, match=f"expected sha256 {wrong['sha256'][:12]}, found .* write it again"):
        server.store().get(key, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.store
def test_corrupt__damaged_once_on_the_way_down_is_read_again(link: FaultyLink, tmp_path: Path) -> None:
    store, key = shared_server().store(link.endpoint), f"contract/{uuid.uuid4().hex}"
    store.put_bytes(key, noise(100_000))
    link.add(Fault("damage", times=1, direction="down"))
    store.get(key, tmp_path / "copy")
    assert link.suffered == 1
    assert (tmp_path / "copy").read_bytes() == noise(100_000)


@pytest.mark.store
def test_corrupt__damaged_always_on_the_way_down_is_said(link: FaultyLink, tmp_path: Path) -> None:
    store, key = shared_server().store(link.endpoint), f"contract/{uuid.uuid4().hex}"
    store.put_bytes(key, noise(100_000))
    link.add(Fault("damage", times=6, direction="down"))
    for read in (lambda: store.get_bytes(key), lambda: store.get(key, tmp_path / "copy")):
        with pytest.raises(CorruptObject):
            read()
    assert link.suffered == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.store
def test_corrupt__damaged_on_the_way_up_never_becomes_an_object(link: FaultyLink) -> None:
    store, key = shared_server().store(link.endpoint), f"contract/{uuid.uuid4().hex}"
    link.add(Fault("damage", times=1, direction="up"))
    store.put_bytes(key, noise(100_000))
    assert link.suffered == 1
    assert shared_server().store().get_bytes(key)[0] == noise(100_000)
