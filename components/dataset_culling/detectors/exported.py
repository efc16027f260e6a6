"""Exported networks as detectors: ONNX or OpenVINO files, each described by a small .yaml.

K = boxes in one image; h, w = the network's input size, H, W = the original image's.

Files in `described/` are examples to copy; `detectors.table` also finds them by their bare names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from dataset_culling.boxes import iou_matrix
from dataset_culling.config import StageConfig, did_you_mean, parse_config, read_yaml
from dataset_culling.detectors.base import Features, NetworkInput, Precision, resize_image
from dataset_culling.detectors.runtimes import (
    Array,
    Arrays,
    OnnxRuntime,
    OpenVino,
    Runtime,
    RuntimeName,
    count_gflops,
)
from dataset_culling.errors import ConfigError, WeightsError
from dataset_culling.types import Float32Array, ImageArray, ImageDetections, IntArray


class InputSpec(StageConfig):
    """The network's input."""

    height_px: int = Field(ge=1, description="Height of the network's input.")
    width_px: int = Field(ge=1, description="Width of the network's input.")
    name: str = Field("", description="The input's name; empty: the only one.")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="Order of the input's axes.")
    dtype: Literal["float32", "float16", "uint8"] = Field("float32", description="Type of the input's numbers.")
    color: Literal["RGB", "BGR"] = Field("RGB", description="Order of the channels.")
    pixel_range: Literal["0..255", "0..1"] = Field("0..255", description="Values of black and white.")
    mean: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="Subtracted from each channel, after `pixel_range`, in the order of `color`."
    )
    std: tuple[float, float, float] = Field((1.0, 1.0, 1.0), description="Divisor of each channel after that.")
    resize: Literal["stretch", "letterbox"] = Field(
        "stretch", description="Stretch to the input's shape, or keep the image's and pad."
    )
    pad_value: int = Field(114, ge=0, le=255, description="Grey of the padding of a letterbox.")
    pad_at: Literal["end", "both"] = Field(
        "end", description="Pad a letterbox at the right and bottom, or evenly on both sides."
    )

    @model_validator(mode="after")
    def _std_is_positive(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be positive, found {list(self.std)}")
        return self


class OutputSpec(StageConfig):
    """The layout and meaning of the network's outputs.

    Layouts: `boxes_scores_labels` three outputs (K, 4), (K,), (K,); `boxes5_labels` boxes with their score in the
    fifth column (K, 5), and labels (K,); `yolox` one output (cells, 4 + 1 + classes), undecoded, scores after the
    sigmoid; `yolo` one output (cells, 4 + classes) or its transpose, decoded, scores after the sigmoid; `detr` boxes
    (queries, 4) and logits (queries, classes), which become scores by the sigmoid, or by the softmax with a last column
    for 'no object'. Every output may have a leading axis of one image.
    """

    layout: Literal["boxes_scores_labels", "boxes5_labels", "yolox", "yolo", "detr"] = Field(
        description="Arrangement of the outputs."
    )
    boxes: str = Field("", description="Name of the output with boxes, or of the only one.")
    scores: str = Field("", description="Name of the output with scores (boxes_scores_labels) or logits (detr).")
    labels: str = Field("", description="Name of the output with labels.")
    box_format: Literal["xyxy", "xywh", "cxcywh"] = Field("xyxy", description="Meaning of the four numbers of a box.")
    box_units: Literal["px", "normalised"] = Field(
        "px", description="Pixels of the network's input, or fractions of its sides."
    )
    strides: tuple[int, ...] = Field((8, 16, 32), min_length=1, description="yolox: cell sizes of the levels, in px.")
    softmax: bool = Field(False, description="detr: softmax over classes and a last 'no object' instead of a sigmoid.")
    label_offset: int = Field(
        0, ge=0, description="Number of the first class among the labels; lower labels are background."
    )

    @model_validator(mode="after")
    def _needed_outputs_are_named(self) -> Self:
        needs = {"boxes_scores_labels": ("boxes", "scores", "labels"), "boxes5_labels": ("boxes", "labels")}
        needed = needs.get(self.layout, ("boxes", "scores") if self.layout == "detr" else ())
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"layout {self.layout} needs the names of the outputs {' and '.join(missing)}")
        return self


