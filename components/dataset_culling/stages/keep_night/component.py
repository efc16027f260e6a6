"""KFP adapter of the keep-night stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container, text


@dsl.container_component
def keep_night(
    frames: dsl.Input[dsl.Dataset],
    labels: dsl.Input[dsl.Dataset],
    kept: dsl.Input[dsl.Dataset],
    heldout: dsl.Input[dsl.Dataset],
    heldout_labels: dsl.Input[dsl.Dataset],
    decision: dsl.Input[dsl.Dataset],
    night: dsl.Output[dsl.Dataset],
    camera: str,
    registry: str,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Keep a few of tonight's labelled frames for later nights.

    Args:
        frames: frames/1, the pool.
        labels: labels/1 of the culled frames.
        kept: selection/1, the frames that were trained on.
        heldout: frames/1, the held-out part.
        heldout_labels: labels/1 of those.
        decision: decision/1 of the promotion, which says whether tonight's labels can be believed.
        camera: The camera's name.
        registry: Folder or s3:// prefix of the registry.
        config: KeepNightConfig as JSON; a missing key takes its default.

    Returns:
        night: night/1, what was kept or why nothing was.
    """
    return stage_container(
        "keep-night",
        config=config,
        settings={"camera": text(camera), "registry": text(registry)},
        frames=frames.path,
        labels=labels.path,
        kept=kept.path,
        heldout=heldout.path,
        heldout_labels=heldout_labels.path,
        decision=decision.path,
        night=night.path,
    )
