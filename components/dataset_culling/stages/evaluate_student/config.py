"""Knobs of the evaluate-student stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef, Precision


class EvaluateStudentConfig(StageConfig):
    """Raw and trained student on the held-out frames."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student before training.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    teacher: DetectorRef = Field(
        DetectorRef(name="tiny_teacher"), description="Judged on the human check set, where the camera has one."
    )
    camera: str = Field("camera", description="The camera's name in the registry.")
    registry: str = Field(
        "", description="Folder or s3:// prefix of the registry; its champion is looked at too. Empty: it is not."
    )
    truth: str = Field("", description="COCO json with the true boxes of the footage, where they are known.")
    min_score: float = Field(0.05, ge=0, le=1, description="Boxes scoring less take no part.")
    batch_size: int = Field(8, ge=1, description="Images that go through the network at once.")
    precision: Precision = Field(
        "auto",
        description="What the network computes in; auto: float32 on a CPU, bfloat16 or float16 on a GPU.",
    )
    resamples: int = Field(
        200, ge=0, le=10_000, description="Draws of the block bootstrap behind the confidence intervals; 0: none."
    )
    export: Literal["off", "onnx"] = Field(
        "off",
        description="onnx: export the trained student, run it by onnxruntime on the held-out frames, and compare.",
    )
    export_max_loss: float = Field(
        0.01, ge=0, le=1, description="Most mAP@50 that the export may lose; more fails the stage."
    )
