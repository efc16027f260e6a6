"""A bundle that needs no training and no torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from dataset_culling.artifacts.header import sha256_file


def write_constant_bundle(folder: Path) -> Path:
    """A bundle for frames of 128 x 64 px whose network, of 64 x 32 px, sees a car of 0.75, a person of 0.3."""
    answers = {
        "boxes": np.array([[8, 4, 24, 20], [0, 0, 4, 4]], np.float32),
        "scores": np.array([0.75, 0.3], np.float32),
        "labels": np.array([2, 1], np.int64),
    }
    nodes = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
        for name, value in answers.items()
    ]
    kinds = {"labels": TensorProto.INT64}
    outputs = [
        helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), value.shape)
        for name, value in answers.items()
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 32, 64))
    graph = helper.make_graph(nodes, "constant", [image], outputs)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "model.onnx"
    )
    card = {
        "kind": "bundle/1",
        "name": "constant_64x32",
        "format": "onnx",
        "file": "model.onnx",
        "network_sha256": sha256_file(folder / "model.onnx"),
        "input": {"height_px": 32, "width_px": 64},
        "output": {"layout": "boxes_scores_labels", **{name: name for name in answers}, "label_offset": 1},
        "class_names": ["person", "car"],
        "min_score": 0.05,
        "frame_height_px": 64,
        "frame_width_px": 128,
        "score_thresholds": {"person": 0.5, "car": 0.4},
        "provenance": {"detector": "constant", "side_px": 32, "model_digest": "ab", "code_version": "0"},
    }
    (folder / "bundle.json").write_text(json.dumps(card))
    return folder
