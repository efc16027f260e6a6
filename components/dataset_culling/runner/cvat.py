"""CVAT for images 1.1: boxes as annotation tools exchange them in XML, to COCO's keys and from them.

    annotations > meta > task | project | job > labels > label > name
                > image id name width height > box label xtl ytl xbr ybr, px > attribute name

Coordinates have two decimals, as CVAT writes them. Source: docs.cvat.ai, "XML annotation format", version 1.1.
"""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dataset_culling.errors import InputError

MAX_BYTES = 32 * 2**20
"""A check set's labels are under 1 MiB; parsed, XML takes some twenty times its size in memory."""

NOT_BOXES = ("polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton")
_CORNERS = ("xtl", "ytl", "xbr", "ybr")
_NO_ANGLE = ("", "0", "0.0", "0.00")


def is_xml(data: bytes) -> bool:
    """Whether a file's first bytes are those of XML in any encoding that begins with ASCII."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def to_cvat_xml(coco: Mapping[str, Any], attributes: Mapping[str, str]) -> bytes:
    """A COCO ground-truth object as CVAT for images 1.1; annotations keep their order within an image.

    Args:
        coco: With images, annotations and categories; an annotation's `attributes` are written for those named.
        attributes: Name of an annotation's attribute -> how CVAT asks for it, 'checkbox' or 'text'.
    """
    root = ET.Element("annotations")
    _text(root, "version", "1.1")
    task = ET.SubElement(ET.SubElement(root, "meta"), "task")
    _text(task, "name", "label proposals")
    _text(task, "size", str(len(coco["images"])))
    _text(task, "mode", "annotation")
    labels = ET.SubElement(task, "labels")
    for category in coco["categories"]:
        label = ET.SubElement(labels, "label")
        _text(label, "name", category["name"])
        asked = ET.SubElement(label, "attributes")
        for name, kind in attributes.items():
            one = ET.SubElement(asked, "attribute")
            _text(one, "name", name)
            _text(one, "mutable", "False")
            _text(one, "input_type", kind)
            _text(one, "default_value", DEFAULTS[kind])
            _text(one, "values", DEFAULTS[kind])
    names = {category["id"]: category["name"] for category in coco["categories"]}
    images: dict[int, ET.Element] = {}
    for number, image in enumerate(coco["images"]):
        about = {"id": str(number), "name": image["file_name"]}
        about |= {"width": str(image["width"]), "height": str(image["height"])}
        images[image["id"]] = ET.SubElement(root, "image", about)
    for annotation in coco["annotations"]:
        x, y, width, height = annotation["bbox"]
        about = {"label": names[annotation["category_id"]], "source": "auto", "occluded": "0"}
        corners = (x, y, x + width, y + height)
        about |= {name: f"{value:.2f}" for name, value in zip(_CORNERS, corners, strict=True)}
        box = ET.SubElement(images[annotation["image_id"]], "box", {**about, "z_order": "0"})
        for name in attributes:
            value = annotation["attributes"][name]
            said = str(value).lower() if isinstance(value, bool) else str(value)
            _text(box, "attribute", said).set("name", name)
    ET.indent(root)
    out = io.BytesIO()
    ET.ElementTree(root).write(out, encoding="utf-8", xml_declaration=True)
    return out.getvalue() + b"\n"


DEFAULTS = {"checkbox": "false", "text": ""}
"""How CVAT asks for an attribute -> what it is for a box that a person draws."""


def from_cvat_xml(path: Path) -> tuple[dict[str, Any], list[str]]:
    """CVAT for images 1.1 as a COCO ground-truth object whose category ids are the classes' names.

    The file comes from outside: it is read only up to `MAX_BYTES`, as UTF-8, and without any document type, the one
    place where XML can define entities that grow, or name other files.

    Returns:
        The object, and a line for each thing in it that is no upright box: those are left out. An image's id is its
        place in the file, an annotation's id says where it is. Where the file lists no classes, those of its boxes are
        taken to be all there are.

    Raises:
        InputError: If it is no such XML, or of a video.
    """
    root = _parse(path)
    if root.tag != "annotations" or (root.find("image") is None and root.find("track") is None):
        raise InputError(
            f"{path}: expected CVAT for images 1.1 with annotations > image, found <{root.tag}> without any."
        )
    if root.find("track") is not None:
        raise InputError(f"{path}: expected CVAT for images 1.1, found tracks. Export as 'CVAT for images 1.1'.")
    images, annotations, problems = [], [], []
    for place, image in enumerate(root.findall("image")):
        name = image.get("name", "")
        images.append({"id": place, "file_name": name, **_size(image)})
        for number, shape in enumerate((one for one in image if one.tag in ("box", *NOT_BOXES)), start=1):
            where = f"{number} of {name}"
            if shape.tag != "box":
                problems.append(f"{path}: annotation {where} is a {shape.tag}, expected a box")
                continue
            if shape.get("rotation", "") not in _NO_ANGLE:
                problems.append(f"{path}: annotation {where} is a box turned by {shape.get('rotation')} degrees")
                continue
            try:
                x1, y1, x2, y2 = (float(shape.get(corner, "")) for corner in _CORNERS)
            except ValueError:
                problems.append(f"{path}: annotation {where} has no {', '.join(_CORNERS)} that are numbers")
                continue
            bbox = [x1, y1, x2 - x1, y2 - y1]
            annotations.append({"id": where, "image_id": place, "category_id": shape.get("label", ""), "bbox": bbox})
    listed = [label.findtext("name", "").strip() for label in root.findall("meta/*/labels/label")]
    names = list(dict.fromkeys(listed or sorted({str(one["category_id"]) for one in annotations})))
    categories = [{"id": name, "name": name} for name in names]
    return {"images": images, "annotations": annotations, "categories": categories}, problems


def _parse(path: Path) -> ET.Element:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: expected at most {MAX_BYTES >> 20} MiB of labels, found more. Export fewer images.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected XML in UTF-8, as CVAT writes it, found {error.reason}.") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: expected XML without a document type, found one. Export the labels again.")
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise InputError(f"{path}: expected CVAT for images 1.1 as XML, found {error}.") from None


def _size(image: ET.Element) -> dict[str, int]:
    """Width and height, where the file says them."""
    return {name: int(said) for name in ("width", "height") if (said := image.get(name, "")).isdecimal()}


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = text
    return child


def raw_labels(names: Sequence[str], attributes: Mapping[str, str]) -> list[dict[str, Any]]:
    """The classes as CVAT's label constructor takes them under 'Raw'."""
    asked = [
        {
            "name": name,
            "mutable": False,
            "input_type": kind,
            "default_value": DEFAULTS[kind],
            "values": [DEFAULTS[kind]],
        }
        for name, kind in attributes.items()
    ]
    return [{"name": name, "attributes": asked} for name in names]
