"""The program `culling`: its commands, and errors as one line with an exit code (`errors.EXIT_CODES`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from dataset_culling import __version__
from dataset_culling.cli.check import check
from dataset_culling.cli.command import CONTEXT, Program, verbosity_options
from dataset_culling.cli.compare import compare_command
from dataset_culling.cli.compile import compile_command
from dataset_culling.cli.complete import completion
from dataset_culling.cli.detectors import detectors
from dataset_culling.cli.doctor import doctor
from dataset_culling.cli.fleet import fleet
from dataset_culling.cli.fleet_report import fleet_report_command
from dataset_culling.cli.footage import footage
from dataset_culling.cli.models import models
from dataset_culling.cli.plan import plan_command
from dataset_culling.cli.predict import predict
from dataset_culling.cli.presets import presets
from dataset_culling.cli.propose import propose_command
from dataset_culling.cli.run import run
from dataset_culling.cli.show import show
from dataset_culling.cli.simulate import simulate
from dataset_culling.cli.stage import stage
from dataset_culling.cli.students import students
from dataset_culling.cli.submit import submit
from dataset_culling.engine import stage_main
from dataset_culling.engine.interruption import stop_on_sigterm
from dataset_culling.errors import EXIT_CODES, ConfigError

EPILOG = "\b\nExit codes:\n" + "\n".join(f"{code:>5}  {meaning}" for code, meaning in EXIT_CODES.items())


@click.group(cls=Program, context_settings=CONTEXT, epilog=EPILOG)
@click.version_option(__version__, prog_name="culling")
def cli() -> None:
    """A small, fast, accurate object detector for every fixed camera.

    \b
    culling run                                     the main job on a simulated camera
    culling run --video day.mp4 --classes person,car --student yolox_nano --teacher teacher.yaml
    culling compare runs/monday runs/tuesday        several runs side by side
    culling predict runs/demo/model day.mp4         what the student sees: boxes, and a video with them
    culling show runs/demo/tasks/cull-precision/kept
    culling COMMAND --help                          says more, with examples
    """


cli.params += verbosity_options()
fleet.add_command(fleet_report_command, "report")
_COMMANDS = (
    *(run, stage, show, detectors, doctor, presets, simulate, plan_command, compile_command, check, completion),
    *(models, predict, propose_command, compare_command, students, fleet, submit, footage),
)
for _command in _COMMANDS:
    cli.add_command(_command)


def _moved_command(name: str) -> click.Command:
    """Make the hidden command that says where an experiment went; it goes with the next release."""

    def callback(words: tuple[str, ...]) -> None:
        module = name.replace("-", "_")
        raise ConfigError(
            f"culling {name} is an experiment of the repository now. In a checkout run: "
            f"python -m experiments.{module} {' '.join(words)}".rstrip()
        )

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True, "help_option_names": []}
    return click.Command(name, params=[words], callback=callback, hidden=True, context_settings=settings)


for _name in ("reproduce", "embeddings", "lr-range"):
    cli.add_command(_moved_command(_name))


def main() -> NoReturn:
    """Run the command; turn errors into one line and an exit code."""
    stop_on_sigterm()
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    # The log of a stage, here or in a pod, is read when something is wrong: it keeps every warning.
    stage_main.set_up_logging(stage_main.NORMAL, show_warnings=sys.argv[1:2] == ["stage"])
    sys.exit(exit_code_of(lambda: cli.main(prog_name="culling", standalone_mode=False)))


def exit_code_of(work: Callable[[], Any]) -> int:
    """Do the work; print an error as one line; return the exit code; see `stage_main.exit_code_of`."""
    try:
        return stage_main.exit_code_of(work)
    except click.UsageError as error:
        where = f"{error.ctx.command_path}: " if error.ctx else ""
        hint = f" See: {error.ctx.command_path} --help" if error.ctx else ""
        return stage_main.print_error(f"{where}{' '.join(error.format_message().split())}{hint}", ConfigError.exit_code)
    except click.ClickException as error:
        return stage_main.print_error(error.format_message(), ConfigError.exit_code)
    except click.Abort:
        return stage_main.print_stopped()
