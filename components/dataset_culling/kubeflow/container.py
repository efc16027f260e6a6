"""What a component's container is: our image, our command line, KFP's placeholders as its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kfp import dsl

from dataset_culling import __version__

IMAGE = f"dataset-culling:{__version__}"
"""The image of every stage, unless the pipeline is compiled for another. Never `latest`: KFP's cache knows an image by
its name only, so a name must always mean the same bytes."""


def stage_container(
    stage: str, *, config: Any, settings: Mapping[str, Any] | None = None, **artifacts: Any
) -> dsl.ContainerSpec:
    """The container that runs one stage: `culling stage NAME --config JSON --set KEY VALUE ... --ARTIFACT DIR ...`.

    Args:
        stage: The stage's name in STAGES.
        config: Placeholder of the dict parameter that is its configuration.
        settings: Dotted key -> placeholder laid over `config`; texts go through `text`.
        artifacts: Input or output name in the stage's row of STAGES -> placeholder of its path.
    """
    args: list[Any] = ["--config", config]
    for key, value in (settings or {}).items():
        args += ["--set", key, value]
    for name, path in artifacts.items():
        args += [f"--{name.replace('_', '-')}", path]
    # In args, never in command: KFP's launcher resolves it only there.
    args += ["--executor-input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
    return dsl.ContainerSpec(image=IMAGE, command=["culling", "stage", stage], args=args)


def text(parameter: Any) -> str:
    """A text parameter in quotes, as `--set` reads YAML: a camera called 007 is no number, and one called no no bool.

    An f-string and not `dsl.ConcatPlaceholder`: the cluster's launcher replaces placeholders inside an argument, but
    hands a Concat through as it stands.
    """
    return f"'{parameter}'"
