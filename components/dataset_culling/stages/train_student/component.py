"""KFP adapter of the train-student stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def train_student(
    frames: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Dataset],
    resolution: dsl.Input[dsl.Dataset],
    replay: dsl.Input[dsl.Dataset],
    replay_frames: dsl.Input[dsl.Dataset],
    replay_labels: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    classes: list[str],
    student: str,
    student_weights: str,
    teacher: str,
    teacher_weights: str,
    epochs: int,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Train the student on the culled frames with the teacher's labels.

    Args:
        frames: frames/1, the pool.
        labels: labels/1 of the culled frames.
        selection: selection/1, the frames to train on.
        resolution: resolution/1, the size to train at.
        replay: replay/1, what earlier nights left.
        replay_frames: frames/1 of those nights.
        replay_labels: labels/1 of the same frames.
        classes: The camera's classes.
        student: The detector.
        student_weights: The weights that training starts from.
        teacher: The detector that labelled; looked through only where the recipe asks for feature distillation.
        teacher_weights: Its weights.
        epochs: Passes over the culled set.
        config: TrainStudentConfig as JSON; a missing key takes its default.

    Returns:
        model: model/1, the trained student.
    """
    return stage_container(
        "train-student",
        config=config,
        settings={
            "classes": classes,
            "student.name": text(student),
            "student.weights": text(student_weights),
            "teacher.name": text(teacher),
            "teacher.weights": text(teacher_weights),
            "recipe.epochs": epochs,
        },
        frames=frames.path,
        labels=labels.path,
        selection=selection.path,
        resolution=resolution.path,
        replay=replay.path,
        replay_frames=replay_frames.path,
        replay_labels=replay_labels.path,
        model=model.path,
    )
