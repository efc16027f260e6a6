from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.ensemble import EnsembleSpec
from dataset_culling.detectors.exported import ExportedDetectorSpec, load_exported
from dataset_culling.detectors.table import DESCRIBED, DETECTORS, load_detector
from dataset_culling.detectors.torchvision_common import COCO_NAMES
from dataset_culling.errors import ConfigError, WeightsError

SHARED = Path(__file__).resolve().parents[3].parent / "shared"

Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Write a network of 32 x 64 px that always says the same, and its description; returns the description."""

    def write(outputs: dict[str, Any], output: dict[str, Any], *, classes: tuple[str, ...] = ("car", "person"),
              shape: tuple[int, ...] = (1, 3, 32, 64), **more: Any) -> Path:  # fmt: skip
        arrays = {name: np.asarray(value) for name, value in outputs.items()}
        arrays = {
            name: value.astype(np.int64 if value.dtype.kind == "i" and name == "labels" else np.float32)
            for name, value in arrays.items()
        }
        nodes = [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
            for name, value in arrays.items()
        ]
        infos = [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if value.dtype == np.int64 else TensorProto.FLOAT, value.shape
            )
            for name, value in arrays.items()
        ]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        _save(helper.make_graph(nodes, "constant", [image], infos), tmp_path / "net.onnx")
        values: dict[str, Any] = {
            "name": "constant",
            "format": "onnx",
            "file": "net.onnx",
            "input": {"height_px": 32, "width_px": 64},
            "output": output,
            "class_names": list(classes),
        }
        for key, value in more.items():
            values[key] = {**values[key], **value} if isinstance(value, dict) else value
        (tmp_path / "net.yaml").write_text(yaml.safe_dump(values))
        return tmp_path / "net.yaml"

    return write


def _save(graph: onnx.GraphProto, path: Path) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))


def _see(description: Path, *, min_score: float = 0.05) -> tuple[list[list[float]], list[float], list[int]]:
    """Boxes, scores and classes in an original of 128 x 64 px, twice the network's input."""
    (found,) = load_exported(description).predict([np.zeros((64, 128, 3), np.uint8)], min_score=min_score)
    return found.boxes_xyxy.tolist(), [round(float(s), 4) for s in found.scores], found.class_ids.tolist()


THREE = {"boxes": "boxes", "scores": "scores", "labels": "labels"}


@pytest.mark.parametrize(
    ("box", "box_format", "box_units"),
    [
        pytest.param([8, 4, 24, 20], "xyxy", "px", id="corners"),
        pytest.param([8, 4, 16, 16], "xywh", "px", id="corner and size"),
        pytest.param([16, 12, 16, 16], "cxcywh", "px", id="centre and size"),
        pytest.param([0.125, 0.125, 0.375, 0.625], "xyxy", "normalised", id="shares of the sides"),
    ],
)
def test_predict__box_formats(build, box, box_format, box_units):
    description = build(
        {"boxes": [[0.0, 0, 0, 0], box], "scores": [0.01, 0.75], "labels": [0, 1]},
        {"layout": "boxes_scores_labels", **THREE, "box_format": box_format, "box_units": box_units},
    )
    assert _see(description) == ([[16, 8, 48, 40]], [0.75], [1])


def test_predict__boxes5_labels_best_first_and_clipped(build):
    description = build(
        {"boxes": [[0.0, 0, 10, 10, 0.3], [-5, 20, 70, 40, 0.9], [1, 1, 2, 2, 0.02]], "labels": [1, 0, 0]},
        {"layout": "boxes5_labels", "boxes": "boxes", "labels": "labels"},
    )
    assert _see(description) == ([[0, 40, 128, 64], [0, 0, 20, 20]], [0.9, 0.3], [0, 1])


def test_predict__label_offset_and_background(build):
    description = build(
        {"boxes": [[0.0, 0, 8, 8]] * 3, "scores": [0.9, 0.8, 0.7], "labels": [0, 1, 2]},
        {"layout": "boxes_scores_labels", **THREE, "label_offset": 1},
    )
    assert _see(description)[1:] == ([0.8, 0.7], [0, 1])


def test_predict__yolox_cells(build):
    """One level of stride 16 on 32 x 64 px: 2 x 4 cells; the one at x=2, y=1 speaks."""
    cells = np.zeros((1, 8, 7), np.float32)
    cells[0, 6] = [0.5, 0.25, np.log(2), 0.0, 0.8, 0.1, 0.5]
    description = build({"out": cells}, {"layout": "yolox", "strides": [16]})
    boxes, scores, class_ids = _see(description)
    # Centre (2.5, 1.25) cells = (40, 20) px, 32 x 16 px; twice that in the original, whose height it exceeds by none.
    np.testing.assert_allclose(boxes, [[48, 24, 112, 56]], rtol=1e-5)
    assert (scores, class_ids) == ([0.4], [1])


