"""KFP adapter of the cull-confidence stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def cull_confidence(
    detections: dsl.Input[dsl.Dataset],
    selection: dsl.Output[dsl.Dataset],
    pool: int,
    strategy: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Keep the frames that the student is least sure about.

    Args:
        detections: detections/1, the student's boxes for every frame.
        pool: Most frames to keep.
        strategy: How they are chosen.
        config: CullConfidenceConfig as JSON; a missing key takes its default.

    Returns:
        selection: selection/1, hardest first.
    """
    return stage_container(
        "cull-confidence",
        config=config,
        settings={"budget": pool, "strategy": text(strategy)},
        detections=detections.path,
        selection=selection.path,
    )
