"""The base class of torch detectors: input sizes, batching, mapping boxes back, operation counts, state.

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

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dataset_culling.detectors.base import Features, NetworkInput, Precision, resize_image
from dataset_culling.detectors.compact import Layers, layers_of, reshape
from dataset_culling.errors import ConfigError
from dataset_culling.types import ClassMap, Float32Array, ImageArray, ImageDetections


@dataclass(frozen=True, slots=True)
class Target:
    """The labels of one training image, in network px; boxes marked `ignore` are neither object nor background."""

    boxes_xyxy: Tensor  # (K, 4) float32
    class_ids: Tensor  # (K,) int64
    weights: Tensor  # (K,) float32, weight of each box (soft labels); 1 is a full label
    ignore: Tensor  # (K,) bool


@contextmanager
def running_statistics(module: nn.Module, *, when: bool) -> Iterator[None]:
    """Make batch norm use its running statistics inside, if `when` holds.

    For batches of one image, because a map of 1x1 has no variance and torch refuses to train on it; and for images that
    are not trained on, whose statistics would stay.
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
    """A detector that is a torch module. Subclasses implement `forward`, `losses` and `replace_head`."""

    divisor = 1  # network sides are multiples of this
    min_side_px = 64
    max_side_px = 1333
    weighs_labels = True  # whether `losses` uses Target.weights
    replaced: tuple[str, ...] = ()  # names of the parts that `replace_head` replaces

    def __init__(self, name: str, module: nn.Module, class_names: Sequence[str], *, full_side_px: int) -> None:
        self.name = name
        self.module = module.eval()
        self.class_names = tuple(class_names)
        self.full_side_px = full_side_px
        self.compact = False  # whether layers are smaller than the builder makes them, or split in two
        self._compute: torch.dtype | None = None  # number format of `detect`; None: the weights' own type

    @abstractmethod
    def forward(self, batch: Tensor, *, min_score: float) -> list[ImageDetections]:
        """Find boxes in network px for a batch (B, 3, h, w) uint8 RGB on the module's device; module in eval mode."""

    @abstractmethod
    def losses(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Compute named scalar losses of a batch (B, 3, h, w) uint8 RGB; training minimises their sum."""

    @abstractmethod
    def replace_head(self, sources: Sequence[Sequence[int]]) -> None:
        """Replace the head by one for len(sources) classes.

        Class c starts from the mean of the old head's weights for the old class ids in sources[c], which is never
        empty, so that the new head starts close to the old one.
        """

    def losses_by_image(self, batch: Tensor, targets: Sequence[Target]) -> Tensor:
        """Compute the sum of `losses` for each image alone, (B,) float32, with batch norms' running statistics.

        This default runs image by image. Subclasses run the whole batch at once and draw samples in the same order.

        Args:
            batch: (B, 3, h, w) uint8 RGB; the module in training mode.
            targets: B of them.
        """
        with running_statistics(self.module, when=True):
            return torch.stack(
                [summed(self.losses(batch[row : row + 1], [target])) for row, target in enumerate(targets)]
            )

    @property
    def device(self) -> torch.device:
        """The device of the module's parameters."""
        return next(self.module.parameters()).device

    def to(self, device: torch.device | str) -> Self:
        """Move the module."""
        self.module.to(device)
        return self

    def content_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """Return the size of an original after scaling within the limits, aspect kept."""
        side = min(max(side_px or self.full_side_px, self.min_side_px), self.max_side_px)
        scale = min(side / min(height_px, width_px), self.max_side_px / max(height_px, width_px))
        return max(round(height_px * scale), 1), max(round(width_px * scale), 1)

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: the content's sides, rounded up to `divisor`."""
        h, w = self.content_size(height_px, width_px, side_px)
        return -(-h // self.divisor) * self.divisor, -(-w // self.divisor) * self.divisor

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `Detector.prepare`: stretches to the network's input size."""
        height, width = image.shape[:2]
        h, w = self.network_size(height, width, side_px)
        return NetworkInput(resize_image(image, h, w), w / width, h / height, height, width)

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """See `Detector.predict`: images are batched by network size."""
        found: list[ImageDetections] = [ImageDetections.empty()] * len(images)
        buckets: dict[tuple[int, ...], list[tuple[int, NetworkInput]]] = {}

        def run(bucket: list[tuple[int, NetworkInput]]) -> None:
            batch = [prepared for _, prepared in bucket]
            for (row, _), boxes in zip(bucket, self.detect(batch, min_score=min_score), strict=True):
                found[row] = boxes

        for row, image in enumerate(images):
            prepared = self.prepare(image, side_px)
            bucket = buckets.setdefault(prepared.image.shape, [])
            bucket.append((row, prepared))
            if len(bucket) == batch_size:
                run(buckets.pop(prepared.image.shape))
        for bucket in buckets.values():
            run(bucket)
        return found

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """See `Detector.detect`. Batches are channels-last, as decoded images are, so that no copy is needed.

        `features` are the means over each of the backbone's maps, from the same forward pass.

        Raises:
            ConfigError: If `features` names a map that the backbone does not have.
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
            autocast = torch.autocast(device.type, self._compute, enabled=self._compute is not None)
            with watch, torch.inference_mode(), autocast:
                images = self.forward(pixels, min_score=min_score)
                embedded = _means(self._chosen(maps, features)) if features else [None] * len(batch)
        finally:
            self.module.train(was_training)
        return [_in_original(*parts) for parts in zip(images, batch, embedded, strict=True)]

    @contextmanager
    def watched_maps(self, into: list[Tensor]) -> Iterator[None]:
        """Append the backbone's feature maps, each (B, C, h', w'), of every forward pass inside to `into`."""
        backbone = self.module.get_submodule("backbone")
        hook = backbone.register_forward_hook(lambda _, __, found: into.extend(_maps(found)))
        try:
            yield
        finally:
            hook.remove()

    def _chosen(self, maps: Sequence[Tensor], features: Features) -> Sequence[Tensor]:
        if isinstance(features, bool):  # True: all
            return maps
        if unknown := [number for number in features if not 0 <= number < len(maps)]:
            raise ConfigError(
                f"feature_maps: {self.name} has maps 0 to {len(maps) - 1}, not {unknown[0]}. An empty list means all."
            )
        return [maps[number] for number in features]

    def feature_maps(self, batch: Tensor) -> list[Tensor]:
        """Run the backbone alone on (B, 3, h, w) uint8 RGB and return its feature maps, each (B, C, h', w')."""
        maps: list[Tensor] = []

        def stop(_: nn.Module, __: Any, found: Any) -> None:
            maps.extend(_maps(found))
            raise _BackboneDone

        hook = self.module.get_submodule("backbone").register_forward_hook(stop)
        try:
            self.forward(batch, min_score=1.0)
        except _BackboneDone:
            pass
        finally:
            hook.remove()
        return maps

    def last_layers(self, batch: Tensor, targets: Sequence[Target]) -> dict[str, nn.Module]:
        """Find the heads' last layers by name: convolutions and matrices directly before a batch's losses.

        They are read off the graph of the losses. Frozen layers are skipped.

        Args:
            batch: (B, 3, h, w) uint8 RGB on the module's device; module in training mode.
            targets: As for `losses`, with at least one box, because some losses need one.

        Returns:
            In the module's order; never empty for a detector with trainable layers.
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
        """Measure with torch's FlopCounterMode on a grey image (convolutions and matrix products; 2 per multiply-add).

        For two-stage detectors the grey image decides the number of proposals: the usual cost, not the worst.
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
        """Count the parameters of the module."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def specialise(self, class_map: ClassMap) -> Self:
        """Copy the detector with the camera's classes; the new head starts from the mapped classes' weights.

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
        """Return the weights for saving: contiguous, on the CPU, names as in the module."""
        return {key: value.detach().cpu().contiguous().clone() for key, value in self.module.state_dict().items()}

    def layers(self) -> dict[str, tuple[int, ...]]:
        """Return the layer sizes that a weights file must hold; empty for the builder's sizes. See `compact`."""
        return layers_of(self.module) if self.compact else {}

    def load_state(self, state: Mapping[str, Any], *, where: str, layers: Layers | None = None) -> None:
        """Resize layers to the sizes in the file, then load the weights.

        See `weights.load_state` and `compact.reshape` for the errors; after an error of `reshape` discard the detector.
        """
        from dataset_culling.detectors.weights import load_state

        if layers:
            reshape(self.module, layers, where=where)
            self.compact = True
        load_state(self.module, state, where=where)


def summed(losses: Mapping[str, Tensor]) -> Tensor:
    """Add up named scalar losses, float32."""
    return torch.stack([part.float() for part in losses.values()]).sum()


def to_numpy(boxes_xyxy: Tensor, scores: Tensor, class_ids: Tensor) -> ImageDetections:
    """Gather the tensors of one image as arrays."""
    return ImageDetections(
        boxes_xyxy.float().cpu().numpy(), scores.float().cpu().numpy(), class_ids.cpu().numpy().astype(np.int64)
    )


class _BackboneDone(Exception):
    """Ends a forward pass after the backbone."""


def _maps(found: Any) -> list[Tensor]:
    """List a backbone's feature maps: torchvision returns a dict, YOLOX a tuple, plain ones a tensor (B, C, h, w)."""
    if isinstance(found, Tensor):
        return [found]
    return list(found.values() if isinstance(found, Mapping) else found)


def _means(maps: Sequence[Tensor]) -> list[Float32Array]:
    """Average each map over its pixels: float32 (D,) for each image."""
    return list(torch.cat([one.float().mean(dim=(2, 3)) for one in maps], dim=1).cpu().numpy())


def _in_original(found: ImageDetections, prepared: NetworkInput, embedded: Float32Array | None) -> ImageDetections:
    """Map boxes from network px to px of the original, clipped to it, highest score first."""
    scale = np.array([prepared.scale_x, prepared.scale_y] * 2, np.float32)
    limit = np.array([prepared.width_px, prepared.height_px] * 2, np.float32)
    original = np.clip(found.boxes_xyxy / scale, 0, limit).astype(np.float32)
    order = np.argsort(-found.scores, kind="stable")
    return ImageDetections(original, found.scores, found.class_ids, embedded).rows(order)