@pytest.mark.parametrize("transposed", [False, True])
def test_predict__yolo_rows_or_columns(build, transposed):
    rows = np.array([[16.0, 12, 16, 16, 0.1, 0.6], [0, 0, 0, 0, 0.0, 0.0], [4, 4, 2, 2, 0.0, 0.01]], np.float32)
    description = build(
        {"out": (rows.T if transposed else rows)[None]}, {"layout": "yolo", "box_format": "cxcywh", "box_units": "px"}
    )
    assert _see(description) == ([[16, 8, 48, 40]], [0.6], [1])


@pytest.mark.parametrize(
    ("softmax", "logits", "score"),
    [
        pytest.param(False, [-9.0, 0.0], 0.5, id="sigmoid"),
        pytest.param(True, [-99.0, 0.0, np.log(3)], 0.25, id="softmax with no-object"),
    ],
)
def test_predict__detr(build, softmax, logits, score):
    description = build(
        {"boxes": [[[0.25, 0.375, 0.25, 0.5]]], "logits": [[logits]]},
        {"layout": "detr", "boxes": "boxes", "scores": "logits", "softmax": softmax, "box_format": "cxcywh",
         "box_units": "normalised"},
    )  # fmt: skip
    assert _see(description) == ([[16, 8, 48, 40]], [score], [1])


def test_predict__suppression_within_a_class_and_own_threshold(build):
    boxes = [[0.0, 0, 20, 20], [1, 0, 21, 20], [2, 0, 22, 20], [40, 0, 60, 20]]
    outputs = {"boxes": boxes, "scores": [0.9, 0.8, 0.7, 0.3], "labels": [0, 0, 1, 0]}
    layout = {"layout": "boxes_scores_labels", **THREE}
    assert _see(build(outputs, layout))[1] == [0.9, 0.8, 0.7, 0.3]
    assert _see(build(outputs, layout, nms_iou=0.5))[1] == [0.9, 0.7, 0.3]
    assert _see(build(outputs, layout, nms_iou=0.5, min_score=0.4))[1] == [0.9, 0.7]
    assert _see(build(outputs, layout, max_boxes=2))[1] == [0.9, 0.8]


@pytest.mark.parametrize(
    ("pad_at", "box"),
    [
        pytest.param("end", [8, 4, 16, 16], id="right and bottom"),
        pytest.param("both", [24, 4, 32, 16], id="evenly"),
    ],
)
def test_predict__letterbox(build, pad_at, box):
    """An original of 64 x 64 px becomes 32 x 32 in the middle or at the left of 64 x 32."""
    description = build(
        {"boxes": [box], "scores": [0.9], "labels": [0]},
        {"layout": "boxes_scores_labels", **THREE},
        input={"resize": "letterbox", "pad_at": pad_at},
    )
    (found,) = load_exported(description).predict([np.zeros((64, 64, 3), np.uint8)])
    assert found.boxes_xyxy.tolist() == [[16, 8, 32, 32]]


def test_predict__pixels_reach_the_network_as_described(tmp_path):
    """A network that says what it was shown: the first numbers of its input as a box."""
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2, 3])
    flat = helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 4])
    constants = [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in
                 (("all", [1, 12]), ("from", [0]), ("to", [4]), ("axis", [1]))]  # fmt: skip
    constants += [numpy_helper.from_array(np.array([0.9], np.float32), "scores"),
                  numpy_helper.from_array(np.array([0], np.int64), "labels")]  # fmt: skip
    nodes = [
        helper.make_node("Reshape", ["x", "all"], ["flat"]),
        helper.make_node("Slice", ["flat", "from", "to", "axis"], ["boxes"]),
        helper.make_node("Identity", ["scores"], ["s"]),
        helper.make_node("Identity", ["labels"], ["l"]),
    ]
    outputs = [flat, helper.make_tensor_value_info("s", TensorProto.FLOAT, [1]),
               helper.make_tensor_value_info("l", TensorProto.INT64, [1])]  # fmt: skip
    _save(helper.make_graph(nodes, "mirror", [shape], outputs, constants), tmp_path / "mirror.onnx")
    description = {
        "name": "mirror", "format": "onnx", "file": "mirror.onnx", "class_names": ["a"],
        "input": {"height_px": 2, "width_px": 2, "layout": "NHWC", "color": "BGR", "pixel_range": "0..1",
                  "mean": [0.5, 0.0, 0.0], "std": [0.5, 0.5, 1.0]},
        "output": {"layout": "boxes_scores_labels", "boxes": "boxes", "scores": "s", "labels": "l"},
    }  # fmt: skip
    (tmp_path / "mirror.yaml").write_text(yaml.safe_dump(description))
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = (255, 102, 128)  # R, G, B
    image[0, 1] = (0, 0, 255)
    detector = load_exported(tmp_path / "mirror.yaml")
    (found,) = detector.predict([image])
    # Blue first: (128/255 - 0.5) / 0.5, 0.4 / 0.5, 1.0; then blue of the next pixel (1 - 0.5) / 0.5.
    np.testing.assert_allclose(found.boxes_xyxy, [[(128 / 255 - 0.5) / 0.5, 0.8, 1.0, 1.0]], atol=1e-6)


