"""Configuration of the evaluate-student stage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig
from dataset_culling.detectors.base import DetectorRef, Precision


class EvaluateStudentConfig(StageConfig):
    """Accuracy of raw and trained student on the held-out frames."""

    student: DetectorRef = Field(DetectorRef(name="tiny"), description="The student before training.")
    classes: tuple[str, ...] = Field(
        ("person", "car"), min_length=1, description="The camera's classes: NAME, or NAME=THEIRS+THEIRS."
    )
    teacher: DetectorRef = Field(
        DetectorRef(name="tiny_teacher"), description="Also measured on the human check set, if the camera has one."
    )
    camera: str = Field("camera", description="The camera's name in the registry.")
    registry: str = Field(
        "", description="Folder or s3:// prefix of the registry, whose champion is measured too. Empty: none."
    )
    truth: str = Field("", description="COCO json with the true boxes of the footage, if known.")
    min_score: float = Field(0.05, ge=0, le=1, description="Boxes scoring less are dropped.")
    batch_size: int = Field(8, ge=1, description="Images in a batch.")
    precision: Precision = Field(
        "auto", description="Number format of the network; auto: float32 on a CPU, bfloat16 or float16 on a GPU."
    )
    resamples: int = Field(
        200, ge=0, le=10_000, description="Draws of the block bootstrap behind the confidence intervals; 0: none."
    )
    export: Literal["off", "onnx"] = Field(
        "off",
        description="onnx: export the trained student, run it by onnxruntime on the held-out frames, and compare.",
    )
    export_max_loss: float = Field(
        0.01, ge=0, le=1, description="Largest loss of mAP@50 by the export; more fails the stage."
    )
