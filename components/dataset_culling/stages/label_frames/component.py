"""KFP adapters of the label-frames stage: two, as KFP has no optional input artifact that works on a cluster."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def label_selection(
    frames: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Dataset],
    detections: dsl.Input[dsl.Dataset],
    labels: dsl.Output[dsl.Dataset],
    classes: list[str],
    teacher: str,
    teacher_weights: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Let the teacher label the frames that a cull kept.

    Args:
        frames: frames/1, the pool.
        selection: selection/1, the frames to label.
        detections: detections/1, the student's boxes on the pool, for linking objects over time.
        classes: The camera's classes.
        teacher: The detector.
        teacher_weights: Its weights.
        config: LabelFramesConfig as JSON; a missing key takes its default.

    Returns:
        labels: labels/1.
    """
    return stage_container(
        "label-frames",
        config=config,
        settings={"classes": classes, "teacher.name": text(teacher), "teacher.weights": text(teacher_weights)},
        frames=frames.path,
        selection=selection.path,
        detections=detections.path,
        labels=labels.path,
    )


@dsl.container_component
def label_heldout(
    frames: dsl.Input[dsl.Dataset],
    labels: dsl.Output[dsl.Dataset],
    classes: list[str],
    teacher: str,
    teacher_weights: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Let the teacher label all the frames there are.

    Args:
        frames: frames/1, the held-out part.
        classes: The camera's classes.
        teacher: The detector.
        teacher_weights: Its weights.
        config: LabelFramesConfig as JSON; a missing key takes its default.

    Returns:
        labels: labels/1.
    """
    return stage_container(
        "label-frames",
        config=config,
        settings={"classes": classes, "teacher.name": text(teacher), "teacher.weights": text(teacher_weights)},
        frames=frames.path,
        labels=labels.path,
    )
