"""KFP adapter of the choose-resolution stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def choose_resolution(
    frames: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    resolution: dsl.Output[dsl.Dataset],
    classes: list[str],
    student: str,
    student_weights: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Find the smallest image at which the student is still as sure (optResolution).

    Args:
        frames: frames/1, the pool.
        selection: selection/1, the frames to try sizes on.
        labels: labels/1 of those frames.
        classes: The camera's classes.
        student: The detector.
        student_weights: Its weights.
        config: ChooseResolutionConfig as JSON; a missing key takes its default.

    Returns:
        resolution: resolution/1, the chosen size and the whole curve.
    """
    return stage_container(
        "choose-resolution",
        config=config,
        settings={"classes": classes, "student.name": text(student), "student.weights": text(student_weights)},
        frames=frames.path,
        selection=selection.path,
        labels=labels.path,
        resolution=resolution.path,
    )
