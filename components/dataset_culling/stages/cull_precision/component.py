"""KFP adapter of the cull-precision stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def cull_precision(
    detections: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Dataset],
    kept: dsl.Output[dsl.Dataset],
    target: int,
    strategy: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Keep the frames where student and teacher agree least.

    Args:
        detections: detections/1 of the student.
        labels: labels/1 of the teacher, taken as the truth.
        selection: selection/1, the frames that both have seen.
        target: Most frames to keep.
        strategy: How they are chosen.
        config: CullPrecisionConfig as JSON; a missing key takes its default.

    Returns:
        kept: selection/1, worst first.
    """
    return stage_container(
        "cull-precision",
        config=config,
        settings={"budget": target, "strategy": text(strategy)},
        detections=detections.path,
        labels=labels.path,
        selection=selection.path,
        kept=kept.path,
    )
