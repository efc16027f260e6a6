"""KFP adapter of the promote-student stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def promote_student(
    model: dsl.Input[dsl.Model],
    metrics: dsl.Input[dsl.Metrics],
    decision: dsl.Output[dsl.Dataset],
    camera: str,
    registry: str,
    promotion: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Put the trained student into the registry, and in front where it is better.

    Args:
        model: model/1, the trained student.
        metrics: metrics/1 of the evaluation.
        camera: The camera's name.
        registry: Folder or s3:// prefix of the registry.
        promotion: auto, dry-run or manual.
        config: PromoteStudentConfig as JSON; a missing key takes its default.

    Returns:
        decision: decision/1, what was decided and why.
    """
    return stage_container(
        "promote-student",
        config=config,
        settings={"camera": text(camera), "registry": text(registry), "mode": text(promotion)},
        model=model.path,
        metrics=metrics.path,
        decision=decision.path,
    )
