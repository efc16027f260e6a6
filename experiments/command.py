"""Run an experiment's click command with the exit codes and one-line errors of `culling`."""

from __future__ import annotations

import os
import signal
import sys

import click

from dataset_culling.cli import exit_code_of


def run(command: click.Command, name: str) -> None:
    """Run the command as `python -m experiments.NAME`, and exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops children and releases locks, as Ctrl-C does
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    sys.exit(exit_code_of(lambda: command.main(prog_name=f"python -m experiments.{name}", standalone_mode=False)))
