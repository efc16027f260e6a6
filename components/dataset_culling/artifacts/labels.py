"""labels/1: the teacher's boxes as COCO json, which pycocotools loads unchanged.

`score` is the teacher's confidence; a doubtful box has iscrowd 1 and ignore 1. image_id is the frame_id; every labelled
frame is among the images, also one without boxes. Optional keys of images and annotations:

    trust     0..1, agreement of the teacher with itself; worst.json then lists the boxes to review first
    track     number of the object, if objects were linked over time
    source    teacher, doubtful (confirmed by its track), student, interpolated, or guessed (an ignore region)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_culling.artifacts.header import Origin, corrupt_if_invalid, read_record, write_artifact
from dataset_culling.types import Detections, FloatArray, ImageDetections, IntArray

SCHEMA = "labels/1"
FILE = "labels.json"
WORST = "worst.json"


@dataclass(frozen=True, slots=True)
class WorstBox:
    """A label with low agreement of the teacher with itself."""

    frame_id: int
    time_s: float
    class_name: str
    score: float
    trust: float  # 0..1
    box_xyxy: tuple[float, ...]  # px of the frame
    ignored: bool  # True: it became an ignore region


def coco_json(
    labels: Detections,
    width_px: IntArray,
    height_px: IntArray,
    *,
    box_trust: FloatArray | None = None,
    frame_trust: FloatArray | None = None,
    box_source: Sequence[str] | None = None,
    box_track: IntArray | None = None,
) -> dict[str, Any]:
    """Convert boxes to a COCO ground-truth object; boxes become (x, y, width, height).

    Args:
        labels: M boxes of N frames.
        width_px, height_px: Size of each frame, shape (N,).
        box_trust: Trust in each box, 0..1, shape (M,); None: unknown, not written.
        frame_trust: Trust in each frame's labels, 0..1, shape (N,); None: unknown, not written.
        box_source: Source of each box, M words; None: the teacher, not written.
        box_track: Object number of each box, shape (M,); None: unknown, not written.
    """
    rows = labels.frame_rows()
    images = [
        {
            "id": int(labels.frame_ids[row]),
            "file_name": f"{int(labels.frame_ids[row]):012d}.jpg",
            "width": int(width_px[row]),
            "height": int(height_px[row]),
            "time_s": float(labels.time_s[row]),
            **({} if frame_trust is None else {"trust": float(frame_trust[row])}),
        }
        for row in range(len(labels))
    ]
    annotations = []
    for box in range(len(labels.scores)):
        x1, y1, x2, y2 = (float(value) for value in labels.boxes_xyxy[box])
        doubtful = int(labels.ignore[box])
        annotations.append(
            {
                "id": box + 1,
                "image_id": int(labels.frame_ids[rows[box]]),
                "category_id": int(labels.class_ids[box]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": doubtful,
                "ignore": doubtful,
                "score": float(labels.scores[box]),
                **({} if box_trust is None else {"trust": float(box_trust[box])}),
                **({} if box_source is None else {"source": box_source[box]}),
                **({} if box_track is None else {"track": int(box_track[box])}),
            }
        )
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(labels.class_names)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def from_coco_json(coco: dict[str, Any], *, frame_ids: dict[int, int] | None = None) -> Detections:
    """Convert a COCO ground-truth object to boxes.

    Args:
        coco: Object with images, annotations and categories; a missing score counts as 1.
        frame_ids: image id -> frame id, for files with image ids of their own; other images are left out.

    Raises:
        ValueError: If an annotation names an image or a category that is not listed.
    """
    categories = {category["id"]: index for index, category in enumerate(coco["categories"])}
    known = {image["id"] for image in coco["images"]}
    kept = {image["id"]: image for image in coco["images"] if frame_ids is None or image["id"] in frame_ids}
    name = (lambda image_id: image_id) if frame_ids is None else frame_ids.__getitem__
    boxes: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in kept}
    for annotation in coco["annotations"]:
        if annotation["image_id"] not in known:
            raise ValueError(f"annotation {annotation['id']} names image {annotation['image_id']}, which is not listed")
        if annotation["category_id"] not in categories:
            raise ValueError(f"annotation {annotation['id']} names category {annotation['category_id']}, not listed")
        if annotation["image_id"] in boxes:
            boxes[annotation["image_id"]].append(annotation)
    order = sorted(kept, key=name)
    ignore: list[bool] = []
    images = []
    for image_id in order:
        found = boxes[image_id]
        ignore += [bool(one.get("iscrowd", 0) or one.get("ignore", 0)) for one in found]
        xywh = np.array([one["bbox"] for one in found], np.float64).reshape(-1, 4)
        images.append(
            ImageDetections(
                np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1).astype(np.float32),
                np.array([one.get("score", 1.0) for one in found], np.float32),
                np.array([categories[one["category_id"]] for one in found], np.int64),
            )
        )
    gathered = Detections.from_images(
        images,
        frame_ids=np.array([name(image_id) for image_id in order], np.int64),
        time_s=np.array([float(kept[image_id].get("time_s", 0.0)) for image_id in order], np.float64),
        class_names=[category["name"] for category in coco["categories"]],
    )
    gathered.ignore[:] = np.array(ignore, np.bool_)
    return gathered


def write_labels(
    path: Path,
    labels: Detections,
    width_px: IntArray,
    height_px: IntArray,
    origin: Origin,
    *,
    box_trust: FloatArray | None = None,
    frame_trust: FloatArray | None = None,
    worst: Sequence[WorstBox] = (),
    box_source: Sequence[str] | None = None,
    box_track: IntArray | None = None,
) -> None:
    """Write labels into the directory `path`; see `coco_json` for the shapes. `worst` is listed in the order given."""
    with write_artifact(path, SCHEMA, origin) as artifact:
        coco = coco_json(
            labels, width_px, height_px,
            box_trust=box_trust, frame_trust=frame_trust, box_source=box_source, box_track=box_track,
        )  # fmt: skip
        artifact.json(FILE, coco)
        artifact.file(WORST).unlink(missing_ok=True)  # an earlier list must not pass for this one
        if worst:
            artifact.json(WORST, {"boxes": [asdict(box) for box in worst]})
        artifact.counts.update(frames=len(labels), boxes=len(labels.scores), doubtful=int(labels.ignore.sum()))


def read_labels(path: Path) -> Detections:
    """Read and check labels."""
    coco = read_record(path, SCHEMA, FILE, dict[str, Any])
    with corrupt_if_invalid(path / FILE, SCHEMA):
        return from_coco_json(coco)


def read_frame_trust(path: Path) -> FloatArray | None:
    """Read the trust in each frame's labels, shape (N,) in the order of `read_labels`; None: not known."""
    values = _optional_values(path, "images", "trust", frame_key="id")
    return np.array(values, np.float64) if values else None


