"""What a detector is to the rest of the house. Imports no torch.

K = boxes in one image, B = images in a batch; h, w = the network's input size, H, W = the original image's.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

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
    """An image brought to the network's input size, and how to find back from there."""

    image: ImageArray  # (h, w, 3) uint8 RGB
    scale_x: float  # network px per original px
    scale_y: float
    height_px: int  # H, W of the original
    width_px: int
    left_px: int = 0  # where the original begins in `image`, which may be padded
    top_px: int = 0


Precision = Literal["auto", "float32", "bfloat16"]
"""What a network computes in; auto: float32 on a CPU, and on a GPU half the bits where that loses next to nothing."""

Backend = Literal["auto", "torch", "openvino"]
"""What runs a torch detector on a CPU; auto: OpenVINO where exporting to it pays."""


Features = bool | tuple[int, ...]
"""Whether to tell what an image looks like to the network: False; True, by all of its feature maps; or by those."""


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

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """Bring an original (H, W, 3) uint8 RGB to the network's input size. May be called from several threads."""

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """What `predict` gives, of prepared images of one network size, all at once.

        With `features` also what each image looks like to the network; only torch detectors can tell, others give none.

        Raises:
            MemoryError, RuntimeError: If they do not fit into the memory together; see `ran_out_of_memory`.
        """

    def ready(self, precision: Precision = "auto") -> Self:
        """Make it quick at looking at many images; boxes stay the same within the precision. It may still learn."""

    def fingerprint(self) -> str:
        """SHA-256 over all that decides what it sees: its name, its class names, its weights."""

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """Giga multiply-adds times two for one image of this original size at `side_px`; 0 when it cannot be told."""


_OUT_OF_MEMORY = (
    "out of memory",  # CUDA, by whichever library
    "alloc_failed",  # cuBLAS and cuDNN
    "can't allocate memory",  # torch's allocator for CPUs
    "not enough memory",
    "could not create a memory",  # oneDNN
    "std::bad_alloc",
)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, so that a smaller batch may do.

    On a GPU that is torch.OutOfMemoryError; on a CPU torch has no class for it, only words.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _OUT_OF_MEMORY)


def free_memory() -> None:
    """Give back what a failed batch held: cyclic garbage, and on a GPU the allocator's cache."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
