"""KFP adapter of the recall-replay stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def recall_replay(
    pool: dsl.Input[dsl.Dataset],
    heldout: dsl.Input[dsl.Dataset],
    replay: dsl.Output[dsl.Dataset],
    frames: dsl.Output[dsl.Dataset],
    labels: dsl.Output[dsl.Dataset],
    classes: list[str],
    camera: str,
    registry: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Bring what earlier nights of the camera left behind, and its human check set.

    Args:
        pool: frames/1, tonight's, by which tonight is told from earlier nights.
        heldout: frames/1, tonight's held-out part.
        classes: The camera's classes.
        camera: The camera's name.
        registry: Folder or s3:// prefix of the registry.
        config: RecallReplayConfig as JSON; a missing key takes its default.

    Returns:
        replay: replay/1, which frame is of which night, and the champion's model.
        frames: frames/1 of all those nights.
        labels: labels/1 of the same frames.
    """
    return stage_container(
        "recall-replay",
        config=config,
        settings={"classes": classes, "camera": text(camera), "registry": text(registry)},
        pool=pool.path,
        heldout=heldout.path,
        replay=replay.path,
        frames=frames.path,
        labels=labels.path,
    )
