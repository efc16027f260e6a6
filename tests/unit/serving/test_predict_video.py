"""What predicting does with awkward footage; the network always sees the same. See tests/pipeline/test_predict.py."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from constant_bundle import write_constant_bundle
from dataset_culling.artifacts.detection_log import read_detection_log
from dataset_culling.errors import ConfigError, FootageError, OutputError
from dataset_culling.serving.predict_video import PredictOptions, parse_formats, predict_video
from video_files import overwrite, truncate, write_video


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "bundle").mkdir()
    return str(write_constant_bundle(tmp_path / "bundle"))


def test_predict_video__files_of_two_sizes_on_one_clock(bundle: str, tmp_path: Path):
    write_video(tmp_path / "v1.mp4", num_frames=10, size=(192, 96))
    write_video(tmp_path / "v2.mp4", num_frames=5, size=(96, 96))
    done = predict_video(bundle, [str(tmp_path / "v*.mp4")], PredictOptions(out=tmp_path / "out"))
    assert (done.num_frames, done.num_damaged, done.boxes) == (15, 0, {"person": 0, "car": 15})
    assert done.footage_s == pytest.approx(15 / 25)
    assert len([note for note in done.notes if "those of 96x96 px are squeezed" in note]) == 1
    lines = [frame for _, frame in read_detection_log(tmp_path / "out" / "detections.jsonl")]
    assert [frame.frame_id for frame in lines] == [40 * number for number in range(15)]
    assert [frame.source for frame in lines] == [0] * 10 + [1] * 5
    # (8, 4, 24, 20) of 64 x 32 px, brought to the size of each frame.
    assert lines[0].found.boxes_xyxy.tolist() == [[24, 12, 72, 60]]
    assert lines[14].found.boxes_xyxy.tolist() == [[12, 12, 36, 60]]
    with av.open(str(tmp_path / "out" / "detections.mp4")) as file:
        assert len(list(file.decode(video=0))) == 15


def test_predict_video__damaged_frames_are_left_out_and_counted(bundle: str, tmp_path: Path):
    video = overwrite(write_video(tmp_path / "a.mp4", num_frames=100), 0.5, 400)
    done = predict_video(bundle, [str(video)], PredictOptions(out=tmp_path / "out", draw=False, formats=("jsonl",)))
    assert done.num_damaged > 0
    assert done.num_frames + done.num_damaged == 100
    assert f"{done.num_damaged} damaged frames were left out" in done.notes
    lines = [frame for _, frame in read_detection_log(tmp_path / "out" / "detections.jsonl")]
    assert [frame.frame for frame in lines] == list(range(done.num_frames))
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["detections.jsonl"]


def test_predict_video__nothing_is_left_of_what_could_not_be_done(bundle: str, tmp_path: Path):
    video = write_video(tmp_path / "a.mp4", num_frames=5)
    with pytest.raises(ConfigError, match=r"at least 0\.05"):
        predict_video(bundle, [str(video)], PredictOptions(out=tmp_path / "out", threshold=0.01))
    with pytest.raises(ConfigError, match="runs on the CPU"):
        predict_video(bundle, [str(video)], PredictOptions(out=tmp_path / "out", device="cuda"))
    with pytest.raises(FootageError, match="no moov box"):
        predict_video(bundle, [str(truncate(video, 0.5))], PredictOptions(out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    video = write_video(tmp_path / "a.mp4", num_frames=50, codec="mpeg4")
    with pytest.raises(FootageError, match="found 50 damaged"):  # an index, and noise where the pictures were
        predict_video(
            bundle, [str(overwrite(video, 0.01, int(0.9 * video.stat().st_size)))], PredictOptions(out=tmp_path / "out")
        )
    assert list((tmp_path / "out").iterdir()) == []
    video = write_video(tmp_path / "a.mp4", num_frames=5)
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match=r"expected to write detections\.jsonl"):
        predict_video(bundle, [str(video)], PredictOptions(out=tmp_path / "taken"))


@pytest.mark.parametrize(("text", "formats"), [("jsonl", ("jsonl",)), (" coco, jsonl,coco", ("coco", "jsonl"))])
def test_parse_formats__names_once_each(text: str, formats: tuple[str, ...]):
    assert parse_formats(text) == formats
