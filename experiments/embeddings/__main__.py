"""Rank embeddings of a camera's own crops: model, feature map and pooling that tell its classes apart best.

    python -m experiments.embeddings RUN      writes RUN/embeddings.csv and RUN/embeddings.png

Source of the idea: Hirner, Transfer Learning for Fun and Profit (2017): model, layer and pooling are judged by
nearest-neighbour ranking and by how plausible the false positives are. N = crops.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from matplotlib.figure import Figure

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.table import load_trainable
from dataset_culling.engine.finished import TRAINING, inputs_of, settings_of
from dataset_culling.engine.stage_main import choose_device
from dataset_culling.errors import ConfigError, InputError, WeightsError
from dataset_culling.inference.detect import local_weights
from dataset_culling.tuning.candidates import by_reason, candidates_of, teacher_of_labels
from dataset_culling.types import BoolArray, FloatArray, ImageArray, IntArray
from experiments.command import run as run_command
from experiments.embeddings.layers import GLOBAL, Layer, crop_of, embed_crops
from experiments.embeddings.neighbours import Ranking, cosine_distances, could_be_same, rank_neighbours

PLACE_IOU = 0.3
"""Boxes that overlap by this are at one place."""
LEAST_PX = 16
"""Boxes whose longer side is shorter show too little to classify."""


@dataclass(frozen=True, slots=True)
class Crops:
    """The crops to embed."""

    images: list[ImageArray]  # N, each (S, S, 3)
    class_ids: IntArray  # (N,)
    class_names: tuple[str, ...]
    excluded: BoolArray  # (N, N) pairs that may show one object


@dataclass(frozen=True, slots=True)
class Row:
    """One embedding with its ranking."""

    model: str
    layer: Layer
    dimensions: int
    ranking: Ranking
    mistakes: tuple[tuple[int, int, int], ...]  # query, nearest of another class, nearest of its own; worst first

    def values(self) -> dict[str, object]:
        """Return the row of the CSV; shares are 0..1, distances 0..2."""
        found = self.ranking
        return {
            "model": self.model, "layer": self.layer.layer, "stride_px": self.layer.stride_px,
            "pooling": self.layer.pooling, "dimensions": self.dimensions,
            "precision_at_1": round(found.precision_at_1, 6),
            "mean_average_precision": round(found.mean_average_precision, 6), "chance": round(found.chance, 6),
            "same_distance": round(found.same_distance, 6), "other_distance": round(found.other_distance, 6),
            "separation": round(found.separation, 6), "queries": found.num_queries,
        }  # fmt: skip


def row_of(model: str, layer: Layer, values: FloatArray, crops: Crops) -> Row:
    """Rank the crops by an embedding, shape (N, D)."""
    distance = cosine_distances(values)
    ranking = rank_neighbours(distance, crops.class_ids, crops.excluded)
    queries = np.flatnonzero(ranking.is_query)
    same, other = ranking.nearest_same[queries], ranking.nearest_other[queries]
    order = np.argsort(distance[queries, other] - distance[queries, same], kind="stable")
    mistakes: list[tuple[int, int, int]] = []
    shown: set[int] = set()
    for place in order:
        query, wrong = int(queries[place]), int(other[place])
        if not {query, wrong} & shown:
            shown |= {query, wrong}
            mistakes.append((query, wrong, int(same[place])))
    return Row(model, layer, values.shape[1], ranking, tuple(mistakes))


def read_crops(run: Path, *, most: int, crop_px: int, gap_s: float, place_s: float) -> Crops:
    """Cut out the teacher's sure boxes on the run's kept frames.

    Args:
        run: Folder of a finished run.
        most: Most crops; classes share evenly, each evenly over time.
        crop_px: Side of a crop.
        gap_s: Crops no further apart in time may show one object.
        place_s: The same for crops at one place.

    Raises:
        InputError: If no crop has a neighbour of its own class and one of another.
    """
    inputs = inputs_of(run, TRAINING)
    frames, labels = FrameReader(inputs["frames"]), read_labels(inputs["labels"])
    labels = labels.take(np.sort(labels.rows_of(read_selection(inputs["selection"]).frame_ids)))
    longer_px = (labels.boxes_xyxy[:, 2:] - labels.boxes_xyxy[:, :2]).max(axis=1, initial=0)
    boxes = np.flatnonzero(~labels.ignore & (longer_px >= LEAST_PX))
    picked = boxes[evenly_by_class(labels.class_ids[boxes], most)]
    rows = labels.frame_rows()[picked]
    class_ids = labels.class_ids[picked]
    excluded = could_be_same(
        labels.time_s[rows], labels.boxes_xyxy[picked], gap_s=gap_s, place_s=place_s, place_iou=PLACE_IOU
    )
    same = class_ids[:, None] == class_ids[None, :]
    if not ((~excluded & same).any(axis=1) & (~excluded & ~same).any(axis=1)).any():
        counts = np.bincount(class_ids, minlength=len(labels.class_names))
        named = ", ".join(f"{count} {name}" for name, count in zip(labels.class_names, counts, strict=True))
        raise InputError(
            f"{run}: no crop has neighbours of its own class and of another ({named} on the kept frames). Use a run "
            f"that kept more frames of several classes, or lower --gap-s or --place-s."
        )
    images: list[ImageArray] = []
    for row in np.unique(rows):
        image = frames.image(int(labels.frame_ids[row]))
        images += [crop_of(image, labels.boxes_xyxy[box], crop_px) for box in picked[rows == row]]
    return Crops(images, class_ids, labels.class_names, excluded)


def evenly_by_class(class_ids: IntArray, most: int) -> IntArray:
    """Pick at most `most` rows, ascending: classes share evenly as far as each reaches, each evenly over its rows.

    Args:
        class_ids: In order of time, shape (N,).
        most: At least one.
    """
    groups = sorted((np.flatnonzero(class_ids == k) for k in np.unique(class_ids)), key=len)
    picked: list[IntArray] = []
    left = most
    for place, group in enumerate(groups):  # the smallest first: what it leaves goes to the others
        num = min(len(group), left // (len(groups) - place))
        left -= num
        picked.append(group[((np.arange(num) + 0.5) * len(group) / max(num, 1)).astype(np.int64)])
    return np.sort(np.concatenate(picked)).astype(np.int64) if picked else np.zeros(0, np.int64)


def coverage_row(rows: Sequence[Row], student: str) -> Row | None:
    """Return the best embedding that student scoring can keep: global means of the run's own student."""
    return next((row for row in rows if row.model == student and row.layer.pooling == GLOBAL), None)


