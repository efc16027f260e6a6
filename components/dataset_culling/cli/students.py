"""`culling students`: the search for a student that suits a camera."""

from __future__ import annotations

from pathlib import Path

import click

from dataset_culling.cli.command import PATH, QUIET, Command, device_option, json_option, verbosity


@click.command("students", cls=Command)
@click.argument("run_folder", metavar="RUN", type=PATH)
@click.option(
    "--candidate", "candidates", multiple=True, metavar="NAME[=WEIGHTS]",
    help="A detector to try; once for each. [default: the run's student and all whose weights are at hand]",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="Passes over the culled set for each. [default: 5]")
@click.option("--seed", type=click.IntRange(0), help="Of every training. [default: 0]")
@click.option(
    "--rule",
    type=click.Choice(["cheapest-within", "most-accurate"]),
    help="Choose the quickest near the best, or the best. [default: cheapest-within]",
)
@click.option(
    "--within", "within_points", type=click.FloatRange(0, 100), help="Margin to the best, in points. [default: 2]"
)
@click.option("--budget-ms", type=click.FloatRange(0), help="Most ms for an image; 0: no budget. [default: 0]")
@click.option(
    "--judge",
    type=click.Choice(["agreement", "truth"]),
    help="By what the rule goes: the teacher's labels, or true boxes where the run has them. [default: agreement]",
)
@click.option("--engine", type=click.Choice(["torch", "openvino"]), help="Runtime to time. [default: torch]")
@click.option("--config", "config_file", metavar="FILE", help="YAML with these settings; options win over it.")
@click.option(
    "--set", "changes", multiple=True, nargs=2, metavar="KEY VALUE",
    help="A setting of train-student other than the run's, e.g. --set recipe.batch_size 8.",
)  # fmt: skip
@click.option("--out", type=PATH, help="Folder of students.csv, .json and .svg. [default: RUN]")
@click.option("--again", is_flag=True, help="Try all of them again, also those that were tried before.")
@device_option
@json_option
def students(
    run_folder: Path, candidates: tuple[str, ...], changes: tuple[tuple[str, str], ...], config_file: str | None,
    out: Path | None, again: bool, device: str, as_json: bool, **settings: object,
) -> None:  # fmt: skip
    """Find a student for a camera: train each candidate briefly on a finished RUN's culled set, and time it here.

    Prints agreement with the teacher (and accuracy, where true boxes are known) beside milliseconds for an image, one
    at a time, at the run's resolution; marks the Pareto front and the one that the rule takes. Nothing of the run
    changes. What was tried is kept: stopped, it goes on with the candidate that it was at.

    \b
    culling students runs/demo
    culling students runs/demo --candidate tiny --candidate yolox_nano=yolox_nano.pth --epochs 10
    culling students runs/demo --rule most-accurate --budget-ms 40
    culling students runs/demo --within 1 --json
    """
    from dataset_culling.engine.finished import settings_of
    from dataset_culling.engine.stage_main import choose_device
    from dataset_culling.tuning.candidates import candidates_of, teacher_of_labels
    from dataset_culling.tuning.results import CSV, JSON, SVG, read_settings

    given = {key: value for key, value in settings.items() if value is not None}
    if candidates:
        given["candidates"] = list(candidates)
    config = read_settings(config_file or "", given)
    training = settings_of(run_folder, changes)
    tried, left_out = candidates_of(config.candidates, training.student, teacher_of_labels(run_folder))
    from dataset_culling.tuning.search import read_ground, search_students  # torch: invalid options are reported before

    out = out or run_folder
    ground = read_ground(run_folder, training, config, device=choose_device(device))
    quiet = as_json or verbosity() == QUIET
    results = search_students(ground, tried, left_out, out, again=again, quiet=quiet)
    if as_json:
        click.echo((out / JSON).read_text(encoding="utf-8"), nl=False)
    else:
        click.echo("\n".join([*results.lines(), f"all of it: {out / CSV}, {out / JSON}, {out / SVG}"]))
    results.choose()  # raises where no student is within the budget
