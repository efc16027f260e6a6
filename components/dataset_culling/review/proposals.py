"""Label proposals: held-out frames of a finished run with the teacher's boxes, for an annotator to correct.

    images/001_000000012000.jpg ...   JPEGs as they are stored; their order is that of their names, most doubtful first
    labels.json                       COCO: the teacher's boxes, doubtful ones too, each with score and doubtful
    README.txt                        what to do with it, with the commands

What comes back is read by `review.check_set`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.header import HEADER, write_json
from dataset_culling.artifacts.labels import coco_json, read_box_trust, read_labels
from dataset_culling.artifacts.metrics import read_metrics
from dataset_culling.errors import ConfigError, InputError, OutputError
from dataset_culling.review.doubtful_boxes import Doubt, doubt_of, nearness_to_middle, spread_over_time
from dataset_culling.serving.bundle import Thresholds
from dataset_culling.storage import is_remote
from dataset_culling.types import Detections, IntArray

FRAMES = Path("tasks", "extract-frames", "heldout")
LABELS = Path("tasks", "label-heldout", "labels")
STUDENT = Path("tasks", "evaluate-student", "trained")
METRICS = Path("tasks", "evaluate-student", "metrics")

IMAGES, COCO, README = "images", "labels.json", "README.txt"
ATTRIBUTES = (
    {"name": "doubtful", "mutable": False, "input_type": "checkbox", "values": ["false"]},
    {"name": "score", "mutable": False, "input_type": "text", "values": [""]},
)
"""Attributes of a box, as CVAT declares them for a label."""

LEAST_PX = 0.02
"""Narrower boxes would have no area when written with two decimals."""

Pick = Literal["even", "doubtful"]


@dataclass(frozen=True, slots=True)
class Proposed:
    """Counts of what was written."""

    folder: Path
    frames: int
    of_frames: int  # held-out frames that there were to choose from
    boxes: int
    doubtful: int
    known: tuple[str, ...]  # what doubt was made of, in words

    def values(self) -> dict[str, Any]:
        """For machines."""
        return {
            "folder": str(self.folder), "frames": self.frames, "of_frames": self.of_frames, "boxes": self.boxes,
            "doubtful_boxes": self.doubtful, "doubt_of": list(self.known),
        }  # fmt: skip


def propose(run: Path, to: str, *, frames: int, pick: Pick = "even") -> Proposed:
    """Write held-out frames of a run with the teacher's boxes into a new folder, whole or not at all.

    Args:
        run: Folder of a finished run.
        to: The folder to make; it may be there if it is empty.
        frames: Most frames.
        pick: Which of each slice of time: the one in its middle, or the most doubtful.

    Raises:
        ConfigError: If the folder holds something, or is no place on this machine.
        InputError: If the run has no held-out frames with labels, or damaged ones.
        OutputError: If the folder cannot be written.
    """
    folder = _empty_folder(to)
    for part in (FRAMES, LABELS):
        if not (run / part / HEADER).is_file():
            raise InputError(
                f"{run}: expected the folder of a finished run, found no {part} in it. Let the run end: culling run "
                f"--out {run}"
            )
    reader, labels = FrameReader(run / FRAMES), read_labels(run / LABELS)
    table = reader.table
    if not np.array_equal(labels.frame_ids, table.frame_ids):
        raise InputError(f"{run / LABELS}: expected labels of every held-out frame, found other frames. Run it again.")
    if len(labels) == 0:
        raise InputError(f"{run / FRAMES}: it holds no held-out frames. Use longer footage.")
    trust, student = read_box_trust(run / LABELS), _student(run, labels)
    metrics = read_metrics(run / METRICS) if (run / METRICS / HEADER).is_file() else {}
    thresholds = Thresholds.of(labels.class_names, metrics)
    doubt = doubt_of(labels, trust=trust, student=student, min_scores=thresholds.scores)
    prefer = nearness_to_middle(labels.time_s, frames) if pick == "even" else doubt.of_frames
    rows = spread_over_time(labels.time_s, prefer, frames)
    rows = rows[np.lexsort((rows, -doubt.of_frames[rows]))]
    coco = proposal_coco(labels, doubt, rows, table.width_px, table.height_px)
    boxes = coco["annotations"]
    known = ("score", "ignore mark", *(["trust"] * (trust is not None)), *(["student"] * (student is not None)))
    num_doubtful = sum(box["attributes"]["doubtful"] for box in boxes)
    proposed = Proposed(folder, len(rows), len(labels), len(boxes), num_doubtful, known)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        (beside / IMAGES).mkdir(parents=True)
        jpegs = reader.jpegs(table.frame_ids[rows])
        for image, jpeg in zip(coco["images"], jpegs, strict=True):
            (beside / IMAGES / image["file_name"]).write_bytes(jpeg)
        write_json(beside / COCO, coco)
        (beside / README).write_text(_readme(proposed, run, labels.class_names), encoding="utf-8")
        beside.replace(folder)  # over an empty folder too, and over no other
    except OSError as error:
        raise OutputError(
            f"{folder}: expected to write proposals, found {error.strerror or error}. Free space, or choose another "
            f"--to."
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return proposed


def proposal_coco(
    labels: Detections, doubt: Doubt, rows: IntArray, width_px: IntArray, height_px: IntArray
) -> dict[str, Any]:
    """Convert the teacher's boxes on some frames to a COCO ground-truth object, most doubtful first.

    Boxes are clipped to their frame; those outside it are left out. No box is an ignore region: what the annotator
    leaves counts as true.

    Args:
        labels: Boxes of N frames.
        doubt: Doubt of the same boxes.
        rows: Frames, most doubtful first, shape (K,).
        width_px: Width of each frame, shape (N,).
        height_px: Height of each frame, shape (N,).
    """
    row_of_box = labels.frame_rows()
    corner = np.stack([width_px, height_px] * 2, axis=1)[row_of_box].astype(np.float32)
    clipped = np.clip(labels.boxes_xyxy, 0, corner)
    coco = coco_json(replace(labels, boxes_xyxy=clipped), width_px, height_px)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    digits = max(3, len(str(len(rows))))
    for rank, row in enumerate(rows.tolist(), start=1):
        image = coco["images"][row]
        name = f"{rank:0{digits}d}_{image['file_name']}"  # annotation tools sort by name
        about = {"doubt": round(float(doubt.of_frames[row]), 3), "student_sees_more": int(doubt.missed[row])}
        images.append({**image, "file_name": name, **about})
        span = np.arange(labels.offsets[row], labels.offsets[row + 1])
        for box in span[np.argsort(-doubt.of_boxes[span], kind="stable")].tolist():
            one = coco["annotations"][box]
            if min(one["bbox"][2:]) < LEAST_PX:
                continue
            score = round(one["score"], 3)
            kept = {key: one[key] for key in ("image_id", "category_id", "bbox", "area")}
            attributes = {"doubtful": bool(doubt.doubtful[box]), "score": score}
            number = len(annotations) + 1
            annotations.append(
                {**kept, "id": number, "iscrowd": 0, "segmentation": [], "score": score, "attributes": attributes}
            )
    return {"info": {}, "images": images, "annotations": annotations, "categories": coco["categories"]}


def _student(run: Path, labels: Detections) -> Detections | None:
    """The trained student's boxes on the labels' frames; None where it was not evaluated, or knows other classes."""
    if not (run / STUDENT / HEADER).is_file():
        return None
    found = read_detections(run / STUDENT)
    same = found.class_names == labels.class_names and np.array_equal(found.frame_ids, labels.frame_ids)
    return found if same else None


def _empty_folder(to: str) -> Path:
    if is_remote(to):
        raise ConfigError(f"--to {to}: expected a folder on this machine, found an object's name. Name a folder.")
    folder = Path(os.path.abspath(to))  # noqa: PTH100 - without '..', whose sibling would be made
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        found = "a file" if not folder.is_dir() else "one that is not empty"
        raise ConfigError(f"--to {to}: expected a new or empty folder, found {found}. Choose another.")
    return folder


def _settings(run: Path) -> tuple[str, str]:
    """Return camera and registry of a run, or CAMERA and REGISTRY if its config.json does not name them."""
    try:
        values = json.loads((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        values = {}
    values = values if isinstance(values, dict) else {}
    registry = str(values.get("registry") or "REGISTRY")
    if registry != "REGISTRY" and not is_remote(registry):
        registry = str(Path(registry).absolute())
    return str(values.get("camera") or "CAMERA"), registry


def _readme(proposed: Proposed, run: Path, class_names: Sequence[str]) -> str:
    camera, registry = _settings(run)
    folder = proposed.folder

    def command(*words: str | Path) -> str:
        return "    " + shlex.join(["culling", "models", "--registry", registry, "check-set", camera, *map(str, words)])

    return f"""Label proposals for the check set of camera {camera}

{proposed.frames} of {proposed.of_frames} held-out frames.
{proposed.boxes} boxes of the teacher, {proposed.doubtful} of them doubtful (by {", ".join(proposed.known)}).
Images are in order: the most doubtful come first, and so do the boxes of an image.

What to do
  Go through ALL images. Delete boxes that are wrong, move those that are off, draw what is missing,
  correct classes. A box that you leave counts as true, also if it is marked doubtful. Upright boxes only.

In CVAT
  1. New task. Labels, "Raw", in one line:
     {json.dumps([{"name": name, "attributes": ATTRIBUTES} for name in class_names])}
  2. Files: those in images/, sorted lexicographically.
  3. Upload annotations, format "COCO 1.0": labels.json
  4. When done, export as "COCO 1.0"; put annotations/instances_default.json of that archive in place of labels.json.

Other tools read labels.json as COCO json with the file names in images/. Export as COCO json.

Then these two commands: the first checks the labels, reports each problem on a line, and stores them as the camera's
check set; the second prints the check set.

{command(folder / COCO, "--images", folder / IMAGES)}
{command()}
"""
