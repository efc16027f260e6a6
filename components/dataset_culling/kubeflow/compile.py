"""From pipelines/specialise_camera.py to the YAML that Kubeflow takes."""

from __future__ import annotations

import importlib.util
import os
import re
import sysconfig
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from kfp import compiler

from dataset_culling.errors import ConfigError, OutputError
from dataset_culling.kubeflow.container import IMAGE
from dataset_culling.kubeflow.resources import load_profile

PIPELINE = "specialise_camera.py"
IMMUTABLE = re.compile(r"^[^\s@]+(@sha256:[0-9a-f]{64}|:(?!latest$)[\w][\w.-]*)$")


def compile_pipeline(path: Path, profile: str, image: str = "") -> None:
    """Compile the pipeline into the YAML file `path`: equal arguments give equal bytes.

    Args:
        path: The file; whole or not at all.
        profile: gpu, cpu, kind, or a YAML file laid over one of them.
        image: Image of the stages with an immutable tag or a digest; empty: this version's own.

    Raises:
        ConfigError: If the profile is unknown, the image is mutable, or the pipeline's script is not there.
        OutputError: If the file cannot be written.
    """
    image = image or IMAGE
    if not IMMUTABLE.match(image):
        raise ConfigError(
            f"--image {image}: expected NAME:TAG with a tag that never moves, or NAME@sha256:DIGEST. "
            f"KFP's cache knows an image by its name only."
        )
    module = load_script(find_script())
    beside = path.with_name(f".{path.stem}.{os.getpid()}.yaml")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning)
            compiler.Compiler().compile(module.build(load_profile(profile), image), str(beside))
        beside.write_text(_finished(beside.read_text(encoding="utf-8"), module.CHOICES), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OutputError(
            f"{error.filename or path}: expected to write the pipeline, found {error.strerror or error}. "
            f"Choose another path."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def find_script() -> Path:
    """Where pipelines/specialise_camera.py lies: in the checkout, or among the data files of an installed package.

    Raises:
        ConfigError: If it is in neither.
    """
    checkout = Path(__file__).resolve().parents[3] / "pipelines" / PIPELINE
    installed = Path(sysconfig.get_path("data")) / "share" / "dataset-culling" / "pipelines" / PIPELINE
    for found in (checkout, installed):
        if found.is_file():
            return found
    raise ConfigError(
        f"{checkout}: expected the pipeline's script there or at {installed}, found neither. "
        f"Compile from a checkout, or install the package again."
    )


def load_script(path: Path) -> ModuleType:
    """Import a leaf script by its path; pipelines/ is a folder and no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: expected a Python script. Check the path.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _finished(text: str, choices: Mapping[str, Sequence[str]]) -> str:
    """KFP's YAML with drop-downs, which its UI shows and its server checks but its SDK cannot write.

    KFP's own opening comment goes: it lists the keys of dicts in an order that changes from process to process.
    """
    documents = [document for document in yaml.safe_load_all(text) if document]
    parameters: dict[str, Any] = documents[0]["root"]["inputDefinitions"]["parameters"]
    for name, literals in choices.items():
        parameters[name]["literals"] = list(literals)
    note = "# Written by `culling compile`; change pipelines/specialise_camera.py instead.\n"
    return note + yaml.safe_dump_all(documents, sort_keys=True, width=120, allow_unicode=True)
