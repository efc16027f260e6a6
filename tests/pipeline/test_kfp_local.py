"""KFP's own local orchestrator executes the compiled YAML, with our commands as processes of this machine.

KFP lets its SubprocessRunner run nothing but Python components. Two checks of its are switched off here, for this test
only; all else is KFP 2.17's: loading the YAML, order, placeholders, metadata.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import REPOSITORY
from dataset_culling.artifacts.header import TIMING
from dataset_culling.config import parse_config
from dataset_culling.kubeflow.parameters import pipeline_arguments
from dataset_culling.kubeflow.pipeline import compile_pipeline
from dataset_culling.pipeline.graph import STAGES, WIRING, PipelineConfig

pytestmark = pytest.mark.slow

SCHEDULED_UTC = "2026-11-21T01:12:00Z"
ORCHESTRATE = """
import json, sys
from kfp import components, local
from kfp.local import subprocess_task_handler

handler = subprocess_task_handler.SubprocessTaskHandler
handler.validate_image = lambda self, image: None
handler.validate_not_container_component = lambda self, full_command: None

path, arguments, root = sys.argv[1], json.load(open(sys.argv[2])), sys.argv[3]
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
components.load_component_from_file(path)(**arguments)
"""


@pytest.fixture(scope="module")
def kfp_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a KFP run with the settings of the finished `culling run`: TASK/OUTPUT in it."""
    folder = tmp_path_factory.mktemp("kfp")
    one_core = "{cpu_limit: '1'}"  # one thread, as the run that it is compared with
    (folder / "profile.yaml").write_text(f"base: kind\ndecode: {one_core}\nnetwork: {one_core}\ntrain: {one_core}\n")
    compile_pipeline(folder / "pipeline.yaml", str(folder / "profile.yaml"))
    compiled = (folder / "pipeline.yaml").read_text()
    # The one placeholder that a cluster's driver knows and KFP's local orchestrator does not.
    assert compiled.count("{{$.pipeline_job_schedule_time_utc}}") == 1
    (folder / "pipeline.yaml").write_text(compiled.replace("{{$.pipeline_job_schedule_time_utc}}", SCHEDULED_UTC))
    settings = parse_config(PipelineConfig, json.loads((tiny_run / "config.json").read_text()), where="config.json")
    settings = settings.replace(registry=str(folder / "registry"))
    (folder / "arguments.json").write_text(json.dumps(pipeline_arguments(settings)))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            ORCHESTRATE,
            str(folder / "pipeline.yaml"),
            str(folder / "arguments.json"),
            str(folder / "root"),
        ],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    (run,) = (folder / "root").iterdir()
    return run


def artifact_bytes(path: Path) -> dict[str, bytes]:
    files = (file for file in sorted(path.rglob("*")) if file.is_file() and file.name != TIMING)
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("artifact", ["cull-confidence/selection", "label-selection/labels", "cull-precision/kept"])
def test_kfp_local__selection_equals_culling_run(artifact, kfp_run, tiny_run):
    found = artifact_bytes(kfp_run / artifact)
    assert "artifact.json" in found
    assert found == artifact_bytes(tiny_run / "tasks" / artifact)


def test_kfp_local__every_output_is_there_and_told_of(kfp_run):
    for task in WIRING:
        listed = json.loads((kfp_run / task.name / "executor_output.json").read_text())["artifacts"]
        outputs = set(STAGES[task.stage].writes)
        assert set(listed) - {"page"} == outputs
        for name in outputs:
            (entry,) = listed[name]["artifacts"]
            assert Path(entry["uri"]) == kfp_run / task.name / name
            assert (kfp_run / task.name / name / "artifact.json").is_file()


def test_kfp_local__figures_and_page_are_for_the_ui(kfp_run):
    listed = json.loads((kfp_run / "evaluate-student" / "executor_output.json").read_text())["artifacts"]
    figures = listed["metrics"]["artifacts"][0]["metadata"]
    assert "map_50_trained" in figures
    assert all(isinstance(value, float) for value in figures.values())
    page = (kfp_run / "render-report" / "page").read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html>")


def test_kfp_local__test_is_pinned_to_the_kfp_it_patches():
    import kfp

    assert kfp.__version__.startswith("2.17."), "look at the two switched-off checks again before moving on"
    assert (REPOSITORY / "pyproject.toml").read_text().count("kfp>=2.17,<2.18") == 1
