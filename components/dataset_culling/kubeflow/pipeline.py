"""The pipeline: a camera's footage in, a specialised student promoted. One run is one camera.

Its tasks and edges are WIRING, its form is FORM. This module compiles it, and each component, to YAML.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from kfp import compiler, dsl

from dataset_culling.detectors.table import DETECTORS
from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.kubeflow.components import (
    COMPONENTS,
    FOOTAGE_VERSION,
    IMAGE,
    RUN,
    declare,
    find_footage,
    parameter,
    parameter_types,
    task_parameters,
)
from dataset_culling.kubeflow.parameters import CLUSTER_DEFAULTS, descriptions, pipeline_arguments, section_name
from dataset_culling.kubeflow.resources import Profile, load_profile, place
from dataset_culling.pipeline.graph import STAGES, WIRING
from dataset_culling.storage.atomic import replacing
from dataset_culling.strategies.table import STRATEGIES

REQUIRED = ("camera", "footage")
REGISTRY = "s3://culling/registry"
CHOICES: Mapping[str, Sequence[str]] = {
    "student": [name for name, spec in DETECTORS.items() if spec.trainable],
    "pool_strategy": [name for name, spec in STRATEGIES.items() if not spec.needs_labels],
    "target_strategy": list(STRATEGIES),
    "promotion": list(get_args(type(RUN.promote_student).model_fields["mode"].annotation)),
}
"""Parameters that the UI shows as drop-downs."""
IMMUTABLE = re.compile(r"^[^\s@]+(@sha256:[0-9a-f]{64}|:(?!latest$)[\w][\w.-]*)$")
NOTE = "# Written by `make compile` from STAGES and WIRING in dataset_culling; do not edit.\n"


def build_pipeline(profile: Profile, image: str) -> Any:
    """Build the pipeline for one kind of cluster and one image."""
    types = parameter_types()
    defaults = {**pipeline_arguments(RUN), **CLUSTER_DEFAULTS, "registry": REGISTRY}
    form = [
        parameter(name, types[name]) if name in REQUIRED else parameter(name, types[name], defaults[name])
        for name in descriptions()
    ]

    def tasks(*placeholders: Any) -> None:
        values = dict(zip((each.name for each in form), placeholders, strict=True))
        footage_args = {name: values[name] for name in ("footage", "day", "time_zone", "fresh")}
        footage_task = find_footage(**footage_args, scheduled_utc=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER)
        place(footage_task, "find-footage", "Footage", profile=profile, image=image)
        values |= {"footage": footage_task.outputs["found"], FOOTAGE_VERSION: footage_task.outputs["version"]}
        outputs: dict[str, Any] = {}
        for task in WIRING:
            artifacts = {name: outputs[source] for name, source in task.inputs.items()}
            settings = {name: values[name] for name in task_parameters(task)}
            made = COMPONENTS[task.name](**artifacts, **settings, config=values[section_name(task.stage)])
            place(made, task.stage, task.display_name, profile=profile, image=image)
            outputs |= {f"{task.name}.{name}": made.outputs[name] for name in STAGES[task.stage].writes}

    function = declare(tasks, "specialise-camera", form, "Specialise a student for one camera.", Args=descriptions())
    return dsl.pipeline(
        name="specialise-camera", description="Give one camera its own small, fast, accurate detector."
    )(function)


def compile_pipeline(path: Path, profile: str, image: str = "") -> None:
    """Compile the pipeline into the YAML file `path`: equal arguments give equal bytes.

    Args:
        path: The file; whole or not at all.
        profile: gpu, cpu, kind, or a YAML file laid over one of them.
        image: Image of the stages with an immutable tag or a digest; empty: this version's own.

    Raises:
        ConfigError: If the profile is unknown or the image is mutable.
        OutputError: If the file cannot be written.
    """
    image = image or IMAGE
    if not IMMUTABLE.match(image):
        raise ConfigError(
            f"--image {image}: expected NAME:TAG with a tag that never moves, or NAME@sha256:DIGEST. "
            f"KFP's cache knows an image by its name only."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        _compile(build_pipeline(load_profile(profile), image), path, CHOICES)


def compile_components(folder: Path) -> None:
    """Compile every component into `folder`, one YAML file each, for pipelines of other teams.

    Raises:
        OutputError: If a file cannot be written.
    """
    for name, component in COMPONENTS.items():
        _compile(component, folder / f"{name}.yaml", {})


def _compile(component: Any, path: Path, choices: Mapping[str, Sequence[str]]) -> None:
    """Write KFP's YAML, with drop-downs, which its UI shows and its server checks but its SDK cannot write.

    KFP's own opening comment lists the keys of dicts in an order that changes from process to process. Of it stays
    what KFP reads back: the description, in the third line.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, suffix=".yaml") as part:
            compiler.Compiler().compile(component, str(part))
            documents = [document for document in yaml.safe_load_all(part.read_text(encoding="utf-8")) if document]
            for name, literals in choices.items():
                documents[0]["root"]["inputDefinitions"]["parameters"][name]["literals"] = list(literals)
            written = yaml.safe_dump_all(documents, sort_keys=True, width=120, allow_unicode=True)
            summary = component.component_spec.description.splitlines()[0]
            heading = f"{NOTE}# Name: {component.name}\n# Description: {summary}\n"
            part.write_text(heading + written, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{error.filename or path}: expected to write the pipeline, found {error.strerror or error}. "
            f"Choose another path."
        ) from error
