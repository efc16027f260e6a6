"""KFP adapter of the render-report stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def render_report(
    pool: dsl.Input[dsl.Dataset],
    heldout: dsl.Input[dsl.Dataset],
    detections: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    kept: dsl.Input[dsl.Dataset],
    resolution: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    control: dsl.Input[dsl.Dataset],
    heldout_labels: dsl.Input[dsl.Dataset],
    metrics: dsl.Input[dsl.Metrics],
    raw: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Dataset],
    decision: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    camera: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Make the page that people look at.

    Args:
        pool: frames/1 that were learned from.
        heldout: frames/1 that were judged on.
        detections: detections/1 of the raw student.
        selection: selection/1 of the confidence cull.
        labels: labels/1 of the teacher on that selection.
        kept: selection/1 of the precision cull.
        resolution: resolution/1.
        model: model/1, the trained student.
        control: control/1, the control arm.
        heldout_labels: labels/1 of the held-out frames.
        metrics: metrics/1.
        raw: detections/1 on the held-out frames before training.
        trained: detections/1 on the held-out frames after it.
        decision: decision/1 of the promotion.
        camera: The camera's name.
        config: RenderReportConfig as JSON; a missing key takes its default.

    Returns:
        report: report/1, the page and summary.json.
        page: The page alone, as the UI shows it; copied out of the report when KFP's metadata is written.
    """
    return stage_container(
        "render-report",
        config=config,
        settings={"camera": text(camera)},
        pool=pool.path,
        heldout=heldout.path,
        detections=detections.path,
        selection=selection.path,
        labels=labels.path,
        kept=kept.path,
        resolution=resolution.path,
        model=model.path,
        control=control.path,
        heldout_labels=heldout_labels.path,
        metrics=metrics.path,
        raw=raw.path,
        trained=trained.path,
        decision=decision.path,
        report=report.path,
    )
