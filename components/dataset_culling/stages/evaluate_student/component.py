"""KFP adapter of the evaluate-student stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def evaluate_student(
    frames: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    control: dsl.Input[dsl.Dataset],
    replay: dsl.Input[dsl.Dataset],
    replay_frames: dsl.Input[dsl.Dataset],
    replay_labels: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    raw: dsl.Output[dsl.Dataset],
    trained: dsl.Output[dsl.Dataset],
    classes: list[str],
    student: str,
    student_weights: str,
    teacher: str,
    teacher_weights: str,
    camera: str,
    registry: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Judge the raw and the trained student, and the control arm's, on the held-out frames.

    Args:
        frames: frames/1, the held-out part.
        labels: labels/1 of those frames.
        model: model/1, the trained student.
        control: control/1, the student of the control arm, if there is one.
        replay: replay/1, what earlier nights left.
        replay_frames: frames/1 of those nights.
        replay_labels: labels/1 of the same frames.
        classes: The camera's classes.
        student: The detector before training.
        student_weights: Its weights.
        teacher: The detector that labelled; judged on the human check set, if there is one.
        teacher_weights: Its weights.
        camera: The camera's name in the registry.
        registry: Folder or s3:// prefix of the registry; its champion is judged on the same frames.
        config: EvaluateStudentConfig as JSON; a missing key takes its default.

    Returns:
        metrics: metrics/1.
        raw: detections/1 of the student before training.
        trained: detections/1 of the student after it.
    """
    return stage_container(
        "evaluate-student",
        config=config,
        settings={
            "classes": classes,
            "student.name": text(student),
            "student.weights": text(student_weights),
            "teacher.name": text(teacher),
            "teacher.weights": text(teacher_weights),
            "camera": text(camera),
            "registry": text(registry),
        },
        frames=frames.path,
        labels=labels.path,
        model=model.path,
        control=control.path,
        replay=replay.path,
        replay_frames=replay_frames.path,
        replay_labels=replay_labels.path,
        metrics=metrics.path,
        raw=raw.path,
        trained=trained.path,
    )
