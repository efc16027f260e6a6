"""Scans: memory that runs out, a kill, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin, digest
from dataset_culling.detectors.base import DetectorRef, ran_out_of_memory
from dataset_culling.detectors.table import load_trainable
from dataset_culling.errors import ConfigError
from dataset_culling.inference.detect import ScanLog, scan
from dataset_culling.storage.scratch import SCRATCH, SCRATCH_URI
from dataset_culling.types import Detections, parse_classes


def footage(path: Path, num_frames: int, height: int = 90, width: int = 120) -> FrameReader:
    """Frames with something that moves in front of noise."""
    rng = np.random.default_rng(2)
    background = rng.integers(0, 120, (height, width, 3)).astype(np.uint8)
    with FrameWriter(path, origin=Origin("test")) as writer:
        for row in range(num_frames):
            image = background.copy()
            image[20:60, row % 60 : row % 60 + 40] = 220
            writer.add(row * 1000, float(row), image)
    return FrameReader(path)


def look(
    frames: FrameReader,
    log: ScanLog,
    *,
    batch_size: int = 2,
    min_score: float = 0.01,
    side_px: int = 96,
    features: bool = False,
) -> Detections:
    return scan(
        frames, frames.table.frame_ids, load_trainable(DetectorRef(name="tiny")), parse_classes(["person", "car"]),
        side_px=side_px, min_score=min_score, batch_size=batch_size, progress=lambda done, total: None, log=log,
        features=features,
    )  # fmt: skip


SCORING = """
import sys, time
from pathlib import Path
from dataset_culling.inference import detect as detecting
from dataset_culling.stages.base import StageContext
from dataset_culling.stages.score_frames.config import ScoreFramesConfig
from dataset_culling.stages.score_frames.stage import run

detecting.PART_S = 0.0  # a file after every unit of 16 frames
def progress(done, total):
    if done >= int(sys.argv[3]):  # long enough to be killed here
        print("far enough", flush=True)
        time.sleep(600)
context = StageContext("score-frames", progress=progress)
config = ScoreFramesConfig(batch_size=2, min_score=0.01)
report = run(config, {"frames": Path(sys.argv[1])}, {"detections": Path(sys.argv[2])}, context)
print(*report.notes, report.figures["seconds_per_frame"] > 0, sep="|")
"""


def score(frames: Path, out: Path, scratch: Path, stop_at: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCORING, str(frames), str(out), str(stop_at)],
        env={**os.environ, SCRATCH: str(scratch)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_scan__a_killed_scoring_goes_on_and_ends_with_the_same_bytes(tmp_path):
    footage(tmp_path / "frames", 50)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = score(tmp_path / "frames", tmp_path / "a", tmp_path / "whole", 1000)
    killed = score(tmp_path / "frames", tmp_path / "b", tmp_path / "killed", 40)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "far enough\n"
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "b" / "artifact.json").exists()
    left = sorted(path.name for path in (tmp_path / "killed").rglob("*.npz"))
    assert left == ["boxes-000000000.npz", "boxes-000000016.npz"]

    again = score(tmp_path / "frames", tmp_path / "b", tmp_path / "killed", 1000)
    said, _ = again.communicate()
    assert said.startswith("tiny: 32 of 50 frames were looked at before")
    whole.communicate()
    assert whole.returncode == 0
    assert digest(tmp_path / "b") == digest(tmp_path / "a")
    for file in (tmp_path / "a").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv(SCRATCH, str(folder))
    monkeypatch.setattr("dataset_culling.inference.detect.PART_S", 0.0)
    return folder


def test_scan__goes_on_from_whole_files_only(tmp_path, scratch):
    frames = footage(tmp_path / "frames", 40)
    whole = look(frames, ScanLog(), features=True)
    parts = sorted(scratch.rglob("*.npz"))
    assert [part.name for part in parts] == [f"boxes-{first:09d}.npz" for first in (0, 16, 32)]
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    log = ScanLog()
    again = look(frames, log, features=True)
    assert log.notes == ["tiny: 16 of 40 frames were looked at before; went on from there."]
    assert log.num_looked == 24
    assert again.boxes_xyxy.tobytes() == whole.boxes_xyxy.tobytes()
    assert again.offsets.tolist() == whole.offsets.tolist()
    assert whole.features is not None
    assert again.features is not None
    assert again.features.tobytes() == whole.features.tobytes()


@pytest.mark.parametrize(
    "change", [{"min_score": 0.02}, {"batch_size": 4}, {"side_px": 64}, {"features": True}], ids=str
)
def test_scan__does_not_go_on_from_other_settings(tmp_path, scratch, change):
    frames = footage(tmp_path / "frames", 20)
    look(frames, ScanLog())
    log = ScanLog()
    look(frames, log, **change)
    assert (log.notes, log.num_looked) == ([], 20)


def test_scan__without_scratch_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.delenv(SCRATCH, raising=False)
    monkeypatch.delenv(SCRATCH_URI, raising=False)
    frames = footage(tmp_path / "frames", 3)
    for _ in range(2):
        log = ScanLog()
        look(frames, log)
        assert (log.notes, log.num_looked) == ([], 3)


def test_scan__scratch_that_is_no_folder_is_explained(tmp_path, monkeypatch):
    frames = footage(tmp_path / "frames", 3)
    monkeypatch.setenv(SCRATCH, str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"CULLING_SCRATCH: the folder .* is missing"):
        look(frames, ScanLog())


SHORT_OF_MEMORY = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.inference.detect import ScanLog, scan
from dataset_culling.types import parse_classes

frames, tiny, classes = FrameReader(Path(sys.argv[1])), load_trainable(DetectorRef(name="tiny")), parse_classes(["car"])
def look(batch_size):
    log = ScanLog()
    found = scan(frames, frames.table.frame_ids, tiny, classes, side_px=int(sys.argv[2]), min_score=0.01,
                 batch_size=batch_size, progress=lambda done, total: None, log=log)
    return found, log.notes
alone, _ = look(1)  # threads and libraries have what they need from here on
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for mib in map(int, sys.argv[3:]):  # what is enough depends on how many frames are decoded at the moment
    resource.setrlimit(resource.RLIMIT_AS, (used + mib * 2**20, resource.RLIM_INFINITY))
    found, notes = look(16)
    if notes:
        break
print(len(found), abs(found.boxes_xyxy - alone.boxes_xyxy).max() < 0.05, abs(found.scores - alone.scores).max() < 1e-3)
print(*notes)
"""


