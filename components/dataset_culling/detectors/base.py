"""What a detector is to the rest of the house. Imports no torch.

K = boxes in one image, B = images in a batch; h, w = the network's input size, H, W = the original image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.types import ImageArray, ImageDetections


class DetectorRef(StageConfig):
    """Names a detector and its weights; everything a stage needs to build it."""

    name: str = Field(
        min_length=1,
        description="A name from 'culling detectors', or the path of a .yaml file that describes an exported network.",
    )
    weights: str = Field(
        "",
        description="Weights: empty for the detector's own default, a torchvision weights name, a file (.safetensors, "
        ".pth, .onnx), a model/1 directory, or s3://bucket/key.",
    )
    side_px: int = Field(
        0, ge=0, description="Short side in px that images are brought to before the network; 0: the detector's own."
    )


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """An image brought to the network's input size: image (h, w, 3) uint8 RGB, and network px per original px."""

    image: ImageArray
    scale_x: float
    scale_y: float


class Detector(Protocol):
    """Looks at images and returns boxes."""

    @property
    def name(self) -> str:
        """As in the table of detectors."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the class ids that `predict` returns, without a background class."""

    @property
    def full_side_px(self) -> int:
        """The short side it works at unless told otherwise."""

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """(h, w) that an original of this size is brought to when its short side should be `side_px` (0: its own).

        The result respects the detector's limits (least and largest side, multiples it needs).
        """

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """Boxes of each image in px of the original, clipped to it, highest score first, none below `min_score`.

        Images of different sizes may come together; an empty list gives an empty list.
        """

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """Giga multiply-adds times two for one image of this original size at `side_px`; 0 when it cannot be told."""
