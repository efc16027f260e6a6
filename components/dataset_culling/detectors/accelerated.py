"""A torch detector run by OpenVINO on the CPU, exported at construction for one size of frames."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from dataset_culling.detectors.base import Features, NetworkInput, Precision
from dataset_culling.detectors.export import export_onnx
from dataset_culling.detectors.exported import load_exported
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.types import ImageArray, ImageDetections


class AcceleratedDetector:
    """See `detectors.base.Detector`. Works on frames of one size, at one input size.

    Args:
        detector: The detector to export; later changes of its weights have no effect.
        height_px: H of the frames.
        width_px: W of the frames.
        side_px: Short side of the network's input; 0: the detector's own.
        min_score: Least `min_score` of later calls.

    Raises:
        ConfigError: If this kind of detector cannot be exported.
        WeightsError: If OpenVINO rejects the export.
    """

    def __init__(
        self, detector: TorchDetector, *, height_px: int, width_px: int, side_px: int, min_score: float
    ) -> None:
        self.name, self.class_names, self.full_side_px = detector.name, detector.class_names, detector.full_side_px
        self._fingerprint = hashlib.sha256(f"openvino {height_px} {detector.fingerprint()}".encode()).hexdigest()
        with tempfile.TemporaryDirectory(prefix="culling-accelerated-") as folder:
            description = export_onnx(
                detector, Path(folder), height_px=height_px, width_px=width_px, side_px=side_px, min_score=min_score,
                runner="openvino",
            )  # fmt: skip
            self._network = load_exported(description)
        self._gflops = detector.gflops

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: the one of the export."""
        return self._network.network_size(height_px, width_px, side_px)

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `Detector.prepare`; ignores `side_px`."""
        return self._network.prepare(image, side_px)

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """See `Detector.predict`."""
        return self._network.predict(images, side_px=side_px, min_score=min_score, batch_size=batch_size)

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """See `Detector.detect`."""
        return self._network.detect(batch, min_score=min_score, features=features)

    def ready(self, precision: Precision = "auto") -> Self:
        """See `Detector.ready`: always float32."""
        del precision
        return self

    def fingerprint(self) -> str:
        """See `Detector.fingerprint`; of the exported detector, because two exports differ in bytes."""
        return self._fingerprint

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """See `Detector.gflops`: those of the exported detector."""
        return self._gflops(height_px, width_px, side_px)
