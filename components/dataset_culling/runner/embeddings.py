"""`culling embeddings`, as typed. The work is in `runner.trying_embeddings`, which a start does not load."""

from __future__ import annotations

from pathlib import Path

import click

from dataset_culling.cli.command import QUIET, Command, verbosity
from dataset_culling.errors import ConfigError


@click.command("embeddings", cls=Command)
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[=WEIGHTS]",
    help="A detector to look through; once for each. [default: the run's student and all trained ones at hand]",
)
@click.option(
    "--crops", default=400, show_default=True, type=click.IntRange(2, 5000), help="Most crops, of equal classes."
)
@click.option(
    "--crop-px", default=128, show_default=True, type=click.IntRange(64), help="Side of a crop; multiple of 32."
)
@click.option(
    "--gap-s",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Crops no further apart in time may show one object: they are no neighbours.",
)
@click.option(
    "--place-s",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0),
    help="The same for crops at one place, where something may be parked.",
)
@click.option("--pictures", default=12, show_default=True, type=click.IntRange(0), help="Most false neighbours shown.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of embeddings.csv, .json, .html. [default: RUN]")
@click.option("--device", default="auto", envvar="CULLING_DEVICE", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def embeddings(
    run_folder: Path,
    models: tuple[str, ...],
    crops: int,
    crop_px: int,
    gap_s: float,
    place_s: float,
    pictures: int,
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Which embedding tells a camera's classes apart: model, feature map and pooling, on crops of a finished RUN.

    Crops are the teacher's boxes on the kept frames. Each one's nearest neighbours are ranked by cosine distance; the
    page shows those that are near and of another class. Names what the strategy coverage should go by.

    \b
    culling embeddings runs/demo
    culling embeddings runs/demo --model tiny --model tiny=runs/demo/model --crops 200
    culling embeddings runs/demo --json
    """
    if crop_px % 32:
        raise ConfigError(f"--crop-px {crop_px}: expected a multiple of 32, which every network takes. Pass 128.")
    from dataset_culling.engine.finished import settings_of
    from dataset_culling.tuning.candidates import candidates_of, teacher_of_labels

    student = settings_of(run_folder).student
    tried, left_out = candidates_of(models, student, teacher_of_labels(run_folder), option="--model", trained=False)
    from dataset_culling.runner.trying_embeddings import print_embeddings  # loads torch: wrong words are told before

    print_embeddings(
        run_folder,
        student.name,
        tried,
        left_out,
        num_crops=crops,
        crop_px=crop_px,
        gap_s=gap_s,
        place_s=place_s,
        num_pictures=pictures,
        out=out or run_folder,
        device=device,
        as_json=as_json,
        quiet=as_json or verbosity() == QUIET,
    )