class ExportedDetectorSpec(StageConfig):
    """The description of an exported detector: file, input, outputs."""

    name: str = Field(min_length=1, description="Name in reports.")
    format: RuntimeName = Field(description="Runtime: onnxruntime or OpenVINO.")
    file: str = Field(min_length=1, description="The .onnx or .xml file, relative to this description.")
    input: InputSpec
    output: OutputSpec
    class_names: tuple[str, ...] = Field(min_length=1, description="Classes in the order of the network's labels.")
    min_score: float = Field(0.0, ge=0, le=1, description="Boxes scoring less are never returned.")
    nms_iou: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Boxes of one class that overlap a better one by more are dropped; 0: all are kept.",
    )
    max_boxes: int = Field(300, ge=1, description="Most boxes per image.")
    precision: Literal["f32", "native"] = Field(
        "f32",
        description="openvino: f32 gives the same labels on every machine; native is the processor's fastest.",
    )
    source: str = Field("", description="Origin and licence of the network, for readers.")


class _Raw(NamedTuple):
    """Boxes as in the network's outputs."""

    boxes: Float32Array  # (K, 4)
    scores: Float32Array  # (K,)
    labels: IntArray  # (K,), from 0


def _read_outputs(spec: ExportedDetectorSpec, outputs: Arrays, where: str) -> _Raw:
    """Read boxes, scores and labels of one image from the network's outputs.

    Raises:
        WeightsError: If the shapes do not fit the described layout.
    """
    output, layout, num_classes = spec.output, spec.output.layout, len(spec.class_names)
    first = outputs[output.boxes] if output.boxes else next(iter(outputs.values()))
    boxes = _rows(first)
    if layout == "boxes_scores_labels":
        _expect(boxes, 4, output.boxes, where, "four numbers a box")
        labels = outputs[output.labels].reshape(-1).astype(np.int64) - output.label_offset
        return _Raw(boxes, outputs[output.scores].reshape(-1).astype(np.float32), labels)
    if layout == "boxes5_labels":
        _expect(boxes, 5, output.boxes, where, "four numbers and a score")
        labels = outputs[output.labels].reshape(-1).astype(np.int64) - output.label_offset
        return _Raw(boxes[:, :4], boxes[:, 4], labels)
    if layout == "detr":
        _expect(boxes, 4, output.boxes, where, "four numbers a box")
        logits = _rows(outputs[output.scores])
        columns = output.label_offset + num_classes
        _expect(logits, columns + output.softmax, output.scores, where, f"{num_classes} class_names")
        scores = _softmax(logits) if output.softmax else _sigmoid(logits)
        return _best_class(boxes, scores[:, output.label_offset : columns])
    columns = 4 + (layout == "yolox") + num_classes
    if layout == "yolo" and boxes.shape[1] != columns and boxes.shape[0] == columns:
        boxes = boxes.T
    _expect(boxes, columns, output.boxes or "the output", where, f"{num_classes} class_names")
    if layout == "yolo":
        return _best_class(boxes[:, :4], boxes[:, 4:])
    return _best_class(_decode_yolox(boxes[:, :4], spec, where), boxes[:, 5:] * boxes[:, 4:5])


def _rows(array: Array) -> Float32Array:
    """Turn an output into a table, without the axis of the one image."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return (array.reshape(-1, array.shape[-1]) if array.ndim != 2 else array).astype(np.float32)


def _expect(table: Float32Array, columns: int, name: str, where: str, reason: str) -> None:
    if table.shape[1] != columns:
        raise WeightsError(
            f"{where}: expected {columns} columns in {name} ({reason}), found {table.shape[1]}. "
            f"Check output.layout and the number of class_names."
        )


def _best_class(boxes: Float32Array, scores: Float32Array) -> _Raw:
    labels = scores.argmax(1)
    return _Raw(boxes, scores[np.arange(len(scores)), labels], labels.astype(np.int64))


def _sigmoid(logits: Float32Array) -> Float32Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)  # does not overflow


def _softmax(logits: Float32Array) -> Float32Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def _decode_yolox(raw: Float32Array, spec: ExportedDetectorSpec, where: str) -> Float32Array:
    """Decode boxes (cells, 4) to centre and size in px of the network's input; see `detectors.yolox.decode`."""
    cells, steps = [], []
    for stride in spec.output.strides:
        rows, columns = spec.input.height_px // stride, spec.input.width_px // stride
        y, x = np.mgrid[:rows, :columns]
        cells.append(np.stack([x, y], -1).reshape(-1, 2))
        steps.append(np.full((rows * columns, 1), stride))
    cell, step = np.concatenate(cells), np.concatenate(steps)
    if len(cell) != len(raw):
        raise WeightsError(
            f"{where}: expected {len(cell)} cells for an input of {spec.input.width_px}x{spec.input.height_px} px and "
            f"strides {list(spec.output.strides)}, found {len(raw)}. Check the input's size and output.strides."
        )
    boxes = np.concatenate([(raw[:, :2] + cell) * step, np.exp(np.minimum(raw[:, 2:], 8.0)) * step], 1)
    return boxes.astype(np.float32)


