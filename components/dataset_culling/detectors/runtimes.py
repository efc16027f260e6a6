"""Runtimes of exported networks on the CPU: onnxruntime and OpenVINO."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy.typing as npt

from dataset_culling.config import did_you_mean
from dataset_culling.errors import ConfigError, WeightsError

RuntimeName = Literal["onnx", "openvino"]
"""The runtime of a network: onnxruntime or OpenVINO, which reads ONNX, too."""

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


class Runtime(Protocol):
    """Runs a network."""

    input_shape: tuple[int, ...]  # -1 for a free side
    outputs: tuple[str, ...]  # all names; one output may have several
    num_outputs: int

    def run(self, images: Iterator[Array]) -> Iterator[Arrays]:
        """Compute the outputs for each input tensor, in order.

        Raises:
            WeightsError: If the network rejects such a tensor.
        """


class OnnxRuntime:
    """onnxruntime on all cores."""

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
            raise _unusable(path, "an ONNX file", error) from None
        inputs = {given.name: given for given in self._session.get_inputs()}
        self._path = path
        self._input = _choose_input(path, input_name, list(inputs))
        self.input_shape = tuple(side if isinstance(side, int) else -1 for side in inputs[self._input].shape)
        self.outputs = tuple(output.name for output in self._session.get_outputs())
        self.num_outputs = len(self.outputs)

    def run(self, images: Iterator[Array]) -> Iterator[Arrays]:
        """See `Runtime.run`."""
        for image in images:
            try:
                outputs = self._session.run(None, {self._input: image})
            except Exception as error:  # noqa: BLE001 - as above
                raise _unusable(self._path, "a network that takes the described input", error) from None
            yield dict(zip(self.outputs, outputs, strict=True))


class OpenVino:
    """OpenVINO, several images at once. `precision`: f32, or native for the processor's fastest."""

    def __init__(self, path: Path, input_name: str, precision: str) -> None:
        import openvino

        if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
            raise WeightsError(
                f"{path.with_suffix('.bin')}: the network's weights are missing. "
                f"An OpenVINO network is two files, .xml and .bin, side by side."
            )
        hints: dict[str, Any] = {"PERFORMANCE_HINT": "THROUGHPUT"}
        if precision == "f32":
            hints["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            self._model = openvino.Core().compile_model(str(path), "CPU", hints)
        except RuntimeError as error:
            raise _unusable(path, "an OpenVINO network", error) from None
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
        """See `Runtime.run`."""
        row = -1
        try:
            for row, image in enumerate(images):
                self._queue.start_async({self._input: image}, row)
            self._queue.wait_all()
        except RuntimeError as error:
            raise _unusable(self._path, "a network that takes the described input", error) from None
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


def _unusable(path: Path, wanted: str, error: Exception) -> WeightsError:
    first = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
    return WeightsError(f"{path}: expected {wanted}, found {first}. Check 'format' and 'file', or fetch it again.")


def count_gflops(path: Path) -> float:
    """Count the operations of a graph's convolutions and matrix products; 0 if a shape is not fixed."""
    import openvino

    try:
        model = openvino.Core().read_model(str(path))
    except RuntimeError:
        return 0.0
    total = 0
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        shape, weights = node.output(0).get_partial_shape(), node.input(1).get_partial_shape()
        if shape.is_dynamic or weights.is_dynamic:
            return 0.0
        if kind == "MatMul":
            per_output = list(node.input(0).get_partial_shape().to_shape())[-1]
        else:
            per_output = math.prod(list(weights.to_shape())[1 if kind == "Convolution" else 2 :])
        total += 2 * per_output * math.prod(list(shape.to_shape()))
    return total / 1e9
