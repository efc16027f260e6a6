"""Paths and URIs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset_culling.errors import ConfigError, MissingObject
from dataset_culling.storage import (
    LocalStore,
    fetch,
    is_remote,
    list_prefix,
    open_object,
    open_store,
    put_file,
    read_range,
)


@pytest.mark.parametrize(
    ("uri", "remote"),
    [("s3://b/k", True), ("minio://b/k", True), ("/a/b", False), ("a", False), ("file:///a", False), ("C:/x", False)],
)
def test_is_remote(uri: str, remote: bool) -> None:
    assert is_remote(uri) is remote


@pytest.mark.parametrize(
    ("path", "root", "key"),
    [
        ("/data/a/b.mp4", "/data/a", "b.mp4"),
        ("/data/a/", "/data/a", ""),
        ("/b.mp4", "/", "b.mp4"),
        ("a/b", "a", "b"),
        ("b", ".", "b"),
    ],
)
def test_open_store__paths(path: str, root: str, key: str) -> None:
    store, found = open_store(path)
    assert isinstance(store, LocalStore)
    assert (store.root, found) == (Path(root), key)


@pytest.mark.parametrize("uri", ["ftp://host/key", "s3://", "s3:///key", "s3://UPPER/key", "s3://a/key", "gs://b/k"])
def test_open_store__refused(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"expected .*s3://bucket/key"):
        open_store(uri)


def test_fetch__a_path_is_given_back(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    assert fetch(str(tmp_path / "a"), tmp_path / "copy") == tmp_path / "a"
    with pytest.raises(MissingObject):
        fetch(str(tmp_path / "b"), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_helpers__on_paths(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"0123456789")
    for name in ("night/a.mp4", "night/b.mp4", "nightly/c.mp4"):
        put_file(tmp_path / "source", f"{tmp_path}/{name}")
    assert read_range(f"{tmp_path}/night/a.mp4", 3, 4) == b"3456"
    assert [Path(found.uri).name for found in list_prefix(f"{tmp_path}/night")] == ["a.mp4", "b.mp4"]
    assert [Path(found.uri).name for found in list_prefix(f"{tmp_path}/night/")] == ["a.mp4", "b.mp4"]
    assert [Path(found.uri).name for found in list_prefix(f"{tmp_path}/night/a.mp4")] == ["a.mp4"]
    assert list_prefix(f"{tmp_path}/nig") == []
    with open_object(f"{tmp_path}/night/a.mp4") as file:
        file.seek(-2, 2)
        assert file.read() == b"89"


def test_find__symbolic_links_and_odd_files_do_not_end_a_listing(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put_bytes("a/b", b"1")
    (tmp_path / "a" / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "a" / "b")
    assert [(found.key, found.size) for found in store.find()] == [("a/b", 1), ("a/link", 1)]


def test_folders(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for key in ("cameras/b/x", "cameras/a/y/z", "cameras/file", "other/c/d"):
        store.put_bytes(key, b"")
    assert store.folders("cameras/") == ["a", "b"]
    assert store.folders("") == ["cameras", "other"]
    assert store.folders("nothing/") == []


def test_delete__empty_folders_go_but_not_the_stores_own(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "root")
    store.put_bytes("a/b/c/one", b"")
    store.put_bytes("a/two", b"")
    store.delete("a/b/c/one")
    assert sorted(file.name for file in (tmp_path / "root/a").iterdir()) == ["two"]
    store.delete("a/two")
    assert list((tmp_path / "root").iterdir()) == []
