"""Run an experiment's click command with the exit codes and one-line errors of `culling`."""

from __future__ import annotations

import sys

import click

from dataset_culling.cli.program import exit_code_of


def run(command: click.Command, name: str) -> None:
    """Run the command as `python -m experiments.NAME`, and exit."""
    sys.exit(exit_code_of(lambda: command.main(prog_name=f"python -m experiments.{name}", standalone_mode=False)))
