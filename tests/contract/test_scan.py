"""What a scan promises over the detectors: batches, threads and size buckets change nothing that matters.

The tolerance: next to one image at a time in float32, boxes move by less than 0.05 px and scores by less than 0.001.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from dataset_culling.artifacts.frames import FrameReader, FrameWriter
from dataset_culling.artifacts.header import Origin
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_trainable
from dataset_culling.detectors.torch_base import Target, TorchDetector
from dataset_culling.inference.detect import ScanLog, scan, wants_openvino
from dataset_culling.types import Detections, ImageDetections, parse_classes

QUICK = ("tiny", "tiny_teacher", "ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn", "yolox_nano")
SIDE_PX = 96
MOST_PX, MOST_SCORE = 0.05, 1e-3
MIN_SCORE = 0.02
CLASSES = parse_classes(["person", "car"])


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> FrameReader:
    """Thirteen frames of noise with a bright rectangle, of two sizes that take turns unevenly."""
    rng = np.random.default_rng(4)
    path = tmp_path_factory.mktemp("footage") / "frames"
    with FrameWriter(path, origin=Origin("test")) as writer:
        for row in range(13):
            height, width = (160, 120) if row % 3 == 1 else (120, 160)
            image = rng.integers(0, 120, (height, width, 3)).astype(np.uint8)
            image[30 + row : 70 + row, 20:80] = 230
            writer.add(row * 1000, float(row), image)
    return FrameReader(path)


@pytest.fixture(scope="module", params=QUICK)
def detector(request: pytest.FixtureRequest, frames: FrameReader) -> TorchDetector:
    """The row's detector with random weights and batch norms that fit the frames; the embedded ones as they come."""
    if request.param.startswith("tiny"):
        return load_trainable(DetectorRef(name=request.param))
    torch.manual_seed(0)
    found = load_trainable(DetectorRef(name=request.param, weights="none")).specialise(CLASSES)
    for part in found.module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    found.module.train()
    images = [found.prepare(frames.image(row * 1000), SIDE_PX).image for row in (0, 2, 3)]
    none = Target(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0), torch.zeros(0, dtype=torch.bool)
    )
    with torch.no_grad():
        found.losses(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), [none] * 3)
    found.module.eval()
    return found


def look(
    frames: FrameReader,
    detector: TorchDetector,
    batch_size: int,
    precision: str = "float32",
    backend: str = "torch",
    log: ScanLog | None = None,
) -> Detections:
    return scan(
        frames, frames.table.frame_ids, detector, CLASSES, side_px=SIDE_PX, min_score=MIN_SCORE, batch_size=batch_size,
        progress=lambda done, total: None, log=log or ScanLog(), precision=precision, backend=backend,
    )  # fmt: skip


def unmatched(mine: ImageDetections, theirs: ImageDetections, most_px: float = MOST_PX) -> ImageDetections:
    """Boxes of mine without a counterpart within the tolerance among theirs."""
    if len(mine) == 0 or len(theirs) == 0:
        return mine
    apart = np.abs(mine.boxes_xyxy[:, None] - theirs.boxes_xyxy).max(2) < most_px
    apart &= np.abs(mine.scores[:, None] - theirs.scores) < MOST_SCORE
    return mine.rows(~(apart & (mine.class_ids[:, None] == theirs.class_ids)).any(1))


def test_scan__equals_one_image_at_a_time_in_float32(detector, frames):
    index = CLASSES.index_for(detector.name, detector.class_names)
    alone = [
        CLASSES.apply(
            detector.predict([frames.image(int(frame))], side_px=SIDE_PX, min_score=MIN_SCORE, batch_size=1)[0], index
        )
        for frame in frames.table.frame_ids
    ]
    assert sum(len(image) for image in alone) > 0
    for batch_size in (1, 4, 8):
        found = look(frames, detector, batch_size)
        assert found.frame_ids.tolist() == frames.table.frame_ids.tolist()
        assert found.scored.all()
        for row, image in enumerate(alone):
            for odd in (unmatched(found.image(row), image), unmatched(image, found.image(row))):
                assert (odd.scores < MIN_SCORE + MOST_SCORE).all(), (detector.name, batch_size, row, odd)


def test_scan__equal_settings_give_equal_bytes(detector, frames, monkeypatch):
    one = look(frames, detector, 4)
    monkeypatch.setattr("dataset_culling.inference.detect.MOST_THREADS", 1)
    other = look(frames, detector, 4)
    for name in ("offsets", "boxes_xyxy", "scores", "class_ids"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes()


def test_scan__bfloat16_sees_the_same_objects(frames):
    """Half the bits: what is sure stays sure. Scores move by less than 0.06, boxes by less than 3 px."""
    detector = load_trainable(DetectorRef(name="tiny"))
    exact, coarse = look(frames, detector, 4), look(frames, detector, 4, "bfloat16")
    sure = [image.rows(image.scores > 0.3) for image in map(exact.image, range(len(exact)))]
    for row, image in enumerate(sure):
        there = coarse.image(row)
        for box, score, class_id in zip(image.boxes_xyxy, image.scores, image.class_ids, strict=True):
            near = (np.abs(there.boxes_xyxy - box).max(1) < 3) & (there.class_ids == class_id)
            assert (np.abs(there.scores[near] - score) < 0.06).any(), (row, box, score)


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory, frames: FrameReader) -> FrameReader:
    """The frames of one of the two sizes."""
    path = tmp_path_factory.mktemp("footage") / "frames"
    with FrameWriter(path, origin=Origin("test")) as writer:
        for row in range(0, 13, 3):
            writer.add(row * 1000, float(row), frames.image(row * 1000))
    return FrameReader(path)


def test_scan__openvino_sees_what_torch_sees(detector, upright):
    """Boxes move by less than 0.2 px and scores by less than 0.001; it adds up in another order than torch."""
    log = ScanLog()
    quick, plain = look(upright, detector, 2, backend="openvino", log=log), look(upright, detector, 2)
    assert log.notes == []
    assert len(plain.scores) > 0
    for row in range(len(plain)):
        mine, theirs = quick.image(row), plain.image(row)
        theirs = theirs.rows((theirs.boxes_xyxy[:, 2:] > theirs.boxes_xyxy[:, :2]).all(1))  # exported ones drop others
        for odd in (unmatched(mine, theirs, 0.2), unmatched(theirs, mine, 0.2)):
            assert (odd.scores < MIN_SCORE + MOST_SCORE).all(), (detector.name, row, odd)


def test_scan__openvino_leaves_what_it_cannot_do_to_torch(frames, upright):
    detector, log = load_trainable(DetectorRef(name="tiny")), ScanLog()
    look(frames, detector, 4, backend="openvino", log=log)
    assert log.notes == ["tiny: run by torch, as frames are of 2 sizes."]
    assert wants_openvino(detector, "auto", "auto", 500)
    assert not wants_openvino(detector, "auto", "auto", 499)
    assert not wants_openvino(detector, "openvino", "bfloat16", 5)
    assert not wants_openvino(detector, "torch", "auto", 5000)
