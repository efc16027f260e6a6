"""What KFP is told: tried on executor inputs of the two shapes that exist, the cluster's and the local one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.kubeflow.executor_output import write_executor_output

ROOT = "minio://mlpipeline/v2/artifacts/specialise-camera/6a1f/render-report/41"


def executor_input(output_file: Path, *names: str, root: str = ROOT) -> str:
    artifacts = {name: {"artifacts": [{"name": name, "uri": f"{root}/{name}", "metadata": {}}]} for name in names}
    return json.dumps({"inputs": {}, "outputs": {"artifacts": artifacts, "outputFile": str(output_file)}})


def test_write_executor_output__lists_every_output(tmp_path):
    output_file = tmp_path / "kfp" / "executor_output.json"
    text = executor_input(output_file, "metrics", "raw", "executor-logs")
    write_executor_output(
        text, {"metrics": tmp_path / "metrics", "raw": tmp_path / "raw"}, {"metrics": {"map_50_raw": 0.25}}
    )
    assert json.loads(output_file.read_text()) == {
        "parameterValues": {},
        "artifacts": {
            "metrics": {"artifacts": [{"name": "metrics", "uri": f"{ROOT}/metrics", "metadata": {"map_50_raw": 0.25}}]},
            "raw": {"artifacts": [{"name": "raw", "uri": f"{ROOT}/raw", "metadata": {}}]},
        },
    }
    assert list(output_file.parent.iterdir()) == [output_file]  # nothing half-written is left beside it


def test_write_executor_output__kfp_reads_it(tmp_path):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    output_file = tmp_path / "executor_output.json"
    write_executor_output(
        executor_input(output_file, "raw"), {"raw": tmp_path}, {"raw": {"frames": 3.0, "schema": "d"}}
    )
    read = json_format.Parse(output_file.read_text(), pipeline_spec_pb2.ExecutorOutput())
    assert dict(read.artifacts["raw"].artifacts[0].metadata) == {"frames": 3.0, "schema": "d"}


@given(value=st.floats())
def test_write_executor_output__any_number_is_json(value, tmp_path_factory):
    output_file = tmp_path_factory.mktemp("out") / "o.json"
    write_executor_output(executor_input(output_file, "raw"), {"raw": output_file.parent}, {"raw": {"x": value}})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(output_file.read_text(), parse_constant=refuse)


def test_write_executor_output__page_is_copied_to_where_the_ui_looks(tmp_path):
    report = tmp_path / "render-report" / "41" / "report"
    report.mkdir(parents=True)
    (report / "report.html").write_text("<p>better</p>")
    output_file = tmp_path / "o.json"
    write_executor_output(executor_input(output_file, "report", "page"), {"report": report}, {})
    assert (report.parent / "page").read_text() == "<p>better</p>"
    assert set(json.loads(output_file.read_text())["artifacts"]) == {"report", "page"}


def test_write_executor_output__page_elsewhere_is_refused(tmp_path):
    text = json.loads(executor_input(tmp_path / "o.json", "report", "page"))
    text["outputs"]["artifacts"]["page"]["artifacts"][0]["uri"] = "minio://elsewhere/page"
    with pytest.raises(ConfigError, match=r"expected 'minio://elsewhere/page' beside"):
        write_executor_output(json.dumps(text), {"report": tmp_path}, {})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"outputs": {}}', '{"outputs": {"outputFile": "x", "artifacts": {"a": {}}}}', "null"]
)
def test_write_executor_output__no_executor_input_is_one_line(text, tmp_path):
    with pytest.raises(ConfigError, match=r"^--executor-input: expected KFP's executor input as JSON, found [^\n]+$"):
        write_executor_output(text, {"raw": tmp_path}, {})


def test_write_executor_output__undeclared_output_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"expected output 'trained' in outputs\.artifacts, found raw"):
        write_executor_output(executor_input(tmp_path / "o.json", "raw"), {"trained": tmp_path}, {})


def test_write_executor_output__unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"expected to write KFP's metadata, found [^\n]+\. Give the container"):
        write_executor_output(executor_input(tmp_path / "file" / "o.json", "raw"), {"raw": tmp_path}, {})
