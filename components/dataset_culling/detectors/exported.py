"""Exported detectors as black boxes: ONNX by onnxruntime, OpenVINO by openvino, each described by a small .yaml.

K = boxes in one image; h, w = the network's input size, H, W = the original image's.

Files in `described/` are examples to copy; they are also found by their bare names.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from dataset_culling.config import StageConfig, did_you_mean, parse_config, read_yaml
from dataset_culling.detectors.base import Features, NetworkInput, Precision
from dataset_culling.errors import ConfigError, WeightsError
from dataset_culling.types import Float32Array, ImageArray, ImageDetections, IntArray

DESCRIBED = Path(__file__).parent / "described"

Runner = Literal["onnx", "openvino"]
"""Who runs a network: onnxruntime or OpenVINO."""

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


# -- the description


class InputSpec(StageConfig):
    """What the network wants to be shown."""

    height_px: int = Field(ge=1, description="Height of the network's input.")
    width_px: int = Field(ge=1, description="Width of the network's input.")
    name: str = Field("", description="The input's name; empty: the only one there is.")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="Order of the input's axes.")
    dtype: Literal["float32", "float16", "uint8"] = Field("float32", description="Type of the input's numbers.")
    color: Literal["RGB", "BGR"] = Field("RGB", description="Order of the channels.")
    pixel_range: Literal["0..255", "0..1"] = Field("0..255", description="Values of black and white.")
    mean: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="Subtracted from each channel, after `pixel_range`, in the order of `color`."
    )
    std: tuple[float, float, float] = Field((1.0, 1.0, 1.0), description="What each channel is divided by after that.")
    resize: Literal["stretch", "letterbox"] = Field(
        "stretch", description="Stretch to the input's shape, or keep the image's and pad."
    )
    pad_value: int = Field(114, ge=0, le=255, description="Grey of the padding of a letterbox.")
    pad_at: Literal["end", "both"] = Field(
        "end", description="Pad a letterbox at the right and bottom, or evenly on both sides."
    )

    @model_validator(mode="after")
    def _std_is_no_zero(self) -> Self:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be positive, found {list(self.std)}")
        return self


class OutputSpec(StageConfig):
    """What the network's answer means.

    Layouts: `boxes_scores_labels` three outputs (K, 4), (K,), (K,); `boxes5_labels` boxes with their score in the
    fifth column (K, 5), and labels (K,); `yolox` one output (cells, 4 + 1 + classes), undecoded, scores after the
    sigmoid; `yolo` one output (cells, 4 + classes) or its transpose, decoded, scores after the sigmoid; `detr` boxes
    (queries, 4) and logits (queries, classes), which the sigmoid makes scores, or the softmax where a last column
    stands for 'no object'. A leading axis of one image is allowed everywhere.
    """

    layout: Literal["boxes_scores_labels", "boxes5_labels", "yolox", "yolo", "detr"] = Field(
        description="How the outputs are arranged."
    )
    boxes: str = Field("", description="Name of the output with boxes, or of the only one.")
    scores: str = Field("", description="Name of the output with scores (boxes_scores_labels) or logits (detr).")
    labels: str = Field("", description="Name of the output with labels.")
    box_format: Literal["xyxy", "xywh", "cxcywh"] = Field("xyxy", description="What the four numbers of a box are.")
    box_units: Literal["px", "normalised"] = Field(
        "px", description="Pixels of the network's input, or shares of its sides."
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
    """An exported detector: which file it is, what it is shown and what its answer means."""

    name: str = Field(min_length=1, description="What reports call it.")
    format: Runner = Field(description="Who runs it.")
    file: str = Field(min_length=1, description="The .onnx or .xml file, relative to this description.")
    input: InputSpec
    output: OutputSpec
    class_names: tuple[str, ...] = Field(min_length=1, description="Classes in the order of the network's labels.")
    min_score: float = Field(0.0, ge=0, le=1, description="Boxes scoring less are never returned.")
    nms_iou: float = Field(
        0.0, ge=0, le=1, description="Boxes of one class that overlap a better one by more are dropped; 0: none is."
    )
    max_boxes: int = Field(300, ge=1, description="Most boxes per image.")
    precision: Literal["f32", "native"] = Field(
        "f32",
        description="openvino: exact, so that every machine gives the same labels, or as the processor is fastest.",
    )
    source: str = Field("", description="For people: where the network comes from and under which licence.")


# -- who runs a network


class _Runtime(ABC):
    """Runs a network; `outputs` names what it gives."""

    input_shape: tuple[int, ...]  # -1 where it is free
    outputs: tuple[str, ...]  # all names; one output may have several
    num_outputs: int

    @abstractmethod
    def run(self, images: Iterator[Array]) -> Iterator[Arrays]:
        """The outputs for each input tensor, in order.

        Raises:
            WeightsError: If the network does not take such a tensor.
        """


class _OnnxRuntime(_Runtime):
    def __init__(self, path: Path, input_name: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - onnxruntime's own errors share no public base
            raise _no_network(path, "an ONNX file", error) from None
        inputs = {given.name: given for given in self._session.get_inputs()}
        self._path = path
        self._input = _choose_input(path, input_name, list(inputs))
        self.input_shape = tuple(side if isinstance(side, int) else -1 for side in inputs[self._input].shape)
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.num_outputs = len(self.outputs)

    def run(self, images: Iterator[Array]) -> Iterator[Arrays]:
        for image in images:
            try:
                outputs = self._session.run(None, {self._input: image})
            except Exception as error:  # noqa: BLE001 - as above
                raise _no_network(self._path, "a network that takes the described input", error) from None
            yield dict(zip(self.outputs, outputs, strict=True))


class _OpenVino(_Runtime):
    def __init__(self, path: Path, input_name: str, precision: str) -> None:
        import openvino

        if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
            raise WeightsError(
                f"{path.with_suffix('.bin')}: expected the network's weights, found nothing. "
                f"An OpenVINO network is two files, .xml and .bin, side by side."
            )
        hints: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        if precision == "f32":
            hints["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", hints)
        except RuntimeError as error:
            raise _no_network(path, "an OpenVINO network", error) from None
        names = {
            port.get_any_name() if port.get_names() else str(row): port for row, port in enumerate(self._model.inputs)
        }
        self._path = path
        self._input = names[_choose_input(path, input_name, list(names))]
        shape = self._input.get_partial_shape()
        self.input_shape = tuple(side.get_length() if side.is_static else -1 for side in shape)
        # An output of ONNX may have several names, of which the file's own is but one.
        self._names = [sorted(port.get_names()) or [str(row)] for row, port in enumerate(self._model.outputs)]
        self.outputs = tuple(name for names in self._names for name in names)
        self.num_outputs = len(self._names)
        self._queue = openvino.AsyncInferQueue(self._model)
        self._done: dict[int, Arrays] = {}
        self._queue.set_callback(self._take)

    def _take(self, request: Any, row: int) -> None:
        tensors = [tensor.data.copy() for tensor in request.output_tensors]  # the request's memory is used again
        self._done[row] = {name: tensor for names, tensor in zip(self._names, tensors, strict=True) for name in names}

    def run(self, images: Iterator[Array]) -> Iterator[Arrays]:
        row = -1
        try:
            for row, image in enumerate(images):
                self._queue.start_async({self._input: image}, row)
            self._queue.wait_all()
        except RuntimeError as error:
            raise _no_network(self._path, "a network that takes the described input", error) from None
        for done in range(row + 1):
            yield self._done.pop(done)


def _choose_input(path: Path, wanted: str, known: list[str]) -> str:
    if not wanted and len(known) == 1:
        return known[0]
    if wanted not in known:
        what = f"an input called '{wanted}'" if wanted else "input.name to choose one of several inputs"
        raise ConfigError(
            f"{path}: expected {what}, found {', '.join(known)}.{did_you_mean(wanted, known)} Set input.name."
        )
    return wanted


def _no_network(path: Path, wanted: str, error: Exception) -> WeightsError:
    first = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return WeightsError(f"{path}: expected {wanted}, found {first}. Check 'format' and 'file', or fetch it again.")


# -- what its answer means


@dataclass(frozen=True, slots=True)
class _Raw:
    """Boxes as the network says them: (K, 4), scores (K,), labels (K,) from 0."""

    boxes: Float32Array
    scores: Float32Array
    labels: IntArray


def _read_outputs(spec: ExportedDetectorSpec, outputs: Arrays, where: str) -> _Raw:
    """Boxes, scores and labels out of the arrays that a network gives for one image.

    Raises:
        WeightsError: If the arrays do not have the shapes that the layout says.
    """
    layout, output = spec.output.layout, spec.output
    num_classes = len(spec.class_names)
    first = outputs[output.boxes] if output.boxes else next(iter(outputs.values()))
    boxes = _rows(first)
    if layout == "boxes_scores_labels":
        _expect(boxes, 4, output.boxes, where, "four numbers a box")
        return _Raw(boxes, outputs[output.scores].reshape(-1).astype(np.float32), _labels(outputs[output.labels], spec))
    if layout == "boxes5_labels":
        _expect(boxes, 5, output.boxes, where, "four numbers and a score")
        return _Raw(boxes[:, :4], boxes[:, 4], _labels(outputs[output.labels], spec))
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
    """An output as a table, without the axis of the one image."""
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return (array.reshape(-1, array.shape[-1]) if array.ndim != 2 else array).astype(np.float32)


def _expect(table: Float32Array, columns: int, name: str, where: str, reason: str) -> None:
    if table.shape[1] != columns:
        raise WeightsError(
            f"{where}: expected {columns} columns in {name} ({reason}), found {table.shape[1]}. "
            f"Check output.layout and the number of class_names."
        )


def _labels(labels: Array, spec: ExportedDetectorSpec) -> IntArray:
    return labels.reshape(-1).astype(np.int64) - spec.output.label_offset


def _best_class(boxes: Float32Array, scores: Float32Array) -> _Raw:
    labels = scores.argmax(1)
    return _Raw(boxes, scores[np.arange(len(scores)), labels], labels.astype(np.int64))


def _sigmoid(logits: Float32Array) -> Float32Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)  # does not overflow


def _softmax(logits: Float32Array) -> Float32Array:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def _decode_yolox(raw: Float32Array, spec: ExportedDetectorSpec, where: str) -> Float32Array:
    """Undecoded boxes (cells, 4) to centre and size in px of the network's input; see `detectors.yolox.decode`."""
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


