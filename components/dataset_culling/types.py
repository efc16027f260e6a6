"""The data types that every layer shares: detections, selections, class maps.

N = frames, M = boxes over all frames, C = classes. Boxes are (x1, y1, x2, y2) in pixels of the original frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dataset_culling.config import did_you_mean
from dataset_culling.errors import ConfigError

FloatArray = npt.NDArray[np.floating]
Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
"""One RGB image, shape (H, W, 3), values 0..255."""


@dataclass(frozen=True, slots=True)
class ImageDetections:
    """A detector's boxes in one image: boxes_xyxy (K, 4) float32 px, scores (K,) float32, class_ids (K,) int64.

    `features` (D,) float32 embed the whole image, if the caller asked for them.
    """

    boxes_xyxy: Float32Array
    scores: Float32Array
    class_ids: IntArray
    features: Float32Array | None = None

    @staticmethod
    def empty() -> ImageDetections:
        """Return no boxes, in their true shapes."""
        return ImageDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.scores)

    def rows(self, index: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> ImageDetections:
        """Keep the boxes of a mask or an index array."""
        return ImageDetections(self.boxes_xyxy[index], self.scores[index], self.class_ids[index], self.features)


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes of many frames in compressed sparse rows: frame n owns boxes offsets[n]:offsets[n + 1].

    A frame that the detector ran on without finding a box has scored=True; a frame it did not run on has scored=False.
    `ignore` marks boxes that evaluation and training leave out (COCO's iscrowd): neither object nor background.
    """

    frame_ids: IntArray  # (N,) ascending, unique
    time_s: npt.NDArray[np.float64]  # (N,) seconds from the start of the footage
    offsets: IntArray  # (N + 1,)
    boxes_xyxy: Float32Array  # (M, 4)
    scores: Float32Array  # (M,)
    class_ids: IntArray  # (M,) index into class_names
    class_names: tuple[str, ...]
    scored: BoolArray  # (N,)
    ignore: BoolArray  # (M,)
    features: FloatArray | None = None  # (N, D) embeddings of the frames, if the caller asked for them

    def __post_init__(self) -> None:
        num_frames, num_boxes = len(self.frame_ids), len(self.scores)
        shapes = {
            "time_s": (self.time_s.shape, (num_frames,)),
            "offsets": (self.offsets.shape, (num_frames + 1,)),
            "boxes_xyxy": (self.boxes_xyxy.shape, (num_boxes, 4)),
            "class_ids": (self.class_ids.shape, (num_boxes,)),
            "scored": (self.scored.shape, (num_frames,)),
            "ignore": (self.ignore.shape, (num_boxes,)),
        }
        if self.features is not None:
            shapes["features"] = (self.features.shape, (num_frames, *self.features.shape[1:2]))
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise ValueError(f"{name} must have shape {wanted}, got {found}")
        if num_frames and np.any(np.diff(self.frame_ids) <= 0):
            raise ValueError("frame_ids must ascend and be unique")
        if self.offsets[0] != 0 or self.offsets[-1] != num_boxes or np.any(np.diff(self.offsets) < 0):
            raise ValueError("offsets must rise from 0 to the number of boxes")
        if num_boxes and (self.class_ids.min() < 0 or self.class_ids.max() >= len(self.class_names)):
            raise ValueError(f"class_ids must lie in 0..{len(self.class_names) - 1}")

    def __len__(self) -> int:
        return len(self.frame_ids)

    @staticmethod
    def from_images(
        images: Sequence[ImageDetections],
        *,
        frame_ids: IntArray,
        time_s: npt.NDArray[np.float64],
        class_names: Sequence[str],
    ) -> Detections:
        """Gather per-image detections, one per frame, in frame order, with features if every frame has them."""
        features = [image.features for image in images if image.features is not None]
        counts = np.array([len(image) for image in images], dtype=np.int64)
        total = int(counts.sum())
        return Detections(
            frame_ids=np.asarray(frame_ids, np.int64),
            time_s=np.asarray(time_s, np.float64),
            offsets=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            boxes_xyxy=np.concatenate([i.boxes_xyxy for i in images]) if total else np.zeros((0, 4), np.float32),
            scores=np.concatenate([i.scores for i in images]) if total else np.zeros(0, np.float32),
            class_ids=np.concatenate([i.class_ids for i in images]) if total else np.zeros(0, np.int64),
            class_names=tuple(class_names),
            scored=np.ones(len(images), np.bool_),
            ignore=np.zeros(total, np.bool_),
            features=np.stack(features) if features and len(features) == len(images) else None,
        )

    def image(self, row: int) -> ImageDetections:
        """Return the boxes of the frame in row `row`, as views."""
        span = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        return ImageDetections(self.boxes_xyxy[span], self.scores[span], self.class_ids[span])

    def image_ignore(self, row: int) -> BoolArray:
        """Return the ignore marks of the boxes of the frame in row `row`."""
        return self.ignore[int(self.offsets[row]) : int(self.offsets[row + 1])]

    def frame_rows(self) -> IntArray:
        """Return the row of each box's frame, shape (M,)."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def rows_of(self, frame_ids: IntArray) -> IntArray:
        """Return the rows of the named frames, in the order named.

        Raises:
            ValueError: If a frame is missing; joining by position instead would compare different frames.
        """
        wanted = np.asarray(frame_ids, np.int64)
        rows = np.searchsorted(self.frame_ids, wanted)
        found = rows < len(self)
        found[found] = self.frame_ids[rows[found]] == wanted[found]
        if not found.all():
            raise ValueError(f"frame {wanted[~found][0]} has no row here ({(~found).sum()} of {wanted.size} missing)")
        return rows.astype(np.int64)

    def take(self, rows: IntArray) -> Detections:
        """Keep only the frames in the given rows, which must ascend."""
        counts = np.diff(self.offsets)[rows]
        ends = np.cumsum(counts)
        box = np.repeat(self.offsets[:-1][rows] - (ends - counts), counts) + np.arange(int(counts.sum()))
        return Detections(
            frame_ids=self.frame_ids[rows],
            time_s=self.time_s[rows],
            offsets=np.concatenate([np.zeros(1, np.int64), ends]),
            boxes_xyxy=self.boxes_xyxy[box],
            scores=self.scores[box],
            class_ids=self.class_ids[box],
            class_names=self.class_names,
            scored=self.scored[rows],
            ignore=self.ignore[box],
            features=None if self.features is None else self.features[rows],
        )

    def keep_boxes(self, mask: BoolArray) -> Detections:
        """Keep only the boxes that `mask` (M,) marks, and all frames."""
        kept = np.concatenate([[0], np.cumsum(mask)])[self.offsets].astype(np.int64)
        return replace(
            self,
            offsets=kept,
            boxes_xyxy=self.boxes_xyxy[mask],
            scores=self.scores[mask],
            class_ids=self.class_ids[mask],
            ignore=self.ignore[mask],
        )


@dataclass(frozen=True, slots=True)
class Subset:
    """The samples that a training used from one of its epochs on, by name, so that another training can use them."""

    epoch: int  # counted from 0
    groups: tuple[tuple[str, ...], ...]  # fixed batches; or single samples, shuffled into new batches every epoch
    weights: tuple[float, ...]  # of the groups' losses, mean 1
    batched: bool  # whether groups are batches


@dataclass(frozen=True, slots=True)
class Selection:
    """Ids of the frames that a cull keeps, hardest first."""

    frame_ids: IntArray  # (K,) in rank order
    loss: npt.NDArray[np.float64]  # (K,) larger is harder
    reasons: tuple[str, ...]  # (K,) why each was kept, for people

    def __post_init__(self) -> None:
        if not (len(self.frame_ids) == len(self.loss) == len(self.reasons)):
            lengths = f"{len(self.frame_ids)}, {len(self.loss)} and {len(self.reasons)}"
            raise ValueError(f"frame_ids, loss and reasons must be equally long, got {lengths}")
        if len(np.unique(self.frame_ids)) != len(self.frame_ids):
            raise ValueError("a frame is selected twice")

    def __len__(self) -> int:
        return len(self.frame_ids)


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The mapping of a detector's classes to the camera's: camera class -> names that detectors use."""

    sources: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.sources))
        owner: dict[str, str] = {}
        for name, sources in self.sources.items():
            for source in sources:
                if owner.setdefault(source, name) != name:
                    raise ConfigError(
                        f"classes: '{source}' is mapped to both '{owner[source]}' and '{name}'. "
                        f"Map each of the detector's classes to one of the camera's."
                    )

    def index_for(self, detector: str, detector_classes: Sequence[str]) -> IntArray:
        """Return the camera's class id of each of the detector's D classes, or -1 for unused ones, shape (D,).

        Raises:
            ConfigError: If one of the camera's classes has no source among `detector_classes`; it names `detector`.
        """
        index = np.full(len(detector_classes), -1, np.int64)
        for class_id, (name, sources) in enumerate(self.sources.items()):
            hits = [row for row, known in enumerate(detector_classes) if known in sources]
            if not hits:
                wanted = " or ".join(f"'{source}'" for source in sources)
                raise ConfigError(
                    f"classes: {detector} has no {wanted} for the camera's class '{name}'."
                    f"{did_you_mean(name, list(detector_classes))} It knows: {_shorten(detector_classes)}. "
                    f"Map one with --classes {name}=THEIRS+THEIRS."
                )
            index[hits] = class_id
        return index

    def apply(self, image: ImageDetections, index: IntArray) -> ImageDetections:
        """Map a detector's boxes to the camera's classes and drop boxes of other classes."""
        class_ids = index[image.class_ids] if len(image) else image.class_ids
        kept = class_ids >= 0
        return ImageDetections(image.boxes_xyxy[kept], image.scores[kept], class_ids[kept], image.features)


GROUPS: Mapping[str, tuple[str, ...]] = {
    "vehicle": ("vehicle", "car", "truck", "bus"),
    "bike": ("bike", "bicycle"),
    "bicycle": ("bicycle", "bike"),
    "two-wheeler": ("bicycle", "bike", "motorcycle"),
}
"""Camera classes with several default sources, used if the user names none."""


def parse_classes(items: Iterable[str]) -> ClassMap:
    """Parse the camera's classes: 'person', or 'vehicle=car+truck+bus' to name its detector classes.

    Raises:
        ConfigError: If the list is empty, a class is named twice, or two classes claim the same source.
    """
    sources: dict[str, tuple[str, ...]] = {}
    for item in items:
        name, _, theirs = item.strip().partition("=")
        name = name.strip()
        if not name:
            raise ConfigError(f"classes: expected NAME or NAME=THEIRS+THEIRS, found {item!r}.")
        if name in sources:
            raise ConfigError(f"classes: '{name}' is listed more than once.")
        named = tuple(part.strip() for part in theirs.split("+") if part.strip())
        sources[name] = named or GROUPS.get(name, (name,))
    if not sources:
        raise ConfigError("classes: the list is empty. Pass --classes person,car.")
    return ClassMap(sources)


def _shorten(names: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