def coverage_options(row: Row) -> str:
    """Return the options that make the strategy `coverage` use this embedding."""
    maps = "'[]'" if row.layer.layer == "all" else f"'[{row.layer.layer}]'"  # quoted for the shell
    return (
        f"--set score_frames.features true --set score_frames.feature_maps {maps} "
        f"--set cull_precision.strategy coverage"
    )


def plot(best: Row, crops: Crops, most: int, file: Path) -> None:
    """Draw the worst mistakes of an embedding: query, nearest of another class, nearest of its own class."""
    shown = best.mistakes[:most]
    figure = Figure(figsize=(6, 2 * max(1, len(shown))), layout="constrained")
    axes = np.atleast_2d(figure.subplots(max(1, len(shown)), 3, squeeze=False))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, mistake in zip(axes, shown, strict=False):
        for axis, row, title in zip(line, mistake, ("query", "nearest other", "nearest same"), strict=True):
            axis.imshow(crops.images[row])
            axis.set_title(f"{title}: {crops.class_names[int(crops.class_ids[row])]}", fontsize=8)
    figure.suptitle(f"{best.model}, map {best.layer.layer}, {best.layer.pooling}", fontsize=9)
    figure.savefig(file, dpi=110)


@click.command("embeddings")
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--model", "models", multiple=True, metavar="NAME[=WEIGHTS]",
    help="A detector to use; once for each. [default: the run's student and all trained ones at hand]",
)  # fmt: skip
@click.option("--crops", default=400, show_default=True, type=click.IntRange(2, 5000), help="Most crops.")
@click.option("--crop-px", default=128, show_default=True, type=click.IntRange(64), help="Side; multiple of 32.")
@click.option("--gap-s", default=5.0, show_default=True, type=click.FloatRange(0), help="Seconds of one object.")
@click.option("--place-s", default=60.0, show_default=True, type=click.FloatRange(0), help="The same, at one place.")
@click.option("--pictures", default=12, show_default=True, type=click.IntRange(0), help="Most mistakes drawn.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the two files. [default: RUN]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def embeddings(
    run_folder: Path, models: tuple[str, ...], crops: int, crop_px: int, gap_s: float, place_s: float, pictures: int,
    out: Path | None, device: str,
) -> None:  # fmt: skip
    """Rank the embeddings of the teacher's boxes on a finished RUN's kept frames by nearest neighbours.

    Prints the best of all and the best that the strategy `coverage` can use.
    """
    if crop_px % 32:
        raise ConfigError(f"--crop-px {crop_px} is not a multiple of 32, which every network needs. Pass 128.")
    student = settings_of(run_folder).student
    tried, left_out = candidates_of(models, student, teacher_of_labels(run_folder), option="--model", trained=False)
    cut = read_crops(run_folder, most=crops, crop_px=crop_px, gap_s=gap_s, place_s=place_s)
    rows: list[Row] = []
    for candidate in tried:
        try:
            detector = load_trainable(local_weights(candidate.ref), device=choose_device(device))
        except WeightsError as error:
            left_out[candidate.name] = str(error)
            continue
        rows += [row_of(candidate.name, layer, values, cut) for layer, values in embed_crops(detector, cut.images)]
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"{run_folder}: no model is left ({reasons}). Name one with weights.")
    rows.sort(key=lambda row: (-row.ranking.mean_average_precision, -row.ranking.precision_at_1, row.dimensions))
    folder = out or run_folder
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "embeddings.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].values())
        table.writeheader()
        table.writerows(row.values() for row in rows)
    plot(rows[0], cut, pictures, folder / "embeddings.png")
    for row in rows[:12]:
        found = row.ranking
        click.echo(
            f"{row.model:16} map {row.layer.layer:4} {row.layer.pooling:8} {row.dimensions:5} numbers  precision at 1 "
            f"{100 * found.precision_at_1:5.1f}  mAP {100 * found.mean_average_precision:5.1f}"
        )
    click.echo("\n".join(by_reason(left_out)))
    if (kept := coverage_row(rows, student.name)) is not None:
        click.echo(f"for coverage: culling run {coverage_options(kept)} ...")
    click.echo(f"files: {folder / 'embeddings.csv'}, {folder / 'embeddings.png'}")


if __name__ == "__main__":
    run_command(embeddings, "embeddings")