# -- the detector


class ExportedDetector:
    """See `detectors.base.Detector`. It works at one input size, whatever `side_px` says, on the CPU."""

    def __init__(self, spec: ExportedDetectorSpec, runtime: _Runtime, path: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.class_names = spec.class_names
        self.full_side_px = min(spec.input.height_px, spec.input.width_px)
        self._runtime = runtime
        self._path = path

    def network_size(self, height_px: int, width_px: int, side_px: int = 0) -> tuple[int, int]:
        """See `Detector.network_size`: always the same."""
        del height_px, width_px, side_px
        return self.spec.input.height_px, self.spec.input.width_px

    def prepare(self, image: ImageArray, side_px: int = 0) -> NetworkInput:
        """See `Detector.prepare`; `side_px` is not looked at."""
        del side_px
        wanted, (height, width) = self.spec.input, image.shape[:2]
        h, w = wanted.height_px, wanted.width_px
        if wanted.resize == "letterbox":
            scale = min(h / height, w / width)
            h, w = min(max(round(height * scale), 1), h), min(max(round(width * scale), 1), w)
        if (h, w) != (height, width):
            how = cv2.INTER_AREA if h < height else cv2.INTER_LINEAR
            image = cv2.resize(image, (w, h), interpolation=how).astype(np.uint8, copy=False)
        left = (wanted.width_px - w) // 2 if wanted.pad_at == "both" else 0
        top = (wanted.height_px - h) // 2 if wanted.pad_at == "both" else 0
        padded = image
        if (h, w) != (wanted.height_px, wanted.width_px):
            padded = np.full((wanted.height_px, wanted.width_px, 3), wanted.pad_value, np.uint8)
            padded[top : top + h, left : left + w] = image
        return NetworkInput(padded, w / width, h / height, height, width, left, top)

    def predict(
        self, images: Sequence[ImageArray], *, side_px: int = 0, min_score: float = 0.05, batch_size: int = 8
    ) -> list[ImageDetections]:
        """See `Detector.predict`: one image at a time, several at once where the runtime can."""
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
        del features  # an exported network gives boxes alone
        answers = self._runtime.run(self._tensor(prepared) for prepared in batch)
        return [
            self._detections(outputs, prepared, min_score) for outputs, prepared in zip(answers, batch, strict=True)
        ]

    def ready(self, precision: Precision = "auto") -> Self:
        """See `Detector.ready`: the description says what it computes in."""
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
        if self.spec.nms_iou:  # YOLOX is made to suppress before clipping, the others after
            compared = whole if self.spec.output.layout == "yolox" else boxes
            order = order[_suppress(compared[order], labels[order], self.spec.nms_iou)]
        order = order[(boxes[order, 2:] > boxes[order, :2]).all(1)]  # not those in the padding
        order = order[: self.spec.max_boxes]
        return ImageDetections(boxes[order], scores[order].astype(np.float32), labels[order])

    def gflops(self, height_px: int, width_px: int, side_px: int = 0) -> float:
        """See `Detector.gflops`: convolutions and matrix products of the graph; 0 where a shape is not fixed."""
        del height_px, width_px, side_px
        import openvino

        try:
            model = openvino.Core().read_model(str(self._path))
        except RuntimeError:
            return 0.0
        total = 0
        for node in model.get_ordered_ops():
            kind = node.get_type_name()
            if kind not in ("Convolution", "GroupConvolution", "MatMul"):
                continue
            shape = node.output(0).get_partial_shape()
            weights = node.input(1).get_partial_shape()
            if shape.is_dynamic or weights.is_dynamic:
                return 0.0
            sides = list(weights.to_shape())
            if kind == "MatMul":
                per_output = list(node.input(0).get_partial_shape().to_shape())[-1]
            else:
                per_output = int(np.prod(sides[1 if kind == "Convolution" else 2 :]))
            total += 2 * per_output * int(np.prod(list(shape.to_shape())))
        return total / 1e9


def _suppress(boxes_xyxy: Float32Array, labels: IntArray, max_iou: float) -> IntArray:
    """Rows of the boxes that no better box of their class overlaps too much; boxes come best first."""
    from dataset_culling.boxes import iou_matrix

    close = (iou_matrix(boxes_xyxy, boxes_xyxy) > max_iou) & (labels[:, None] == labels)
    kept = np.ones(len(labels), np.bool_)
    for row in range(len(labels)):
        if kept[row]:
            kept[row + 1 :] &= ~close[row, row + 1 :]
    return np.flatnonzero(kept).astype(np.int64)


def load_exported(description: Path, weights: str = "") -> ExportedDetector:
    """Build the detector that a .yaml describes.

    Args:
        description: The file; a bare name is also looked for among those that come with this package.
        weights: The network's file instead of the one that the description names; empty: that one.

    Raises:
        ConfigError: If the description is missing or wrong, or does not fit the network's inputs and outputs.
        WeightsError: If the network's file is missing or damaged.
    """
    if not description.is_file() and (DESCRIBED / description).is_file():
        description = DESCRIBED / description
    return build_exported(
        parse_config(ExportedDetectorSpec, read_yaml(description), where=str(description)), description, weights
    )


def build_exported(
    spec: ExportedDetectorSpec, description: Path, weights: str = "", *, runner: Runner | None = None
) -> ExportedDetector:
    """Build the detector that a description, read from a file, describes.

    Args:
        spec: What the file says.
        description: The file; the network lies beside it.
        weights: The network's file instead; empty: the one that the description names.
        runner: Who runs it instead of `spec.format`; OpenVINO reads ONNX, too.

    Raises:
        ConfigError: If the description does not fit the network's inputs and outputs.
        WeightsError: If the network's file is missing or damaged.
    """
    path = Path(weights) if weights else description.parent / spec.file
    if not path.is_file():
        raise WeightsError(
            f"{path}: expected the network that {description.name} describes, found nothing. "
            f"Put {Path(spec.file).name} beside the description, or pass its path as the detector's weights."
        )
    runtime: _Runtime
    if (runner or spec.format) == "onnx":
        runtime = _OnnxRuntime(path, spec.input.name)
    else:
        runtime = _OpenVino(path, spec.input.name, spec.precision)
    _check_shapes(spec, runtime, description)
    return ExportedDetector(spec, runtime, path)


def _check_shapes(spec: ExportedDetectorSpec, runtime: _Runtime, description: Path) -> None:
    """Compare what the description says with what the network says of itself."""
    h, w = spec.input.height_px, spec.input.width_px
    wanted: tuple[int, ...] = (1, 3, h, w) if spec.input.layout == "NCHW" else (1, h, w, 3)
    found = runtime.input_shape
    if len(found) == 3:  # a network for one image, without an axis for several
        wanted = wanted[1:]
    if len(found) != len(wanted) or any(side not in (-1, mine) for side, mine in zip(found, wanted, strict=True)):
        raise ConfigError(
            f"{description}: input: wanted shape {list(found)} by the network, found {list(wanted)} "
            f"({spec.input.layout}). Mend height_px, width_px or layout."
        )
    named = [name for name in (spec.output.boxes, spec.output.scores, spec.output.labels) if name]
    for name in named:
        if name not in runtime.outputs:
            raise ConfigError(
                f"{description}: output: the network has no output called '{name}'."
                f"{did_you_mean(name, runtime.outputs)} It has: {', '.join(runtime.outputs)}."
            )
    if not named and runtime.num_outputs != 1:
        raise ConfigError(
            f"{description}: output.boxes: wanted one of {', '.join(runtime.outputs)}, found no name. Set output.boxes."
        )
