"""KFP adapter of the promote-student stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def promote_student(
    model: dsl.Input[dsl.Model],
    metrics: dsl.Input[dsl.Metrics],
    frames: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Dataset],
    replay: dsl.Input[dsl.Dataset],
    replay_frames: dsl.Input[dsl.Dataset],
    replay_labels: dsl.Input[dsl.Dataset],
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
        frames: frames/1, the held-out part, for a champion that another run has promoted meanwhile.
        labels: labels/1 of those frames.
        trained: detections/1 of the trained student on them.
        replay: replay/1, what earlier nights left.
        replay_frames: frames/1 of those nights.
        replay_labels: labels/1 of the same frames.
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
        frames=frames.path,
        labels=labels.path,
        trained=trained.path,
        replay=replay.path,
        replay_frames=replay_frames.path,
        replay_labels=replay_labels.path,
        decision=decision.path,
    )
