"""Shell completion: `culling completion SHELL`, and what the options' values complete to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from dataset_culling.cli.command import Command

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_CULLING_COMPLETE"
"""Environment variable by which a shell asks click for completions."""

DEFAULT_REGISTRY = "runs/demo/registry"
"""The registry that commands look at unless told otherwise."""


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete culling's commands, options, detectors, presets and scenes.

    \b
    eval "$(culling completion bash)"                 # in ~/.bashrc; bash 4.4 or later
    eval "$(culling completion zsh)"                  # in ~/.zshrc, after compinit
    culling completion fish > ~/.config/fish/completions/culling.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"no completion is known for {shell}")
    click.echo(kind(context.find_root().command, {}, "culling", VARIABLE).source())


def _completer(names: Callable[[], Iterable[str]]) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Make click's completion function of a function that lists all names."""

    @wraps(names)
    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
        return [name for name in names() if name.startswith(begun)]

    return complete


@_completer
def detector_names() -> list[str]:
    """Detectors of the table, and descriptions of exported ones."""
    from dataset_culling.detectors.table import DESCRIBED, DETECTORS

    return [*DETECTORS, *sorted(path.name for path in DESCRIBED.glob("*.yaml"))]


@_completer
def preset_names() -> list[str]:
    """Presets."""
    from dataset_culling.pipeline import presets

    return presets.preset_names()


@_completer
def scene_names() -> list[str]:
    """Simulated scenes."""
    from dataset_culling.simulation.config import SCENES

    return [*SCENES, "random:"]


@_completer
def profile_names() -> list[str]:
    """Kubeflow profiles."""
    from dataset_culling.kubeflow.resources import PROFILES

    return list(PROFILES)


def camera_names(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Cameras that begin so, of a registry in a local folder: the tab key asks nothing of a network."""
    from dataset_culling.storage import is_remote

    named = [here.params.get("registry") for here in (context, context.parent) if here is not None]
    registry = next((name for name in named if name), DEFAULT_REGISTRY)
    cameras = Path(registry) / "cameras"
    if is_remote(registry) or not cameras.is_dir():
        return []
    return sorted(folder.name for folder in cameras.iterdir() if folder.is_dir() and folder.name.startswith(begun))
