"""KFP adapter of the train-control stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def train_control(
    frames: dsl.Input[dsl.Dataset],
    selection: dsl.Input[dsl.Dataset],
    resolution: dsl.Input[dsl.Dataset],
    detections: dsl.Input[dsl.Dataset],
    replay: dsl.Input[dsl.Dataset],
    replay_frames: dsl.Input[dsl.Dataset],
    replay_labels: dsl.Input[dsl.Dataset],
    control: dsl.Output[dsl.Dataset],
    control_arm: bool,
    classes: list[str],
    student: str,
    student_weights: str,
    teacher: str,
    teacher_weights: str,
    epochs: int,
    label_frames_config: dict[str, Any],
    train_student_config: dict[str, Any],
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Train a student on as many frames drawn by lot, so that the report can say what culling was worth.

    Args:
        frames: frames/1, the pool.
        selection: selection/1, the culled frames: as many are drawn.
        resolution: resolution/1, the size to train at.
        detections: detections/1, the student's boxes on the pool, for linking objects over time.
        replay: replay/1, what earlier nights left.
        replay_frames: frames/1 of those nights.
        replay_labels: labels/1 of the same frames.
        control_arm: Whether to do it; off, the task ends at once.
        classes: The camera's classes.
        student: The detector that learns.
        student_weights: The weights that training starts from.
        teacher: The detector that is believed.
        teacher_weights: Its weights.
        epochs: Passes over the drawn frames.
        label_frames_config: LabelFramesConfig as JSON, the same that the culled frames are labelled by.
        train_student_config: TrainStudentConfig as JSON, the same that the culled frames are learned by.
        config: TrainControlConfig as JSON; a missing key takes its default.

    Returns:
        control: control/1, the student of the control arm.
    """
    return stage_container(
        "train-control",
        config=config,
        settings={
            "labelling": label_frames_config,
            "labelling.classes": classes,
            "labelling.teacher.name": text(teacher),
            "labelling.teacher.weights": text(teacher_weights),
            "training": train_student_config,
            "training.classes": classes,
            "training.student.name": text(student),
            "training.student.weights": text(student_weights),
            "training.teacher.name": text(teacher),
            "training.teacher.weights": text(teacher_weights),
            "training.recipe.epochs": epochs,
            "control_arm": control_arm,
        },
        frames=frames.path,
        selection=selection.path,
        resolution=resolution.path,
        detections=detections.path,
        replay=replay.path,
        replay_frames=replay_frames.path,
        replay_labels=replay_labels.path,
        control=control.path,
    )
