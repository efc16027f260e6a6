"""A container's log is whole, whatever became of the one who read it along the way."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dataset_culling.errors import OutputError
from dataset_culling.runner import containers
from dataset_culling.runner.containers import Following


class Container:
    """One that has printed two lines. `follow` is what its engine's reader does after the first."""

    def __init__(self, follow: str) -> None:
        self.follow, self.killed, self.given_up = follow, threading.Event(), threading.Event()

    def logs(self, *, stream: bool = False, follow: bool = False) -> bytes | Iterator[bytes]:
        return self._stream() if stream else b"first\nsecond\n"

    def _stream(self) -> Iterator[bytes]:
        from requests.exceptions import ConnectionError as Lost

        yield b"first\n"
        if self.follow == "never ends":
            self.given_up.wait()
        if self.follow == "breaks off":
            raise Lost("the engine went away")
        yield b"second\n"

    def kill(self) -> None:
        self.killed.set()


@pytest.mark.parametrize("follow", ["ends", "never ends", "breaks off"])
def test_following__log_is_whole(monkeypatch, tmp_path, follow):
    monkeypatch.setattr(containers, "FOLLOWING_S", 30.0 if follow == "ends" else 0.2)
    container = Container(follow)
    following = Following(container, tmp_path / "stage.log", tmp_path)
    following.end()
    assert (tmp_path / "stage.log").read_bytes() == b"first\nsecond\n"
    assert [file.name for file in tmp_path.iterdir()] == ["stage.log"]
    container.given_up.set()


def test_following__a_log_that_cannot_be_written_stops_the_container(tmp_path):
    container = Container("ends")
    following = Following(container, tmp_path / "no folder" / "stage.log", tmp_path)
    with pytest.raises(OutputError):
        following.end()
    assert container.killed.is_set()
