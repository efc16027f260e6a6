"""Every torchvision R-CNN learns eight drawn frames by heart; see test_overfit.py."""

from __future__ import annotations

import pytest

from dataset_culling.detectors.table import DETECTORS
from dataset_culling.runner.doctor import check_overfit

STUDENTS = [name for name, spec in DETECTORS.items() if spec.trainable and name.startswith("fasterrcnn")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", STUDENTS)
def test_overfit__every_rcnn_passes(name):
    finding = check_overfit(name)
    assert finding.verdict == "ok", finding.found
