"""`culling compile`: the pipeline as YAML for Kubeflow."""

from __future__ import annotations

from pathlib import Path

import click

from dataset_culling.cli.command import PATH, Command
from dataset_culling.cli.complete import profile_names


@click.command("compile", cls=Command)
@click.argument("path", type=PATH)
@click.option("--profile", default="gpu", show_default=True, shell_complete=profile_names, help="gpu, cpu or kind.")
@click.option("--image", default="", help="Image of the stages, by immutable tag or digest.")
def compile_command(path: Path, profile: str, image: str) -> None:
    """Write the pipeline for Kubeflow as YAML.

    \b
    culling compile pipeline.yaml --profile gpu --image REGISTRY/dataset-culling@sha256:DIGEST
    culling compile pipeline.yaml --profile kind
    """
    from dataset_culling.kubeflow.pipeline import compile_pipeline

    compile_pipeline(path, profile, image)
    click.echo(f"{path}")
