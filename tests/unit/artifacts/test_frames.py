"""frames/1: written as a stream, read at random and in order, and never believed unchecked."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import simplejpeg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataset_culling.artifacts.frames import REPORT, FrameReader, FrameWriter, encode_jpeg, frame_id_of
from dataset_culling.artifacts.header import HEADER, Origin, digest, verify
from dataset_culling.errors import ArtifactError, CorruptArtifact, OutputError, SchemaMismatch

ORIGIN = Origin("test")


def picture(number: int, height: int = 24, width: int = 32) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 5 + number, y * 7, x + y + 2 * number], axis=-1).astype(np.uint8)


def write(path: Path, count: int = 10, *, shard_bytes: int = 4000, start_utc: str = "") -> Path:
    with FrameWriter(path, origin=ORIGIN, jpeg_quality=90, shard_bytes=shard_bytes, start_utc=start_utc) as frames:
        for number in range(count):
            frames.add(1000 * number, float(number), picture(number))
        frames.counts["dropped"] = 3
        frames.json(REPORT, {"why": "because"})
    return path


def test_frame_writer__reads_back_in_order_and_at_random(tmp_path: Path) -> None:
    reader = FrameReader(write(tmp_path / "a", start_utc="2026-11-20T00:00:00.000Z"))
    table = reader.table
    assert len(reader) == len(table) == 10
    assert table.frame_ids.tolist() == [1000 * n for n in range(10)]
    assert table.time_s.tolist() == list(range(10))
    assert (set(table.width_px.tolist()), set(table.height_px.tolist())) == ({32}, {24})
    assert table.start_utc == "2026-11-20T00:00:00.000Z"
    assert reader.header.counts == {"frames": 10, "shards": len(list((tmp_path / "a/shards").iterdir())), "dropped": 3}
    assert reader.header.counts["shards"] > 1
    assert reader.report == {"why": "because"}
    for number in range(10):
        np.testing.assert_array_equal(reader.image(1000 * number), expected(number))
    order = [7000, 0, 7000, 3000]
    assert [image.sum() for image in reader.images(order)] == [expected(n // 1000).sum() for n in order]


def expected(number: int) -> npt.NDArray[np.uint8]:
    decoded: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(encode_jpeg(picture(number), quality=90))
    return decoded


@pytest.mark.parametrize("batch_size", [1, 3, 10, 64])
def test_frame_reader__iter_gives_all_in_batches(tmp_path: Path, batch_size: int) -> None:
    reader = FrameReader(write(tmp_path / "a"))
    batches = list(reader.iter(batch_size))
    assert np.concatenate([ids for ids, _ in batches]).tolist() == reader.table.frame_ids.tolist()
    assert [len(images) for _, images in batches] == [len(ids) for ids, _ in batches]
    assert all(len(ids) == batch_size for ids, _ in batches[:-1])
    images = [image for _, batch in batches for image in batch]
    assert all(np.array_equal(image, expected(number)) for number, image in enumerate(images))


def test_frame_writer__shards_are_plain_tar_files(tmp_path: Path) -> None:
    reader = FrameReader(write(tmp_path / "a"))
    members: dict[str, bytes] = {}
    for shard in sorted((tmp_path / "a/shards").iterdir()):
        with tarfile.open(shard) as tar:
            members |= {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert members == {f"{1000 * n:012d}.jpg": reader.jpeg(1000 * n) for n in range(10)}


def test_frame_writer__equal_frames_give_equal_bytes(tmp_path: Path) -> None:
    assert digest(write(tmp_path / "a")) == digest(write(tmp_path / "b"))
    verify(tmp_path / "a", "frames/1")


def test_frame_writer__no_frames(tmp_path: Path) -> None:
    reader = FrameReader(write(tmp_path / "a", count=0))
    assert len(reader) == 0
    assert list(reader.iter(4)) == []
    assert list(reader.images([])) == []
    assert reader.near_duplicates[0].shape == (0,)


def test_frame_writer__frames_must_ascend(tmp_path: Path) -> None:
    def write_twice() -> None:
        with FrameWriter(tmp_path / "a", origin=ORIGIN) as frames:
            frames.add(5, 0.005, picture(1))
            frames.add(5, 0.005, picture(1))

    with pytest.raises(ValueError, match="ascending order: 5 after 5"):
        write_twice()
    assert not (tmp_path / "a" / HEADER).exists()


def test_frame_writer__what_a_killed_run_left_is_not_counted_in(tmp_path: Path) -> None:
    left = tmp_path / "a" / "shards" / "00007.tar"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a shard")
    write(tmp_path / "a")
    assert not left.exists()
    assert digest(tmp_path / "a") == digest(write(tmp_path / "b"))


def test_frame_writer__a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(OutputError, match="Free space or choose another --out"):
        write(tmp_path / "a")


def test_frame_writer__full_disk_is_one_line_and_leaves_no_header(tmp_path: Path) -> None:
    """A real limit on file size stands for a full disk: the kernel refuses the write just so."""
    code = f"""
