"""`culling lr-range`, as typed. The work is in `runner.trying_rates`, which starting the command line does not load."""

from __future__ import annotations

from pathlib import Path

import click

from dataset_culling.cli.command import QUIET, Command, verbosity
from dataset_culling.errors import ConfigError


@click.command("lr-range", cls=Command)
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--low", default=1e-6, show_default=True, type=click.FloatRange(0, min_open=True), help="First rate.")
@click.option("--high", default=1.0, show_default=True, type=click.FloatRange(0, min_open=True), help="Last rate.")
@click.option("--steps", default=100, show_default=True, type=click.IntRange(10), help="Rates tried, one step each.")
@click.option(
    "--set",
    "changes",
    multiple=True,
    nargs=2,
    metavar="KEY VALUE",
    help="A setting of train-student other than the run's, e.g. --set recipe.expand 4.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of lr-range.csv and lr-range.svg. [default: RUN]")
@click.option("--device", default="auto", envvar="CULLING_DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def lr_range(
    run_folder: Path,
    low: float,
    high: float,
    steps: int,
    changes: tuple[tuple[str, str], ...],
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Which learning rate suits a camera: one training step at each of many rates, on the culled set of a finished RUN.

    The student starts as it did in the run and is thrown away at the end; nothing of the run changes.

    \b
    culling lr-range runs/demo
    culling lr-range runs/demo --set recipe.expand 4 --set recipe.batch_size 8
    culling lr-range runs/demo --low 1e-5 --high 0.1 --steps 50 --json
    """
    if low >= high:
        raise ConfigError(f"--low {low:g}: expected a rate below --high, found {high:g} there. Swap them.")
    from dataset_culling.engine.finished import settings_of

    config = settings_of(run_folder, changes)
    from dataset_culling.runner.trying_rates import print_range  # loads torch: wrong words are told before

    print_range(
        run_folder,
        config,
        low=low,
        high=high,
        steps=steps,
        out=out or run_folder,
        device=device,
        as_json=as_json,
        quiet=as_json or verbosity() == QUIET,
    )