def _to_xyxy(boxes: Float32Array, box_format: str) -> Float32Array:
    if box_format == "xyxy":
        return boxes
    start = boxes[:, :2] - boxes[:, 2:] / 2 if box_format == "cxcywh" else boxes[:, :2]
    return np.concatenate([start, start + boxes[:, 2:]], 1)


class ExportedDetector:
    """See `detectors.base.Detector`. Works at one input size on the CPU and ignores `side_px`."""

    def __init__(self, spec: ExportedDetectorSpec, runtime: Runtime, path: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.class_names = spec.class_names
        self.full_side_px = min(spec.input.height_px, spec.input.width_px)
        self._runtime = runtime
        self._path = path

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: the one of the description."""
        del height_px, width_px, side_px
        return self.spec.input.height_px, self.spec.input.width_px

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `Detector.prepare`; ignores `side_px`."""
        del side_px
        wanted, (height, width) = self.spec.input, image.shape[:2]
        h, w = wanted.height_px, wanted.width_px
        if wanted.resize == "letterbox":
            scale = min(h / height, w / width)
            h, w = min(max(round(height * scale), 1), h), min(max(round(width * scale), 1), w)
        padded = image = resize_image(image, h, w)
        left = (wanted.width_px - w) // 2 if wanted.pad_at == "both" else 0
        top = (wanted.height_px - h) // 2 if wanted.pad_at == "both" else 0
        if (h, w) != (wanted.height_px, wanted.width_px):
            padded = np.full((wanted.height_px, wanted.width_px, 3), wanted.pad_value, np.uint8)
            padded[top : top + h, left : left + w] = image
        return NetworkInput(padded, w / width, h / height, height, width, left, top)

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """See `Detector.predict`: one image at a time, or several at once if the runtime can."""
        del side_px
        found: list[ImageDetections] = []
        for start in range(0, len(images), batch_size):  # bounds how many inputs wait at once
            found += self.detect(
                [self.prepare(image) for image in images[start : start + batch_size]], min_score=min_score
            )
        return found

    def detect(
        self, batch: Sequence[NetworkInput], *, min_score: float, features: Features = False
    ) -> list[ImageDetections]:
        """See `Detector.detect`."""
        del features  # an exported network returns boxes only
        answers = self._runtime.run(self._tensor(prepared) for prepared in batch)
        return [
            self._detections(outputs, prepared, min_score) for outputs, prepared in zip(answers, batch, strict=True)
        ]

    def ready(self, precision: Precision = "auto") -> Self:
        """See `Detector.ready`: the description decides on the precision."""
        del precision
        return self

    def fingerprint(self) -> str:
        """See `Detector.fingerprint`."""
        found = hashlib.sha256(self.spec.to_json().encode())
        for path in (self._path, self._path.with_suffix(".bin")):
            if path.is_file():
                found.update(path.read_bytes())
        return found.hexdigest()

    def _tensor(self, prepared: NetworkInput) -> Array:
        wanted = self.spec.input
        pixels = prepared.image[..., ::-1] if wanted.color == "BGR" else prepared.image
        values = pixels.astype(np.float32)
        if wanted.pixel_range == "0..1":
            values /= 255
        mean, std = np.array(wanted.mean, np.float32), np.array(wanted.std, np.float32)
        values = np.asarray((values - mean) / std, np.float32)
        values = (values.transpose(2, 0, 1) if wanted.layout == "NCHW" else values).astype(wanted.dtype)
        return np.ascontiguousarray(values[None] if len(self._runtime.input_shape) == 4 else values)

    def _detections(self, outputs: Arrays, prepared: NetworkInput, min_score: float) -> ImageDetections:
        raw = _read_outputs(self.spec, outputs, str(self._path))
        if not len(raw.boxes) == len(raw.scores) == len(raw.labels):
            raise WeightsError(
                f"{self._path}: expected as many scores and labels as boxes, found {len(raw.boxes)} boxes, "
                f"{len(raw.scores)} scores and {len(raw.labels)} labels. Check the names in output."
            )
        kept = (raw.scores >= max(min_score, self.spec.min_score)) & (raw.labels >= 0)
        boxes, scores, labels = raw.boxes[kept], raw.scores[kept], raw.labels[kept]
        if len(labels) and labels.max() >= len(self.class_names):
            raise WeightsError(
                f"{self._path}: expected labels up to {len(self.class_names) - 1 + self.spec.output.label_offset} "
                f"({len(self.class_names)} class_names), found {labels.max() + self.spec.output.label_offset}. "
                f"Complete class_names in the description of {self.name}."
            )
        boxes = _to_xyxy(boxes, "cxcywh" if self.spec.output.layout == "yolox" else self.spec.output.box_format)
        if self.spec.output.box_units == "normalised":
            boxes = boxes * np.array([self.spec.input.width_px, self.spec.input.height_px] * 2, np.float32)
        corner = np.array([prepared.left_px, prepared.top_px] * 2)
        whole = (boxes - corner) / np.array([prepared.scale_x, prepared.scale_y] * 2)
        boxes = np.clip(whole, 0, np.array([prepared.width_px, prepared.height_px] * 2)).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        if self.spec.nms_iou:  # YOLOX suppresses before clipping, the others after
            compared = whole if self.spec.output.layout == "yolox" else boxes
            order = order[_suppress(compared[order], labels[order], self.spec.nms_iou)]
        order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]  # drops those in the padding
        order = order[: self.spec.max_boxes]
        return ImageDetections(boxes[order], scores[order].astype(np.float32), labels[order])

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """See `Detector.gflops`; 0 if the graph has a shape that is not fixed."""
        del height_px, width_px, side_px
        return count_gflops(self._path)


