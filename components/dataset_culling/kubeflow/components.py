"""KFP components: one container component for each task of WIRING, generated from its stage's row in STAGES.

KFP 2.17 drops an optional input artifact on a cluster, so a stage that tasks use with different inputs becomes as many
components. Each runs `culling stage NAME --config JSON --set KEY VALUE ... --ARTIFACT DIR ...` in our image.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kfp import dsl

from dataset_culling import __version__
from dataset_culling.kubeflow.executor_output import PAGES
from dataset_culling.kubeflow.parameters import FORM, descriptions, get_key, section_name, stage_settings
from dataset_culling.pipeline.graph import STAGES, WIRING, PipelineConfig, TaskSpec
from dataset_culling.pipeline.presets import read_preset

IMAGE = f"dataset-culling:{__version__}"
"""The image of every stage, unless the pipeline is compiled for another. Never `latest`: KFP's cache knows an image by
its name only, so a name must always mean the same bytes."""

RUN = PipelineConfig(**read_preset("default"))
"""The settings whose types and values are the form's types and defaults."""

FOOTAGE_VERSION = "footage_version"
ARTIFACT_TYPES = {"model/1": dsl.Model, "metrics/1": dsl.Metrics}
"""Artifact kind -> KFP's type, where it is not a Dataset."""


def stage_container(
    stage: str, *, config: Any, settings: Mapping[str, Any] | None = None, **artifacts: Any
) -> dsl.ContainerSpec:
    """Build the container that runs one stage.

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
    """Quote a text parameter, as `--set` reads YAML: a camera called 007 stays a text, and so does one called no.

    An f-string and not `dsl.ConcatPlaceholder`: the cluster's launcher replaces placeholders inside an argument, but
    hands a Concat through as it stands.
    """
    return f"'{parameter}'"


def declare(
    function: Callable[..., Any],
    name: str,
    parameters: list[inspect.Parameter],
    summary: str,
    **sections: dict[str, str],
) -> Callable[..., Any]:
    """Give a function the name, signature and docstring that kfp's decorators read.

    Args:
        function: Called by kfp with positional arguments in the order of `parameters`.
        name: The component's or pipeline's name, with dashes.
        parameters: Its parameters, annotated with kfp's types.
        summary: First line of the docstring.
        sections: Docstring section, Args or Returns -> name -> description.
    """
    lines = [summary]
    for title, described in sections.items():
        lines += ["", f"{title}:", *(f"    {each}: {description}" for each, description in described.items())]
    function.__name__ = name.replace("-", "_")
    function.__doc__ = "\n".join(lines)
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


def parameter(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """Return a parameter of a signature for `declare`."""
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)


def parameter_types() -> dict[str, Any]:
    """Map every parameter of the pipeline to the type that kfp is given for it."""
    values = RUN.model_dump(mode="json")
    types: dict[str, Any] = {each.name: type(get_key(values, each.key)) if each.key else str for each in FORM}
    types = {name: list[str] if kind is list else kind for name, kind in types.items()}
    return {**types, **{section_name(stage): dict[str, Any] for stage in STAGES}}


def task_parameters(task: TaskSpec) -> list[str]:
    """List the pipeline parameters that a task's component takes, but for its `config`."""
    found = list(dict.fromkeys(stage_settings(task.stage).values()))
    # The stage does not read it. It tells KFP's cache when the footage at an address has changed.
    return [*found, FOOTAGE_VERSION] if "footage" in found else found


def stage_component(task: TaskSpec) -> Any:
    """Generate the container component of one task."""
    spec, types, described = STAGES[task.stage], {**parameter_types(), FOOTAGE_VERSION: str}, descriptions()
    described[FOOTAGE_VERSION] = "Digest of the footage, for KFP's cache."
    kinds = {**spec.reads, **spec.optional_reads, **spec.writes}
    artifacts = [*task.inputs, *spec.writes]
    pages = {page: source for page, (source, _) in PAGES.items() if source in spec.writes}
    taken = task_parameters(task)

    def artifact_type(name: str) -> Any:
        kind: Any = ARTIFACT_TYPES.get(kinds[name], dsl.Dataset)
        return dsl.Output[kind] if name in spec.writes else dsl.Input[kind]

    signature = [
        *(parameter(name, artifact_type(name)) for name in artifacts),
        *(parameter(page, dsl.Output[dsl.HTML]) for page in pages),
        *(parameter(name, types[name]) for name in taken),
        parameter("config", dict[str, Any]),
    ]

    def build(*placeholders: Any) -> dsl.ContainerSpec:
        given = dict(zip((each.name for each in signature), placeholders, strict=True))
        settings = {
            key: text(given[name]) if types[name] is str else given[name]
            for key, name in stage_settings(task.stage).items()
        }
        paths = {name: given[name].path for name in artifacts}
        return stage_container(task.stage, config=given["config"], settings=settings, **paths)

    args = {
        **{name: f"{kinds[name]}, {source.replace('.', ': ')}." for name, source in task.inputs.items()},
        **{name: described[name] for name in taken},
        "config": f"{spec.config.__name__} as JSON; a missing key takes its default.",
    }
    returns = {name: f"{kind}." for name, kind in spec.writes.items()}
    returns |= {page: f"The page of the {source}, as the UI shows it." for page, source in pages.items()}
    return dsl.container_component(declare(build, task.name, signature, spec.summary, Args=args, Returns=returns))


@dsl.container_component
def find_footage(
    found: dsl.OutputPath(list[str]),  # type: ignore[valid-type]
    version: dsl.OutputPath(str),  # type: ignore[valid-type]
    footage: list[str],
    day: str,
    time_zone: str,
    scheduled_utc: str,
    fresh: str,
) -> dsl.ContainerSpec:
    """Find the day's footage and digest what the store holds of it; no stage, as it reads no video.

    Both outputs are parameters, which KFP's cache compares by value. A task that takes them is found in the cache as
    long as the footage is unchanged, though this one runs every time.

    Args:
        footage: Videos, folders or s3:// prefixes; {day} stands for the day.
        day: 2026-11-20; empty: the day before the scheduled start, where the camera stands.
        time_zone: IANA time zone of the camera.
        scheduled_utc: When the run was to start.
        fresh: Part of the version: a new word makes everything anew.

    Returns:
        found: The footage with its day.
        version: A digest of the names, sizes and etags of all files.
    """
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["culling", "footage"],
        args=[
            "--sources", footage, f"--day={day}", f"--time-zone={time_zone}", f"--scheduled-utc={scheduled_utc}",
            f"--fresh={fresh}", "--found-out", found, "--version-out", version,
        ],
    )  # fmt: skip


COMPONENTS: Mapping[str, Any] = {"find-footage": find_footage, **{task.name: stage_component(task) for task in WIRING}}
"""Task's name -> its component."""