import resource, signal, sys
from pathlib import Path
sys.path[:0] = {sys.path!r}
from test_frames import write
from dataset_culling.errors import OutputError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write(Path({str(tmp_path / "a")!r}), count=100, shard_bytes=10**9)
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "expected to write frames/1, found File too large" in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1
    assert not (tmp_path / "a" / HEADER).exists()


def test_frame_reader__random_reads_take_only_the_frames_bytes(tmp_path: Path) -> None:
    """Shards in a store are read by byte range and by nothing else."""
    asked: list[tuple[str, int, int]] = []
    store: dict[str, bytes] = {}

    def put(shard: Path, name: str) -> str:
        store[f"s3://bucket/{name}"] = shard.read_bytes()
        return f"s3://bucket/{name}"

    def open_range(uri: str, offset: int, length: int) -> bytes:
        asked.append((uri, offset, length))
        return store[uri][offset : offset + length]

    with FrameWriter(tmp_path / "a", origin=ORIGIN, jpeg_quality=90, shard_bytes=4000, put_shard=put) as frames:
        for number in range(10):
            frames.add(1000 * number, float(number), picture(number))
    assert not (tmp_path / "a" / "shards").exists()
    assert len(store) > 1
    reader = FrameReader(tmp_path / "a", open_range)
    images = list(reader.images([8000, 2000]))
    assert np.array_equal(images[0], expected(8))
    assert np.array_equal(images[1], expected(2))
    assert sum(length for _, _, length in asked) == len(reader.jpeg(8000)) + len(reader.jpeg(2000))


def test_frame_reader__unknown_frame(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="frame 1234: expected it among these 10 frames"):
        FrameReader(write(tmp_path / "a")).image(1234)


def test_frame_reader__other_kind(tmp_path: Path) -> None:
    write(tmp_path / "a")
    header = json.loads((tmp_path / "a" / HEADER).read_text())
    (tmp_path / "a" / HEADER).write_text(json.dumps({**header, "kind": "labels"}))
    with pytest.raises(SchemaMismatch, match="expected artifact frames/1, found labels/1"):
        FrameReader(tmp_path / "a")


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 10**9), mask=st.integers(1, 255))
def test_frame_reader__any_flipped_byte_of_any_frame_is_found(tmp_path: Path, at: int, mask: int) -> None:
    path = tmp_path / f"{at}-{mask}"
    reader = FrameReader(write(path, count=3, shard_bytes=10**9))
    places = [
        offset + byte
        for offset, size in zip(reader._offset.tolist(), reader._bytes.tolist(), strict=True)
        for byte in range(size)
    ]
    place = places[at % len(places)]
    shard = path / "shards" / "00000.tar"
    data = bytearray(shard.read_bytes())
    data[place] ^= mask
    shard.write_bytes(data)
    frame = next(i for i in (2, 1, 0) if reader._offset[i] <= place)
    with pytest.raises(CorruptArtifact, match=f"00000.tar: expected frame {1000 * frame} in .* at offset") as caught:
        list(FrameReader(path).iter(3))
    assert "\n" not in str(caught.value)


