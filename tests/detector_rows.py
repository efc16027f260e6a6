"""The detectors of the table as test parameters: one of each family in the default run, all of them with `slow`."""

from __future__ import annotations

from typing import Any

import pytest

from dataset_culling.detectors.table import DETECTORS

REPRESENTATIVES = (
    "tiny",
    "tiny_1d",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssdlite320_mobilenet_v3_large",
    "yolox_nano",
)
"""The smallest of each family of builders: embedded R-CNNs (plain and decomposed), torchvision R-CNNs, SSD, YOLOX."""


def trainable_rows() -> list[Any]:
    """Every detector that can be trained; those that are no representative are marked slow."""
    names = [name for name, spec in DETECTORS.items() if spec.trainable]
    return [pytest.param(name, marks=() if name in REPRESENTATIVES else pytest.mark.slow) for name in names]