def test_predict__no_images_and_several(build):
    detector = load_exported(
        build({"boxes": [[0.0, 0, 8, 8, 0.9]], "labels": [0]},
              {"layout": "boxes5_labels", "boxes": "boxes", "labels": "labels"})
    )  # fmt: skip
    assert detector.predict([]) == []
    images = [np.zeros((height, 64, 3), np.uint8) for height in (32, 64, 96)]
    found = detector.predict(images, batch_size=2)
    assert [image.boxes_xyxy[0, 3] for image in found] == [8, 16, 24]
    assert detector.network_size(720, 1280, 100) == (32, 64)
    assert detector.full_side_px == 32
    assert detector.gflops(720, 1280) == 0


# -- errors, in one line


def test_load_exported__missing_network_names_both(build, tmp_path):
    description = build({"out": np.zeros((1, 8, 7))}, {"layout": "yolox", "strides": [16]})
    (tmp_path / "net.onnx").unlink()
    with pytest.raises(WeightsError, match=r"net\.onnx: the network that net\.yaml describes is missing"):
        load_exported(description)
    with pytest.raises(WeightsError, match=r"other\.onnx: the network"):
        load_exported(description, weights=str(tmp_path / "other.onnx"))


def test_load_exported__weights_replace_the_file(build, tmp_path):
    description = build({"out": np.zeros((1, 8, 7))}, {"layout": "yolox", "strides": [16]})
    (tmp_path / "net.onnx").rename(tmp_path / "moved.onnx")
    assert load_exported(description, weights=str(tmp_path / "moved.onnx")).name == "constant"