def _suppress(boxes_xyxy: Float32Array, labels: IntArray, max_iou: float) -> IntArray:
    """Non-maximum suppression within classes: rows of the boxes to keep; boxes come best first."""
    close = (iou_matrix(boxes_xyxy, boxes_xyxy) > max_iou) & (labels[:, None] == labels)
    kept = np.ones(len(labels), np.bool_)
    for row in range(len(labels)):
        if kept[row]:
            kept[row + 1 :] &= ~close[row, row + 1 :]
    return np.flatnonzero(kept).astype(np.int64)


def load_exported(description: Path, weights: str = "") -> ExportedDetector:
    """Read a description and build its detector; see `build_exported`.

    Raises:
        ConfigError: Also if the description is missing or invalid.
    """
    spec = parse_config(ExportedDetectorSpec, read_yaml(description), where=str(description))
    return build_exported(spec, description, weights)


def build_exported(
    spec: ExportedDetectorSpec, description: Path, weights: str = "", *, runner: RuntimeName | None = None
) -> ExportedDetector:
    """Build the detector of a description.

    Args:
        spec: The content of the description.
        description: Its file, which lies beside the network's.
        weights: Another file of the network; empty: the one that the description names.
        runner: Runtime instead of `spec.format`.

    Raises:
        ConfigError: If the description does not fit the network's inputs and outputs.
        WeightsError: If the network's file is missing or damaged.
    """
    path = Path(weights) if weights else description.parent / spec.file
    if not path.is_file():
        raise WeightsError(
            f"{path}: the network that {description.name} describes is missing. "
            f"Put {Path(spec.file).name} beside the description, or pass its path as the detector's weights."
        )
    runtime: Runtime
    if (runner or spec.format) == "onnx":
        runtime = OnnxRuntime(path, spec.input.name)
    else:
        runtime = OpenVino(path, spec.input.name, spec.precision)
    _check_shapes(spec, runtime, description)
    return ExportedDetector(spec, runtime, path)


def _check_shapes(spec: ExportedDetectorSpec, runtime: Runtime, description: Path) -> None:
    """Compare the description with the network's own shapes and names."""
    h, w = spec.input.height_px, spec.input.width_px
    wanted: tuple[int, ...] = (1, 3, h, w) if spec.input.layout == "NCHW" else (1, h, w, 3)
    found = runtime.input_shape
    if len(found) == 3:  # a network for one image, without an axis for several
        wanted = wanted[1:]
    if len(found) != len(wanted) or any(side not in (-1, mine) for side, mine in zip(found, wanted, strict=True)):
        raise ConfigError(
            f"{description}: input: the network takes shape {list(found)}, the description says {list(wanted)} "
            f"({spec.input.layout}). Fix height_px, width_px or layout."
        )
    named = [name for name in (spec.output.boxes, spec.output.scores, spec.output.labels) if name]
    for name in named:
        if name not in runtime.outputs:
            raise ConfigError(
                f"{description}: output: the network has no output called '{name}'."
                f"{did_you_mean(name, runtime.outputs)} It has: {', '.join(runtime.outputs)}."
            )
    if not named and runtime.num_outputs != 1:
        raise ConfigError(f"{description}: output.boxes is missing. Set it to one of {', '.join(runtime.outputs)}.")
