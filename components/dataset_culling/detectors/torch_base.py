"""What all torch detectors share: input sizes, batching, mapping boxes back, operation counts, state.

K = boxes in one image, B = images in a batch; h, w = the network's input size, H, W = the original image's.
"""

from __future__ import annotations

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dataset_culling.detectors.base import Features, NetworkInput, Precision
from dataset_culling.detectors.compact import Layers, layers_of, reshape
from dataset_culling.errors import ConfigError
from dataset_culling.types import ClassMap, Float32Array, ImageArray, ImageDetections


@dataclass(frozen=True, slots=True)
class Target:
    """What one training image holds, in network px; boxes marked `ignore` are neither object nor background."""

    boxes_xyxy: Tensor  # (K, 4) float32
    class_ids: Tensor  # (K,) int64
    weights: Tensor  # (K,) float32, how much each box counts (soft labels); 1 is a full label
    ignore: Tensor  # (K,) bool


@contextmanager
def running_statistics(module: nn.Module, *, when: bool) -> Iterator[None]:
    """Inside, batch norm uses its running statistics where `when` holds.

    For batches of one image, as a map of 1x1 has no variance of its own and torch refuses to train on it; and for
    looking at images that are not trained on, whose statistics would stay.
    """
    changed = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d) and part.training] if when else []
    for part in changed:
        part.eval()
    try:
        yield
    finally:
        for part in changed:
            part.train()


