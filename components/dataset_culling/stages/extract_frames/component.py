"""KFP adapter of the extract-frames stage."""

from typing import Any

from kfp import dsl

from dataset_culling.kubeflow.container import stage_container


@dsl.container_component
def extract_frames(
    pool: dsl.Output[dsl.Dataset],
    heldout: dsl.Output[dsl.Dataset],
    footage: list[str],
    footage_version: str,
    frames_per_second: float,
    config: dict[str, Any],
) -> dsl.ContainerSpec:
    """Sample the footage; cut it by time into frames to learn from and frames to be judged on.

    Args:
        footage: Videos, folders or s3:// prefixes, in time order.
        footage_version: What they hold, as a digest. Read by nobody: it is there for KFP's cache.
        frames_per_second: Frames taken from each second of footage.
        config: ExtractFramesConfig as JSON; a missing key takes its default.

    Returns:
        pool: frames/1 to learn from.
        heldout: frames/1 kept apart for the evaluation.
    """
    return stage_container(
        "extract-frames",
        config=config,
        settings={"sources": footage, "frames_per_second": frames_per_second},
        pool=pool.path,
        heldout=heldout.path,
    )
