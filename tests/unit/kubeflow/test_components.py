"""The command line inside the container, as KFP writes it down."""

from __future__ import annotations

import pytest

from dataset_culling.kubeflow.components import IMAGE, stage_container, text


def test_stage_container__worked_by_hand():
    container = stage_container(
        "cull-confidence",
        config="{{config}}",
        settings={"budget": "{{pool}}", "student.name": text("{{student}}")},
        detections="/in",
        heldout_labels="/also",
    )
    assert container.command == ["culling", "stage", "cull-confidence"]
    assert container.args == [
        "--config", "{{config}}",
        "--set", "budget", "{{pool}}",
        "--set", "student.name", "'{{student}}'",
        "--detections", "/in",
        "--heldout-labels", "/also",
        "--executor-input", "{{$}}",
    ]  # fmt: skip
    assert container.image == IMAGE


def test_image__has_a_tag_that_never_moves():
    assert not IMAGE.endswith(":latest")
    assert ":" in IMAGE


@pytest.mark.parametrize(
    "value", ["007", "no", "1e5", "2026-11-20", "", "s3://bucket/a b?c=d#e", "null", "[x]", "a: b"]
)
def test_text__survives_the_entry_points_yaml(value):
    import yaml

    assert yaml.safe_load(text(value)) == value
