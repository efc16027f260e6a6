"""The human check set: frames that an annotator has labelled, checked and stored in the registry."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from dataset_culling.artifacts.frames import FrameWriter, encode_jpeg
from dataset_culling.artifacts.header import Origin
from dataset_culling.artifacts.labels import from_coco_json, write_labels
from dataset_culling.errors import InputError
from dataset_culling.registry.models import Registry
from dataset_culling.registry.nights import Night, Nights

ORIGIN = Origin("check-set")
OUTSIDE_PX = 1.0
"""A box may reach this far over the edge, as annotation tools round."""
_JPEG = b"\xff\xd8\xff"
MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class Labelled:
    """Checked labels of an annotator."""

    coco: Mapping[str, Any]
    files: tuple[Path, ...]  # in the order of coco["images"]
    class_names: tuple[str, ...]


def set_check(registry: Registry, camera: str, labels: Path, images: Path) -> Night:
    """Make labelled images the camera's check set.

    Args:
        registry: Where it is kept.
        camera: The camera.
        labels: COCO json.
        images: Folder in which the images' file_name lie.

    Raises:
        InputError: If the labels do not fit the images; each problem is printed as a line of its own before.
        StoreError: If the registry does not take it.
    """
    read = read_labelled(labels, images)
    with tempfile.TemporaryDirectory(prefix="culling-check-") as name:
        folder = Path(name)
        sizes = []
        with FrameWriter(folder / "frames", origin=ORIGIN) as writer:
            for number, file in enumerate(read.files, start=1):
                image, data = _read_image(file), file.read_bytes()
                jpeg = data if data.startswith(_JPEG) else encode_jpeg(image, quality=95)
                writer.add_jpeg(number, float(number), jpeg)
                sizes.append(image.shape[:2])
        height_px, width_px = np.array(sizes).T
        ids = {image["id"]: number for number, image in enumerate(read.coco["images"], start=1)}
        timed = [{**image, "time_s": float(ids[image["id"]])} for image in read.coco["images"]]
        # What a person left is true, however sure of it the teacher was that proposed it.
        certain = [{**one, "score": 1.0} for one in read.coco["annotations"]]
        boxes = from_coco_json({**read.coco, "images": timed, "annotations": certain}, frame_ids=ids)
        write_labels(folder / "labels", boxes, width_px, height_px, ORIGIN)
        return Nights(registry).set_check(camera, folder / "frames", folder / "labels", class_names=read.class_names)


def read_labelled(labels: Path, images: Path) -> Labelled:
    """Read an annotator's labels (COCO json) and check them against the images.

    Raises:
        InputError: If they are not COCO json, or do not fit; each problem is printed as a line of its own before.
    """
    try:
        coco = _read_coco(labels)
        found = [{**image, "id": int(image["id"]), "file_name": str(image["file_name"])} for image in coco["images"]]
        categories = {one["id"]: str(one["name"]) for one in coco["categories"]}
        boxes = [(one["image_id"], one["category_id"], [float(v) for v in one["bbox"]], one.get("id", "?"))
                 for one in coco["annotations"]]  # fmt: skip
    except FileNotFoundError:
        raise InputError(f"{labels}: expected labels as COCO json, found no such file. Check the path.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{labels}: expected COCO json with images, annotations and categories, found {error!r}."
        ) from None
    if not found:
        raise InputError(f"{labels}: expected labelled images, but it lists none.")
    problems = _problems(labels, images, found, categories, boxes)
    if problems:
        click.echo("\n".join(problems[:MOST_LINES]), err=True)
        hidden = len(problems) - MOST_LINES
        more = f" ({hidden} more are not listed)" if hidden > 0 else ""
        raise InputError(
            f"{labels}: expected labels that fit the images in {images}, found {len(problems)} problems, listed "
            f"above{more}. Correct them; nothing was changed."
        )
    return Labelled(
        {**coco, "images": found}, tuple(images / one["file_name"] for one in found), tuple(categories.values())
    )


def _read_coco(labels: Path) -> dict[str, Any]:
    """Read COCO json with integer ids.

    Raises:
        InputError: If it is XML, as CVAT exports it by default.
    """
    data = labels.read_bytes()
    if data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        raise InputError(f"{labels}: XML is not supported. Export as COCO 1.0 and pass the json file.")
    coco: dict[str, Any] = json.loads(data)
    for category in coco["categories"]:
        category["id"] = int(category["id"])
    for one in coco["annotations"]:
        one |= {"image_id": int(one["image_id"]), "category_id": int(one["category_id"])}
    return coco


def _problems(
    labels: Path, images: Path, found: Sequence[Mapping[str, Any]], categories: Mapping[Any, str],
    boxes: Sequence[tuple[int, Any, list[float], Any]],
) -> Sequence[str]:  # fmt: skip
    """List the problems of the labels, a line each."""
    lines: list[str] = []
    sizes: dict[int, tuple[int, int]] = {}
    names: set[str] = set()
    for one in found:
        name = one["file_name"]
        if one["id"] in sizes:
            lines.append(f"{labels}: image id {one['id']} is there twice ({name})")
            continue
        sizes[one["id"]] = (0, 0)
        if name in names:
            lines.append(f"{labels}: image {name} is listed twice")
        elif not (images / name).is_file():
            lines.append(f"{labels}: image {name} is not in {images}")
        else:
            try:
                height, width = _read_image(images / name).shape[:2]
            except InputError as error:
                lines.append(str(error))
            else:
                sizes[one["id"]] = (width, height)
                said = (int(one.get("width", width)), int(one.get("height", height)))
                if said != (width, height):
                    size = f"{said[0]}x{said[1]} px, the file is {width}x{height}"
                    lines.append(f"{labels}: image {name} is said to be {size}")
        names.add(name)
    for image_id, category, box, number in boxes:
        if image_id not in sizes:
            lines.append(f"{labels}: annotation {number} names image {image_id}, which is not listed")
            continue
        if category not in categories:
            lines.append(f"{labels}: annotation {number} names class {category}, which is not listed")
        width, height = sizes[image_id]
        x, y, w, h = box if len(box) == 4 else (0.0, 0.0, 0.0, 0.0)
        if not (w > 0 and h > 0 and all(math.isfinite(value) for value in box)):
            lines.append(f"{labels}: annotation {number} has no area: bbox {box}")
        elif width and (min(x, y) < -OUTSIDE_PX or x + w > width + OUTSIDE_PX or y + h > height + OUTSIDE_PX):
            lines.append(f"{labels}: annotation {number} lies outside its image of {width}x{height} px: bbox {box}")
    return lines


def _read_image(file: Path) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise InputError(f"{file}: expected an image, found something else")
    return np.ascontiguousarray(image[..., ::-1])
