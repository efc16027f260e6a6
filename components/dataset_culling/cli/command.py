"""The base of all commands: -v and -q, suggestions for typos, examples that keep their lines."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from dataset_culling.config import did_you_mean
from dataset_culling.engine.stage_main import NORMAL as NORMAL
from dataset_culling.engine.stage_main import QUIET as QUIET
from dataset_culling.engine.stage_main import VERBOSE as VERBOSE
from dataset_culling.engine.stage_main import set_up_logging

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
PATH = click.Path(path_type=Path)
_KEY = "dataset_culling.verbosity"

json_option = click.option("--json", "as_json", is_flag=True, help="For machines.")
device_option = click.option(
    "--device", default="auto", envvar="CULLING_DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N."
)
config_option = click.option("--config", "config_file", type=PATH, help="YAML file laid over the preset.")


def verbosity() -> int:
    """Return QUIET, NORMAL or VERBOSE, as the running command was called."""
    context = click.get_current_context(silent=True)
    return int(context.find_root().meta.get(_KEY, NORMAL)) if context is not None else NORMAL


def verbosity_options() -> list[click.Parameter]:
    """Return -v and -q, as every command and the program itself take them."""

    def option(names: list[str], level: int, text: str) -> click.Parameter:
        def set_level(context: click.Context, parameter: click.Parameter, value: bool) -> None:
            if value:
                context.find_root().meta[_KEY] = level
                set_up_logging(level)

        return click.Option(names, is_flag=True, expose_value=False, callback=set_level, help=text)

    return [
        option(["--verbose", "-v"], VERBOSE, "Say more, and of errors also where they came from."),
        option(["--quiet", "-q"], QUIET, "Print results and errors only."),
    ]


class Command(click.Command):
    """A command with -v and -q, whose wrong options are answered with a suggestion."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings = {**CONTEXT, **self.context_settings}
        self.params += verbosity_options()


class Group(click.Group):
    """A group of such commands that knows what a mistyped one may have meant."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings = {**CONTEXT, **self.context_settings}

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Click's own, with a suggestion added to its error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            said = error.format_message()
            hint = "" if "Did you mean" in said else did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"{said}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Click's own, with summaries that go on in the next line instead of ending in dots."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(200)) for name, one in commands if one is not None and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Program(Group):
    """The outermost group."""

    def invoke(self, ctx: click.Context) -> Any:
        """Click's own, but a reader that has gone (`| head`) is neither an error of ours nor one of the user's."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more on its way out; that would fail again, loudly.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(128 + signal.SIGPIPE) from None
        return result
