"""KFP adapter of the score-frames stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def score_frames(
    frames: dsl.Input[dsl.Dataset],
    detections: dsl.Output[dsl.Dataset],
    classes: list[str],
    student: str,
    student_weights: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Let the raw student look at every frame.

    Args:
        frames: frames/1, the pool.
        classes: The camera's classes.
        student: The detector.
        student_weights: Its weights.
        config: ScoreFramesConfig as JSON; a missing key takes its default.

    Returns:
        detections: detections/1, one row for each frame.
    """
    return stage_container(
        "score-frames",
        config=config,
        settings={"classes": classes, "student.name": text(student), "student.weights": text(student_weights)},
        frames=frames.path,
        detections=detections.path,
    )
