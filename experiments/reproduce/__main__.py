"""The command `python -m experiments.reproduce`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import QUIET, Command, verbosity
from dataset_culling.cli.complete import detector_names
from dataset_culling.errors import ConfigError
from experiments.command import run as run_command
from experiments.reproduce.cells import cells_of
from experiments.reproduce.config import read_config
from experiments.reproduce.run import reproduce as run
from experiments.reproduce.run import with_footage


@click.command("reproduce", cls=Command)
@click.option(
    "--preset", default="smoke", show_default=True, help="smoke, short, cpu, gpu, seeds, or a .yaml file like theirs."
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the work; the same one goes on.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("docs/results"), show_default=True,
    help="The page, CSV files and plots go into a folder of the preset's name in it.",
)  # fmt: skip
@click.option("--jobs", type=click.IntRange(0), default=0, help="Cells side by side. [default: one for each core]")
@click.option("--scenes", default="", help="Only these of the preset's cameras.")
@click.option("--arms", default="", help="Arms, instead of the preset's.")
@click.option("--sizes", default="", help="Numbers of frames to train on, instead of the preset's.")
@click.option("--seeds", default="", help="Seeds, instead of the preset's.")
@click.option("--opt-resolution", default="", help="off, loss, ap or several, instead of the preset's.")
@click.option(
    "--variants",
    default="",
    help="plain, gate, trust, distillation, logged, gate+logged, paper, or of those in docs/reproduce.md.",
)
@click.option("--epochs", type=click.IntRange(1), help="Passes over the kept frames, instead of the preset's.")
@click.option("--device", default="auto", envvar="CULLING_DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option(
    "--footage", type=click.Path(path_type=Path), help="Folder of videos, a camera each, instead of simulated ones."
)
@click.option("--classes", default="person", show_default=True, help="With --footage: the cameras' classes.")
@click.option("--student", default="tiny", show_default=True, shell_complete=detector_names, help="With --footage.")
@click.option("--student-weights", default="", help="With --footage: a file, a name, or s3://.")
@click.option("--teacher", default="", shell_complete=detector_names, help="With --footage: name or description.")
@click.option("--teacher-weights", default="", help="With --footage: a file, a name, or s3://.")
@click.option("--fps", type=click.FloatRange(0.01, 60), default=2.0, show_default=True, help="With --footage.")
@click.option("--list", "only_list", is_flag=True, help="List the cells and run none.")
def reproduce(
    preset: str, out: Path, results: Path, jobs: int, epochs: int | None, device: str, footage: Path | None,
    only_list: bool, **given: str,
) -> None:  # fmt: skip
    """Measure the paper's tables on simulated cameras, where the true boxes are known (docs/reproduce.md).

    Finished cells are kept. Naming arms, sizes, seeds, optResolution or variants runs every combination of them;
    --scenes alone keeps the preset's. Lists are joined by commas.

    \b
    python -m experiments.reproduce --preset smoke --out runs/reproduce-smoke
    python -m experiments.reproduce --preset cpu --out runs/reproduce-cpu
    python -m experiments.reproduce --preset cpu --out runs/two --scenes street,lobby --arms random --seeds 0
    python -m experiments.reproduce --preset smoke --out runs/c --footage clips --classes person --teacher t.yaml
    """
    over: dict[str, Any] = {"settings": {"train_student": {"recipe": {"epochs": epochs}}}} if epochs else {}
    config = read_config(
        preset,
        scenes=_words(given["scenes"]),
        arms=_words(given["arms"]),
        sizes=_numbers("--sizes", given["sizes"]),
        seeds=_numbers("--seeds", given["seeds"]),
        opt_resolution=_words(given["opt_resolution"]),
        variants=_words(given["variants"]),
        over=over,
    )
    if footage is not None:
        if not given["teacher"]:
            raise ConfigError(
                "--footage: --teacher is missing; the embedded one knows simulated cameras only. Name a detector."
            )
        config = with_footage(
            config,
            footage,
            classes=_words(given["classes"]),
            student={"name": given["student"], "weights": given["student_weights"]},
            teacher={"name": given["teacher"], "weights": given["teacher_weights"]},
            fps=float(given["fps"]),
        )
    if only_list:
        for cell in cells_of(config):
            click.echo(f"{cell.camera} {cell.name}")
        return
    quiet = verbosity() == QUIET
    page = run(
        config,
        preset=Path(preset).stem,
        out=out,
        results=results / Path(preset).stem,
        jobs=jobs,
        device=device,
        arguments=sys.argv[1:],
        say=(lambda line: None) if quiet else lambda line: click.echo(line, err=True),
    )
    click.echo(f"Page  {page}")


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _words(text))
    except ValueError:
        raise ConfigError(f"{option} {text}: expected whole numbers joined by commas, such as 64,128.") from None


if __name__ == "__main__":
    run_command(reproduce, "reproduce")