def read_box_trust(path: Path) -> FloatArray | None:
    """Read the trust in each of the teacher's boxes, shape (M,) in the order of `read_labels`; None: not known."""
    values = _optional_values(path, "annotations", "trust", frame_key="image_id")
    return None if values is None else np.array(values, np.float64)


def read_box_source(path: Path) -> tuple[str, ...] | None:
    """Read the source of each box, M words in the order of `read_labels`; None: all are the teacher's."""
    values = _optional_values(path, "annotations", "source", frame_key="image_id")
    return None if values is None else tuple(values)


def _optional_values(path: Path, listed: str, key: str, *, frame_key: str) -> list[Any] | None:
    """Read one value of every image or annotation, in the order of `read_labels`; None if any lacks it."""
    entries = read_record(path, SCHEMA, FILE, dict[str, Any])[listed]
    if any(key not in entry for entry in entries):
        return None
    ordered = sorted(entries, key=lambda entry: int(entry[frame_key]))  # stable: within a frame as in the file
    return [entry[key] for entry in ordered]


def read_worst(path: Path) -> tuple[WorstBox, ...]:
    """Read the boxes to review first; empty if the teacher was not compared with itself."""
    empty: dict[str, tuple[WorstBox, ...]] = {"boxes": ()}
    return read_record(path, SCHEMA, WORST, dict[str, tuple[WorstBox, ...]], missing=empty)["boxes"]
