"""Footage read from a real object store and frames left in it: no file is copied whole, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.errors import FootageError, MissingObject
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.extract_frames.config import ExtractFramesConfig
from dataset_culling.stages.extract_frames.stage import run
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.stages.score_frames.stage import run as score_frames
from dataset_culling.storage import list_prefix, put_file, read_range
from s3_server import shared_server
from video_files import number_of, numbered_picture, write_text_as_video, write_video

pytestmark = pytest.mark.store


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where this test's objects lie."""
    server = shared_server()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/{tmp_path.name}"


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    folder = tmp_path / "camera"
    folder.mkdir()
    for place, name in enumerate(["20261120_100000.mp4", "20261120_100010.mkv"]):
        write_video(folder / name, num_frames=250, picture=lambda n, at=place: numbered_picture(250 * at + n))
    write_text_as_video(folder / "20261120_100020.mp4")
    return folder


def extract(out: Path, source: str, **settings: object) -> None:
    config = ExtractFramesConfig(sources=(source,), gap_s=0, near_duplicates="keep").replace(**settings)
    run(config, {}, {"pool": out / "pool", "heldout": out / "heldout"}, StageContext("extract-frames"))


def test_run__footage_and_frames_in_a_store(tmp_path: Path, prefix: str, camera: Path) -> None:
    for file in camera.iterdir():
        put_file(file, f"{prefix}/camera/{file.name}")
    extract(tmp_path / "here", str(camera), shard_bytes=50_000)
    extract(tmp_path / "there", f"{prefix}/camera/*.m*", shard_bytes=50_000, shards_uri=f"{prefix}/frames/")
    for part in ("pool", "heldout"):
        assert not (tmp_path / "there" / part / "shards").exists()
        here, there = FrameReader(tmp_path / "here" / part), FrameReader(tmp_path / "there" / part, read_range)
        assert there.table.frame_ids.tolist() == here.table.frame_ids.tolist()
        assert list(there.jpegs(there.table.frame_ids)) == list(here.jpegs(here.table.frame_ids))
    assert [number_of(image) for image in there.images(there.table.frame_ids)] == [400, 425, 450, 475]
    assert there.table.start_utc == "2026-11-20T10:00:00.000Z"
    assert any("found a text file" in reason for reason in there.report["left_out"])
    shards = list_prefix(f"{prefix}/frames")
    assert len(shards) == sum(len(FrameReader(tmp_path / "there" / p, read_range)._shards) for p in ("pool", "heldout"))


def test_stages__read_frames_whose_shards_lie_in_a_store(tmp_path: Path, prefix: str, camera: Path) -> None:
    extract(tmp_path / "here", str(camera / "*.mkv"))
    extract(tmp_path / "there", str(camera / "*.mkv"), shards_uri=f"{prefix}/frames")
    found = {}
    for where in ("here", "there"):
        inputs, out = {"frames": tmp_path / where / "pool"}, tmp_path / where / "detections"
        score_frames(ScoreFramesConfig(classes=("person",)), inputs, {"detections": out}, StageContext("score-frames"))
        found[where] = read_detections(out)
    assert found["there"].frame_ids.tolist() == found["here"].frame_ids.tolist() != []
    np.testing.assert_array_equal(found["there"].boxes_xyxy, found["here"].boxes_xyxy)


def test_frame_reader__few_frames_take_few_bytes(tmp_path: Path, prefix: str, camera: Path) -> None:
    extract(tmp_path / "a", str(camera / "*.mkv"), frames_per_second=25.0, shards_uri=f"{prefix}/frames")
    taken: list[int] = []

    def counting(uri: str, offset: int, length: int) -> bytes:
        data = read_range(uri, offset, length)
        taken.append(len(data))
        return data

    frames = FrameReader(tmp_path / "a" / "pool", counting)
    wanted = np.random.default_rng(0).choice(frames.table.frame_ids, 20, replace=False)
    assert sum(1 for _ in frames.images(wanted)) == 20
    assert sum(taken) == sum(len(frames.jpeg(int(frame_id))) for frame_id in wanted)


def test_run__nothing_under_the_prefix(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(FootageError, match="no videos under it"):
        extract(tmp_path / "a", f"{prefix}/nobody")


def test_frame_reader__shard_gone_from_the_store(tmp_path: Path, prefix: str, camera: Path) -> None:
    extract(tmp_path / "a", str(camera / "*.mkv"), shards_uri=f"{prefix}/frames")
    frames = FrameReader(tmp_path / "a" / "pool", lambda uri, offset, size: read_range(uri + "x", offset, size))
    with pytest.raises(MissingObject):
        frames.image(0)