def short_of_memory(frames: Path, side_px: int, *mib: int) -> subprocess.CompletedProcess[str]:
    """Look at the frames with so much memory beyond what is in use, and with the next less where that was enough."""
    return subprocess.run(
        [sys.executable, "-c", SHORT_OF_MEMORY, str(frames), str(side_px), *map(str, mib)],
        capture_output=True, text=True, check=False, env={**os.environ, "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip


def test_scan__out_of_memory_halves_the_batch_and_goes_on(tmp_path):
    footage(tmp_path / "frames", 16, 540, 960)
    done = short_of_memory(tmp_path / "frames", 540, 400, 300, 220, 160)
    assert done.returncode == 0, done.stderr
    figures, note = done.stdout.splitlines()
    assert figures == "16 True True"
    assert note.startswith("tiny: batches of 16 did not fit into memory; went on with ")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("shape mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_ran_out_of_memory__tells_memory_from_other_errors(error, expected):
    assert ran_out_of_memory(error) is expected


def test_scan__other_errors_are_not_hidden(tmp_path):
    frames = footage(tmp_path / "frames", 2)
    with pytest.raises(ConfigError, match="unicorn"):
        scan(
            frames, frames.table.frame_ids, load_trainable(DetectorRef(name="tiny")), parse_classes(["unicorn"]),
            side_px=96, min_score=0.1, batch_size=1, progress=lambda done, total: None, log=ScanLog(),
        )  # fmt: skip


def test_scan__frames_of_twice_the_size_are_seen_where_they_are(tmp_path):
    """Frames that are wanted at half their size are decoded at half their size; boxes are in px of the whole frame."""
    small = cv2.GaussianBlur(np.random.default_rng(2).integers(0, 120, (144, 256, 3)).astype(np.uint8), (0, 0), 2)
    small[60:110, 90:180] = (200, 40, 40)
    large = cv2.resize(small, (512, 288), interpolation=cv2.INTER_LINEAR)
    with FrameWriter(tmp_path / "frames", origin=Origin("test")) as writer:
        writer.add(0, 0.0, large)
    frames = FrameReader(tmp_path / "frames")
    found = look(frames, ScanLog(), side_px=144, min_score=0.05).image(0)
    tiny = load_trainable(DetectorRef(name="tiny"))
    (alone,) = tiny.predict([frames.image(0)], side_px=144, min_score=0.05)
    kept = [row for row, one in enumerate(alone.class_ids) if tiny.class_names[one] in ("person", "car")]
    assert len(found) == len(kept) > 0
    assert np.abs(found.boxes_xyxy - alone.boxes_xyxy[kept]).max() < 3.0
    assert np.abs(found.scores - alone.scores[kept]).max() < 0.1
    assert found.boxes_xyxy[:, 2].max() > 256