def test_frame_reader__bytes_that_are_no_jpeg(tmp_path: Path) -> None:
    with FrameWriter(tmp_path / "a", origin=ORIGIN) as frames:
        jpeg = encode_jpeg(picture(1), quality=90)
        frames.add_jpeg(7, 0.007, jpeg[:-20])
    with pytest.raises(CorruptArtifact, match=r"expected frame 7 in .* found a JPEG that does not decode"):
        FrameReader(tmp_path / "a").image(7)


def test_frame_reader__shard_cut_off(tmp_path: Path) -> None:
    shard = write(tmp_path / "a") / "shards" / "00001.tar"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(CorruptArtifact, match=r"00001\.tar: expected \d+ bytes, found \d+"):
        FrameReader(tmp_path / "a")


def test_frame_reader__shard_gone(tmp_path: Path) -> None:
    (write(tmp_path / "a") / "shards" / "00000.tar").unlink()
    with pytest.raises(CorruptArtifact, match="found no such file"):
        FrameReader(tmp_path / "a")


@pytest.mark.parametrize("column", ["frame_id", "offset", "bytes", "crc32"])
def test_frame_reader__index_of_other_bytes(tmp_path: Path, column: str) -> None:
    file = write(tmp_path / "a") / f"{column}.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorruptArtifact, match=f"{column}.npy: expected sha256"):
        FrameReader(tmp_path / "a")


def test_frame_reader__travels_to_another_process(tmp_path: Path) -> None:
    reader = FrameReader(write(tmp_path / "a"))
    reader.image(0)
    copy = pickle.loads(pickle.dumps(reader))
    np.testing.assert_array_equal(copy.image(4000), expected(4))


def test_frame_reader__reads_on_after_close(tmp_path: Path) -> None:
    reader = FrameReader(write(tmp_path / "a"))
    reader.image(0)
    reader.close()
    np.testing.assert_array_equal(reader.image(0), expected(0))


@pytest.mark.parametrize(("time_s", "frame_id"), [(0.0, 0), (1.0004, 1000), (1.0006, 1001), (86399.96, 86399960)])
def test_frame_id_of__milliseconds(time_s: float, frame_id: int) -> None:
    assert frame_id_of(time_s) == frame_id


@pytest.mark.parametrize(
    ("size", "least", "wanted"),
    [
        pytest.param((96, 128), (48, 64), (48, 64), id="half"),
        pytest.param((96, 128), (49, 64), (96, 128), id="a little more than half"),
        pytest.param((96, 128), (20, 30), (24, 32), id="a quarter"),
        pytest.param((96, 128), (1, 1), (12, 16), id="no less than an eighth"),
        pytest.param((98, 126), (10, 10), (49, 63), id="what a half divides and a quarter does not"),
        pytest.param((97, 128), (10, 10), (97, 128), id="what nothing divides"),
    ],
)
def test_frame_reader__reduced_gives_means_of_whole_cells(tmp_path, size, least, wanted):
    smooth = np.kron(np.arange(12).reshape(3, 4), np.ones((40, 40)))[: size[0], : size[1]] * 20
    image = np.repeat(smooth[..., None], 3, axis=2).astype(np.uint8)
    with FrameWriter(tmp_path / "frames", origin=Origin("test")) as writer:
        writer.add(7, 0.007, image)
    reader = FrameReader(tmp_path / "frames")
    ((found, height, width),) = reader.reduced(
        [7], lambda image, height, width: (image, height, width), lambda height, width: least, threads=1, ahead=2
    )
    assert (height, width) == size
    assert found.shape[:2] == wanted
    step = size[0] // wanted[0]
    cells = reader.image(7).reshape(wanted[0], step, wanted[1], step, 3).mean((1, 3))
    assert np.abs(found - cells).mean() < 1.5
