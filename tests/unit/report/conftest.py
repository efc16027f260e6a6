"""One small run, read as the render-report stage reads it, for every test of the report."""

from __future__ import annotations

import pytest

from dataset_culling.report.run import Run
from dataset_culling.stages.render_report.stage import read_run
from report_inputs import write_run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    inputs = write_run(tmp_path_factory.mktemp("report") / "run", num_pool=36, num_heldout=12)
    return read_run(inputs, camera="high-street")
