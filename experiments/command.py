"""Run an experiment's click command with the exit codes and one-line errors of `culling`."""

from __future__ import annotations

import os
import sys

import click

from dataset_culling.cli.program import exit_code_of
from dataset_culling.engine import stage_main
from dataset_culling.engine.interruption import stop_on_sigterm


def run(command: click.Command, name: str) -> None:
    """Run the command as `python -m experiments.NAME`, and exit."""
    stop_on_sigterm()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    stage_main.set_up_logging(stage_main.NORMAL)
    sys.exit(exit_code_of(lambda: command.main(prog_name=f"python -m experiments.{name}", standalone_mode=False)))