@pytest.mark.parametrize(
    ("output", "more", "message"),
    [
        pytest.param({"layout": "boxes_scores_labels", **THREE, "scores": "score"}, {},
                     r"has no output called 'score'.* Did you mean 'scores'\? It has: boxes, scores", id="name"),
        pytest.param({"layout": "yolo"}, {}, r"output\.boxes is missing\. Set it to one of boxes, scores, labels",
                     id="no name"),
        pytest.param({"layout": "boxes_scores_labels", "boxes": "boxes"}, {},
                     "needs the names of the outputs scores and labels", id="incomplete"),
        pytest.param({"layout": "boxes_scores_labels", **THREE}, {"input": {"width_px": 32}},
                     r"the network takes shape \[1, 3, 32, 64\], the description says \[1, 3, 32, 32\]",
                     id="input size"),
        pytest.param({"layout": "boxes_scores_labels", **THREE}, {"input": {"name": "picture"}},
                     "expected an input called 'picture', found image", id="input name"),
        pytest.param({"layout": "boxes_scores_labels", **THREE}, {"nms": 0.5}, "'nms' is an unknown key", id="typo"),
        pytest.param({"layout": "boxes"}, {}, "output.layout", id="layout"),
    ],
)  # fmt: skip
def test_load_exported__a_wrong_description_is_explained(build, output, more, message):
    outputs = {"boxes": [[0.0, 0, 8, 8]], "scores": [0.9], "labels": [0]}
    with pytest.raises(ConfigError, match=message) as caught:
        load_exported(build(outputs, output, **more))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("outputs", "output", "message"),
    [
        pytest.param({"boxes": [[0.0, 0, 8, 8]], "scores": [0.9], "labels": [7]},
                     {"layout": "boxes_scores_labels", **THREE}, r"labels up to 1 \(2 class_names\), found 7", id="7"),
        pytest.param({"out": np.zeros((1, 8, 85))}, {"layout": "yolox", "strides": [16]},
                     r"expected 7 columns in the output \(2 class_names\), found 85", id="columns"),
        pytest.param({"out": np.zeros((1, 9, 7))}, {"layout": "yolox", "strides": [16]},
                     "expected 8 cells .* found 9", id="cells"),
        pytest.param({"boxes": [[0.0, 0, 8, 8]], "scores": [0.9, 0.8], "labels": [0]},
                     {"layout": "boxes_scores_labels", **THREE}, "found 1 boxes, 2 scores and 1 labels", id="lengths"),
    ],
)  # fmt: skip
def test_predict__answers_that_do_not_fit_are_explained(build, outputs, output, message):
    detector = load_exported(build(outputs, output))
    with pytest.raises(WeightsError, match=message) as caught:
        detector.predict([np.zeros((32, 64, 3), np.uint8)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("format_", "name"), [("onnx", "net.onnx"), ("openvino", "net.onnx")])
def test_load_exported__no_network_in_the_file(build, tmp_path, format_, name):
    description = build({"out": np.zeros((1, 8, 7))}, {"layout": "yolox", "strides": [16]}, format=format_)
    (tmp_path / name).write_text("no network")
    with pytest.raises(WeightsError, match=rf"{name}: expected an? \w+ (file|network), found") as caught:
        load_exported(description)
    assert "\n" not in str(caught.value)


def test_load_exported__openvino_needs_its_second_file(build, tmp_path):
    description = build({"out": np.zeros((1, 8, 7))}, {"layout": "yolox", "strides": [16]}, format="openvino")
    (tmp_path / "net.xml").write_text("<net/>")
    with pytest.raises(WeightsError, match=r"net\.bin: the network's weights are missing"):
        load_exported(description, weights=str(tmp_path / "net.xml"))


def test_load_exported__openvino_runs_the_same_network(build):
    """openvino reads ONNX too: both runtimes must give equal boxes."""
    cells = np.zeros((1, 8, 7), np.float32)
    cells[0, 6] = [0.5, 0.25, np.log(2), 0.0, 0.8, 0.1, 0.5]
    by_onnx = _see(build({"out": cells}, {"layout": "yolox", "strides": [16]}))
    by_openvino = _see(build({"out": cells}, {"layout": "yolox", "strides": [16]}, format="openvino"))
    assert by_openvino == by_onnx


def test_described__every_shipped_description_is_valid():
    described = sorted(DESCRIBED.glob("*.yaml"))
    assert len(described) >= 2
    for path in described:
        values = yaml.safe_load(path.read_text())
        if values["format"] == "ensemble":
            assert EnsembleSpec.model_validate(values).members[0].name in DETECTORS
            continue
        spec = ExportedDetectorSpec.model_validate(values)
        if spec.output.layout == "yolox":
            assert spec.class_names == COCO_NAMES
        with pytest.raises(WeightsError, match=r"Put .* beside the description"):
            load_detector(DetectorRef(name=path.name))  # found by its bare name; its network is not shipped


# -- real networks on a real frame


@pytest.mark.footage
@pytest.mark.parametrize(
    ("description", "network", "class_name", "min_score"),
    [
        pytest.param(
            "person-vehicle-bike-detection-2003.yaml", "person-vehicle-bike-detection-2003.FP16.xml", "vehicle", 0.3,
            id="OpenVINO",
        ),
        pytest.param("yolox_nano.yaml", "yolox_nano.onnx", "car", 0.4, id="ONNX"),
    ],
)  # fmt: skip
def test_load_exported__sees_real_vehicles(description, network, class_name, min_score):
    path = SHARED / "models" / network
    if not path.is_file():
        pytest.skip(f"no shared/models/{network} beside the checkout")
    video = cv2.VideoCapture(str(SHARED / "footage" / "ahmetozlu-highway.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, 200)
    ok, frame = video.read()
    assert ok
    detector = load_detector(DetectorRef(name=description, weights=str(path)))
    image = np.ascontiguousarray(frame[:, :, ::-1])
    first, second = detector.predict([image, image], min_score=min_score)
    np.testing.assert_array_equal(first.boxes_xyxy, second.boxes_xyxy)
    assert [detector.class_names[c] for c in first.class_ids].count(class_name) >= 5
    assert (first.boxes_xyxy >= 0).all()
    assert (first.boxes_xyxy <= [image.shape[1], image.shape[0]] * 2).all()
    assert (np.diff(first.scores) <= 0).all()
    assert detector.gflops(*image.shape[:2]) > 0.5
