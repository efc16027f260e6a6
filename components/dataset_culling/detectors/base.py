"""The detector protocol. Imports no torch.

K = boxes in one image, B = images in a batch; h, w = the network's input size, H, W = the original image's.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.types import ImageArray, ImageDetections


class DetectorRef(StageConfig):
    """A detector's name, weights and input size: all that a stage needs to build it."""

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
        0, ge=0, description="Short side in px to which images are resized for the network; 0: the detector's own."
    )


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """An image at the network's input size, with the mapping back to the original."""

    image: ImageArray  # (h, w, 3) uint8 RGB
    scale_x: float  # network px per original px
    scale_y: float
    height_px: int  # H, W of the original
    width_px: int
    left_px: int = 0  # where the original begins in `image`, which may be padded
    top_px: int = 0


Precision = Literal["auto", "float32", "bfloat16"]
"""Number format of the network; auto: float32 on a CPU, bfloat16 or float16 on a GPU."""

Backend = Literal["auto", "torch", "openvino"]
"""Runtime of a torch detector on a CPU; auto: OpenVINO if enough frames repay the export."""

Features = bool | tuple[int, ...]
"""Embeddings of images: False for none, True for the means of all feature maps, or the numbers of some maps."""


def resize_image(image: ImageArray, height_px: int, width_px: int) -> ImageArray:
    """Resize (H, W, 3) to (height_px, width_px, 3): area averaging where it shrinks, bilinear where it grows."""
    import cv2  # not at the top: every configuration imports this module

    if image.shape[:2] == (height_px, width_px):
        return image
    how = cv2.INTER_AREA if height_px < image.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width_px, height_px), interpolation=how), np.uint8)


class Detector(Protocol):
    """Finds boxes in images."""

    @property
    def name(self) -> str:
        """As in the table of detectors."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the class ids that `predict` returns, without a background class."""

    @property
    def full_side_px(self) -> int:
        """The short side at which it works by default."""

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """Return the input size (h, w) for an original of this size at a short side of `side_px` (0: its own).

        The result respects the detector's limits: least and largest side, and multiples.
        """

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """Find boxes in px of the original, clipped to it, highest score first, none below `min_score`.

        Images may differ in size; an empty list gives an empty list.
        """

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """Resize an original (H, W, 3) uint8 RGB to the network's input size. Safe to call from several threads."""

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """Find boxes as `predict` does, in one batch of prepared images of one network size.

        With `features` torch detectors also return an embedding of each image; other detectors return none.

        Raises:
            MemoryError, RuntimeError: If the batch does not fit into memory; see `ran_out_of_memory`.
        """

    def ready(self, precision: Precision = "auto") -> Self:
        """Optimise for many images; boxes stay the same within the precision. Training stays possible."""

    def fingerprint(self) -> str:
        """Return the SHA-256 of all that decides its output: name, class names, weights."""

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """Return 2e-9 times the multiply-adds for one image of this original size at `side_px`; 0 if unknown."""


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, by whichever library
    "alloc_failed",  # cuBLAS and cuDNN
    "can't allocate memory",  # torch's allocator for CPUs
    "not enough memory",
    "could not create a memory",  # oneDNN
    "std::bad_alloc",
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory did not suffice, so that a smaller batch may work.

    On a GPU that is torch.OutOfMemoryError; on a CPU torch raises a RuntimeError with one of several texts.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def free_memory() -> None:
    """Free the memory of a failed batch: cyclic garbage, and on a GPU the allocator's cache."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