class TorchDetector(ABC):
    """A detector that is a torch module. Subclasses give `forward`, `losses` and `replace_head`."""

    divisor = 1  # network sides are multiples of this
    min_side_px = 64
    max_side_px = 1333
    weighs_labels = True  # whether `losses` looks at Target.weights
    replaced: tuple[str, ...] = ()  # parts of the module that `replace_head` makes anew, by name

    def __init__(self, name: str, module: nn.Module, class_names: Sequence[str], *, full_side_px: int) -> None:
        self.name = name
        self.module = module.eval()
        self.class_names = tuple(class_names)
        self.full_side_px = full_side_px
        self.compact = False  # whether layers are smaller than the builder makes them, or two in the place of one
        self._compute: torch.dtype | None = None  # what `detect` computes in; None: the weights' own type

    # -- what a subclass gives

    @abstractmethod
    def forward(self, batch: Tensor, *, min_score: float) -> list[ImageDetections]:
        """Boxes in network px for a batch (B, 3, h, w) uint8 RGB on the module's device; module in eval mode."""

    @abstractmethod
    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Named scalar losses of a batch (B, 3, h, w) uint8 RGB; their sum is what training minimises."""

    @abstractmethod
    def replace_head(self, sources: Sequence[Sequence[int]]) -> None:
        """Give the module a head for len(sources) classes.

        Class c starts from the mean of the old head's weights for the old class ids in sources[c], which is never
        empty, so that the new head begins by saying about what the old one said.
        """

    # -- what all share

    def losses_by_image(self, batch: Tensor, targets: Sequence[Target]) -> Tensor:
        """What `losses` adds up to for each image alone, by batch norms' running statistics; nothing is learnt.

        Here image by image. Subclasses look at the whole batch at once, and draw their samples in the same order.

        Args:
            batch: (B, 3, h, w) uint8 RGB; the module in training mode.
            targets: B of them.

        Returns:
            Shape (B,), float32.
        """
        with running_statistics(self.module, when=True):
            return torch.stack(
                [summed(self.losses(batch[row : row + 1], [target])) for row, target in enumerate(targets)]
            )

    @property
    def device(self) -> torch.device:
        """Where the module's parameters lie."""
        return next(self.module.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the module."""
        self.module.to(device)
        return self

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: aspect kept, sides rounded up to `divisor`, within the limits."""
        side = min(max(side_px or self.full_side_px, self.min_side_px), self.max_side_px)
        scale = side / min(height_px, width_px)
        scale = min(scale, self.max_side_px / max(height_px, width_px))
        sides = [max(round(full * scale), 1) for full in (height_px, width_px)]
        return tuple(-(-full // self.divisor) * self.divisor for full in sides)  # type: ignore[return-value]

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """Bring an original (H, W, 3) uint8 RGB to the network's input size; area averaging when it shrinks."""
        height, width = image.shape[:2]
        h, w = self.network_size(height, width, side_px)
        if (h, w) != (height, width):
            how = cv2.INTER_AREA if h < height else cv2.INTER_LINEAR
            image = cv2.resize(image, (w, h), interpolation=how).astype(np.uint8, copy=False)
        return NetworkInput(image, w / width, h / height, height, width)

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """See `Detector.predict`: images are batched by network size."""
        found: list[ImageDetections] = [ImageDetections.empty()] * len(images)
        buckets: dict[tuple[int, ...], list[tuple[int, NetworkInput]]] = {}

        def look(bucket: list[tuple[int, NetworkInput]]) -> None:
            for (row, _), boxes in zip(
                bucket, self.detect([seen for _, seen in bucket], min_score=min_score), strict=True
            ):
                found[row] = boxes

        for row, image in enumerate(images):
            prepared = self.prepare(image, side_px)
            bucket = buckets.setdefault(prepared.image.shape, [])
            bucket.append((row, prepared))
            if len(bucket) == batch_size:
                look(buckets.pop(prepared.image.shape))
        for bucket in buckets.values():
            look(bucket)
        return found

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """See `Detector.detect`. Batches are channels-last, as decoded images are: no copy turns them round.

        Args:
            batch: Prepared images of one network size.
            min_score: Boxes scoring less are dropped.
            features: Whether to tell, from the same forward pass, what each image looks like to the network: the mean
                over each map that the backbone gives, one map's channels after the other's; or over some of them.

        Raises:
            ConfigError: If the backbone does not give one of the maps.
        """
        stacked = torch.from_numpy(np.stack([prepared.image for prepared in batch]))
        device = self.device
        if device.type == "cuda":
            stacked = stacked.pin_memory()
        pixels = stacked.to(device, non_blocking=True).permute(0, 3, 1, 2)
        was_training = self.module.training
        self.module.eval()
        maps: list[Tensor] = []
        watch = self.watched_maps(maps) if features else nullcontext()
        try:
            with (
                watch,
                torch.inference_mode(),
                torch.autocast(device.type, self._compute, enabled=self._compute is not None),
            ):
                images = self.forward(pixels, min_score=min_score)
                looks = _looks(self._chosen(maps, features)) if features else [None] * len(batch)
        finally:
            self.module.train(was_training)
        return [_in_original(boxes, prepared, look) for boxes, prepared, look in zip(images, batch, looks, strict=True)]

    @contextmanager
    def watched_maps(self, into: list[Tensor]) -> Iterator[None]:
        """Inside, every forward pass leaves the backbone's feature maps, each (B, C, h', w'), in `into`."""
        backbone = self.module.get_submodule("backbone")
        hook = backbone.register_forward_hook(lambda _, __, found: into.extend(_maps(found)))
        try:
            yield
        finally:
            hook.remove()

    def _chosen(self, maps: Sequence[Tensor], features: Features) -> Sequence[Tensor]:
        """The maps asked for, all for True."""
        if isinstance(features, bool):
            return maps
        if unknown := [number for number in features if not 0 <= number < len(maps)]:
            raise ConfigError(
                f"feature_maps: expected maps 0 to {len(maps) - 1}, which {self.name} gives, found {unknown[0]}. "
                f"An empty list means all."
            )
        return [maps[number] for number in features]

    def feature_maps(self, batch: Tensor) -> list[Tensor]:
        """The backbone's feature maps, each (B, C, h', w'), of a batch (B, 3, h, w) uint8 RGB; no more is run."""
        maps: list[Tensor] = []

        def stop(_: nn.Module, __: Any, found: Any) -> None:
            maps.extend(_maps(found))
            raise _SeenEnough

        hook = self.module.get_submodule("backbone").register_forward_hook(stop)
        try:
            self.forward(batch, min_score=1.0)
        except _SeenEnough:
            pass
        finally:
            hook.remove()
        return maps

    def last_layers(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, nn.Module]:
        """The heads' last layers, by name: convolutions and matrices with none between them and a batch's losses.

        They are read off the graph of the losses, so a subclass need not name them. Layers whose weights do not learn
        are passed over.

        Args:
            batch: (B, 3, h, w) uint8 RGB on the module's device; module in training mode.
            targets: As for `losses`; with a box, as some losses are none without.

        Returns:
            In the module's order; never empty for a detector that can learn.
        """
        made: dict[Any, str] = {}

        def remember(name: str) -> Any:
            def remembering(_layer: nn.Module, _inputs: Any, found: Any) -> None:
                if isinstance(found, Tensor) and found.grad_fn is not None:
                    made[found.grad_fn] = name

            return remembering

        layers = {
            name: layer
            for name, layer in self.module.named_modules()
            if isinstance(layer, nn.Conv2d | nn.Linear) and any(one.requires_grad for one in layer.parameters())
        }
        hooks = [layer.register_forward_hook(remember(name)) for name, layer in layers.items()]
        try:
            losses = self.losses(batch, targets)
        finally:
            for hook in hooks:
                hook.remove()
        found: set[str] = set()
        seen: set[Any] = set()
        ahead: list[Any] = [loss.grad_fn for loss in losses.values()]
        while ahead:
            node = ahead.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if node in made:
                found.add(made[node])
            else:
                ahead += [before for before, _ in node.next_functions]
        return {name: layer for name, layer in layers.items() if name in found}

    def ready(self, precision: Precision = "auto") -> Self:
        """See `Detector.ready`: weights channels-last; on a GPU bfloat16, or float16 where it has no bfloat16."""
        self.module.to(memory_format=torch.channels_last)
        self._compute = torch.bfloat16 if precision == "bfloat16" else None
        if precision == "auto" and self.device.type == "cuda":
            self._compute = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return self

    def fingerprint(self) -> str:
        """See `Detector.fingerprint`."""
        found = hashlib.sha256("\n".join([self.name, *self.class_names]).encode())
        for key, value in sorted(self.state().items()):
            found.update(f"\n{key} {value.dtype} {tuple(value.shape)} ".encode())
            found.update(value.reshape(-1).view(torch.uint8).numpy().data)
        return found.hexdigest()

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """Measured on a grey image by torch's FlopCounterMode (convolutions and matrix products; 2 per multiply-add).

        A two-stage detector is counted with its full number of proposals' heads only as far as a grey image gives
        proposals, so the figure is its usual cost, not its worst.
        """
        h, w = self.network_size(height_px, width_px, side_px)
        batch = torch.full((1, 3, h, w), 114, dtype=torch.uint8, device=self.device)
        was_training = self.module.training
        self.module.eval()
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                self.forward(batch, min_score=0.05)
        finally:
            self.module.train(was_training)
        return float(counter.get_total_flops()) / 1e9

    def num_parameters(self) -> int:
        """Parameters of the module."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def specialise(self, class_map: ClassMap) -> Self:
        """A copy whose classes are the camera's, its head begun from the mapped classes' weights.

        Raises:
            ConfigError: If one of the camera's classes has no source among this detector's.
        """
        index = class_map.index_for(self.name, self.class_names)
        sources = [np.flatnonzero(index == class_id).tolist() for class_id in range(len(class_map.names))]
        own = copy.deepcopy(self)
        if tuple(class_map.names) != self.class_names or any(rows != [c] for c, rows in enumerate(sources)):
            own.replace_head(sources)
        own.class_names = tuple(class_map.names)
        return own

    def state(self) -> dict[str, Tensor]:
        """Weights for saving: contiguous, on the CPU, names as in the module."""
        return {key: value.detach().cpu().contiguous().clone() for key, value in self.module.state_dict().items()}

    def layers(self) -> dict[str, tuple[int, ...]]:
        """The sizes that a weights file must say for `load_state` to rebuild the module; none if it is the builder's.

        See `dataset_culling.detectors.compact`.
        """
        return layers_of(self.module) if self.compact else {}

    def load_state(self, state: Mapping[str, Any], *, where: str, layers: Layers | None = None) -> None:
        """Load weights, after bringing layers to the sizes that their file says.

        See `dataset_culling.detectors.weights.load_state` for the errors, and `compact.reshape`, after whose error the
        detector is of no use.
        """
        from dataset_culling.detectors.weights import load_state

        if layers:
            reshape(self.module, layers, where=where)
            self.compact = True
        load_state(self.module, state, where=where)


def summed(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of named scalar losses, float32."""
    return torch.stack([part.float() for part in losses.values()]).sum()


class _SeenEnough(Exception):
    """Ends a forward pass behind the backbone."""


def _maps(found: Any) -> list[Tensor]:
    """A backbone's feature maps, each (B, C, h, w): torchvision gives a dict, YOLOX a tuple, plain ones a tensor."""
    if isinstance(found, Tensor):
        return [found]
    return list(found.values() if isinstance(found, Mapping) else found)


def _looks(maps: Sequence[Tensor]) -> list[Float32Array]:
    """The mean of each map over its pixels, float32 (D,) for each image."""
    return list(torch.cat([one.float().mean(dim=(2, 3)) for one in maps], dim=1).cpu().numpy())


def _in_original(found: ImageDetections, prepared: NetworkInput, look: Float32Array | None) -> ImageDetections:
    """Boxes in network px to px of the original, clipped to it, highest score first."""
    scale = np.array([prepared.scale_x, prepared.scale_y] * 2, np.float32)
    limit = np.array([prepared.width_px, prepared.height_px] * 2, np.float32)
    original = np.clip(found.boxes_xyxy / scale, 0, limit).astype(np.float32)
    order = np.argsort(-found.scores, kind="stable")
    return ImageDetections(original, found.scores, found.class_ids, look).rows(order)
