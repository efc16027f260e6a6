"""labels/1: the teacher's boxes as COCO json, which pycocotools loads unchanged.

`score` is the teacher's confidence; a doubtful box has iscrowd 1 and ignore 1. image_id is the frame_id; every frame
that was labelled is among the images, also one without boxes. Where the teacher was compared with itself, images and
annotations carry `trust`, 0..1, and worst.json lists the boxes that a person should look at first. Where objects were
linked over time, annotations carry `track`, the object's number, and `source`: teacher, doubtful (confirmed by its
track), student, interpolated, or guessed (an ignore region); what the teacher did not see itself is thus told apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataset_culling.artifacts.header import Origin, read_header, read_json_file, write_artifact
from dataset_culling.errors import CorruptArtifact
from dataset_culling.types import Detections, FloatArray, ImageDetections, IntArray

SCHEMA = "labels/1"
FILE = "labels.json"
WORST = "worst.json"


@dataclass(frozen=True, slots=True)
class WorstBox:
    """A label that the teacher itself hardly stands by."""

    frame_id: int
    time_s: float
    class_name: str
    score: float
    trust: float  # 0..1
    box_xyxy: tuple[float, ...]  # px of the frame
    ignored: bool  # whether it became an ignore region


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
    """Boxes as a COCO ground-truth object; boxes become (x, y, width, height).

    Args:
        labels: Boxes of N frames.
        width_px: Width of each frame, shape (N,).
        height_px: Height of each frame, shape (N,).
        box_trust: How far each box is believed, shape (M,); None: not known, and then not written.
        frame_trust: The same of each frame, shape (N,).
        box_source: Where each box comes from, M words; None: from the teacher, and then not written.
        box_track: Which object each box is of, shape (M,); None: not known, and then not written.
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
    """Boxes out of a COCO ground-truth object.

    Args:
        coco: With images, annotations and categories; a missing score counts as 1.
        frame_ids: image id -> frame id, for files whose image ids are their own; images not in it are left out.

    Raises:
        ValueError: If an annotation names an image or a category that is not there.
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
    """Write labels into the directory `path`; see `coco_json` for the shapes. `worst` is listed in the order given.

    Raises:
        OutputError: If it cannot be written.
    """
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
    """Read and check labels.

    Raises:
        ArtifactError: If it is no labels/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    try:
        return from_coco_json(read_json_file(path, header, FILE))
    except (KeyError, ValueError) as error:
        raise CorruptArtifact(path / FILE, expected="COCO json", found=repr(error)) from None


def read_frame_trust(path: Path) -> FloatArray | None:
    """How far the teacher is believed on each frame, shape (N,) in the order of `read_labels`; None: not known.

    Raises:
        ArtifactError: If it is no labels/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    images = read_json_file(path, header, FILE)["images"]
    if not images or any("trust" not in image for image in images):
        return None
    ordered = sorted(images, key=lambda image: int(image["id"]))
    return np.array([image["trust"] for image in ordered], np.float64)


def read_box_trust(path: Path) -> FloatArray | None:
    """How far each of the teacher's boxes is believed, shape (M,) in the order of `read_labels`; None: not known.

    Raises:
        ArtifactError: If it is no labels/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    boxes = read_json_file(path, header, FILE)["annotations"]
    if any("trust" not in box for box in boxes):
        return None
    ordered = sorted(boxes, key=lambda box: int(box["image_id"]))  # stable: within a frame as in the file
    return np.array([box["trust"] for box in ordered], np.float64)


def read_box_source(path: Path) -> tuple[str, ...] | None:
    """Where each box comes from, M words in the order of `read_labels`; None: all are the teacher's own.

    Raises:
        ArtifactError: If it is no labels/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    boxes = read_json_file(path, header, FILE)["annotations"]
    if any("source" not in box for box in boxes):
        return None
    return tuple(box["source"] for box in sorted(boxes, key=lambda box: int(box["image_id"])))


def read_worst(path: Path) -> tuple[WorstBox, ...]:
    """The boxes that a person should look at first; empty where the teacher was not compared with itself.

    Raises:
        ArtifactError: If it is no labels/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    if WORST not in header.files:
        return ()
    try:
        boxes = read_json_file(path, header, WORST)["boxes"]
        return tuple(WorstBox(**{**box, "box_xyxy": tuple(box["box_xyxy"])}) for box in boxes)
    except (KeyError, TypeError) as error:
        raise CorruptArtifact(path / WORST, expected="a list of boxes", found=repr(error)) from None
