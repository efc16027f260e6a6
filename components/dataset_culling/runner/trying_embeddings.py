"""Embeddings of a camera's own crops: which model, feature map and pooling tells its classes apart best.

    embeddings.csv     a line for each embedding, the best first
    embeddings.json    the same with the settings
    embeddings.html    the table, and pictures of neighbours of another class

Source of the idea: Hirner, Transfer Learning for Fun and Profit (2017): model, layer and pooling are judged by
nearest-neighbour ranking and by how plausible the false positives are.

N = crops, Q = those of them that are asked (queries).
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import read_labels
from dataset_culling.artifacts.selection import read_selection
from dataset_culling.detectors.embedding import GLOBAL, Layer, crop_of, embed_crops
from dataset_culling.detectors.table import load_trainable
from dataset_culling.engine.finished import TRAINING, inputs_of
from dataset_culling.engine.stage_main import choose_device
from dataset_culling.errors import InputError, WeightsError
from dataset_culling.evaluation.neighbours import (
    Float64Array,
    Ranking,
    cosine_distances,
    could_be_same,
    rank_neighbours,
)
from dataset_culling.report.embeddings import FalseNeighbour, Gallery, Seen, embeddings_page
from dataset_culling.runner.writing import write_page
from dataset_culling.stages.detecting import local_weights
from dataset_culling.tuning.candidates import Candidate, by_reason
from dataset_culling.types import BoolArray, FloatArray, ImageArray, IntArray

CSV, JSON, HTML = "embeddings.csv", "embeddings.json", "embeddings.html"
PLACE_IOU = 0.3
"""Boxes that overlap by this are at one place."""
LEAST_PX = 16
"""Boxes whose longer side is shorter show nothing that could be told."""
LINES = 12
"""Embeddings that are printed; all are in the files."""


@dataclass(frozen=True, slots=True)
class Crops:
    """What is embedded."""

    images: list[ImageArray]  # N, each (S, S, 3)
    class_ids: IntArray  # (N,)
    class_names: tuple[str, ...]
    time_s: Float64Array  # (N,)
    excluded: BoolArray  # (N, N) pairs that may show one object
    of_boxes: int  # how many there were to draw from


@dataclass(frozen=True, slots=True)
class Row:
    """An embedding and what came of it."""

    model: str
    layer: Layer
    dimensions: int
    ranking: Ranking
    to_same: Float64Array  # (Q,) each query's distance to its nearest crop of the same class, queries in order
    to_other: Float64Array  # (Q,) and to its nearest of another class

    @property
    def name(self) -> str:
        """For people."""
        where = "all maps" if self.layer.layer == "all" else f"map {self.layer.layer} (stride {self.layer.stride_px})"
        return f"{self.model}, {where}, {self.layer.pooling}"

    def values(self) -> dict[str, Any]:
        """For machines; shares are 0..1, distances 0..2."""
        found = self.ranking
        return {
            "model": self.model,
            "layer": self.layer.layer,
            "stride_px": self.layer.stride_px,
            "pooling": self.layer.pooling,
            "dimensions": self.dimensions,
            "precision_at_1": found.precision_at_1,
            "mean_average_precision": found.mean_average_precision,
            "chance": found.chance,
            "same_distance": found.same_distance,
            "other_distance": found.other_distance,
            "separation": found.separation,
            "queries": found.num_queries,
        }


def print_embeddings(
    run: Path,
    own: str,
    candidates: Sequence[Candidate],
    left_out: dict[str, str],
    *,
    num_crops: int,
    crop_px: int,
    gap_s: float,
    place_s: float,
    num_pictures: int,
    out: Path,
    device: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Rank the embeddings, write what came of it, print it; see `culling embeddings --help`, which has the options.

    Args:
        run: A finished one.
        own: Its student's name.
        candidates: The models.
        left_out: Those that are not looked at, with the reason; those that turn out to fail are added.

    Raises:
        ConfigError: If an option is wrong.
        InputError: If the crops are too few or of one class, or no model is left.
        OutputError: If the files cannot be written.
    """
    crops = read_crops(run, most=num_crops, crop_px=crop_px, gap_s=gap_s, place_s=place_s)
    rows: list[Row] = []
    chosen_device = choose_device(device)
    hidden = quiet or not sys.stderr.isatty()
    with click.progressbar(candidates, label="Models", hidden=hidden, file=sys.stderr) as bar:
        for candidate in bar:
            try:
                detector = load_trainable(local_weights(candidate.ref), device=chosen_device)
            except WeightsError as error:
                left_out[candidate.name] = str(error)
                continue
            for layer, values in embed_crops(detector, crops.images):
                rows.append(row_of(candidate.name, layer, values, crops))
    if not rows:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"{run}: expected a model to look through, found none ({reasons})")
    rows.sort(key=lambda row: (-row.ranking.mean_average_precision, -row.ranking.precision_at_1, row.dimensions))
    best, kept = rows[0], for_coverage(rows, own)
    rule = (
        f"A crop is no neighbour of another that is within {gap_s:g} s of it, or within {place_s:g} s at the same "
        f"place (IoU of {PLACE_IOU:g} or more): it may be the same object."
    )
    report = {
        "run": str(run),
        "best": best.values(),
        "coverage": None if kept is None else {**kept.values(), "set": coverage_options(kept)},
        "rule": rule,
        "crops": len(crops.images),
        "boxes": crops.of_boxes,
        "class_names": list(crops.class_names),
        "crops_by_class": np.bincount(crops.class_ids, minlength=len(crops.class_names)).tolist(),
        "left_out": left_out,
        "rows": [row.values() for row in rows],
    }
    write_page(out / CSV, as_csv(rows))
    write_page(out / JSON, json.dumps(report, indent=1) + "\n")
    shown = [best] if kept is None or kept is best else [best, kept]
    galleries = [
        Gallery(row.name, "best of all" if row is best else "for coverage", *_false_share(row),
                false_neighbours(row, crops, num_pictures))
        for row in shown
    ]  # fmt: skip
    said = said_of(rows, own)
    write_page(
        out / HTML, embeddings_page(run.resolve().name, [_cells(row) for row in rows], galleries, said=said, rule=rule)
    )
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    click.echo("\n".join([*lines(rows, crops, rule, left_out), *said]))
    click.echo(f"all of it: {out / CSV}, {out / JSON}, {out / HTML}")


def row_of(model: str, layer: Layer, values: FloatArray, crops: Crops) -> Row:
    """Rank the crops by an embedding; its N x N distances are let go, as there are dozens of embeddings.

    Args:
        model: As a person names it.
        layer: Where the embedding comes from.
        values: Shape (N, D).
        crops: What was embedded.
    """
    distance = cosine_distances(values)
    ranking = rank_neighbours(distance, crops.class_ids, crops.excluded)
    queries = np.flatnonzero(ranking.is_query)
    to_same = distance[queries, ranking.nearest_same[queries]]
    to_other = distance[queries, ranking.nearest_other[queries]]
    return Row(model, layer, values.shape[1], ranking, to_same, to_other)


def read_crops(run: Path, *, most: int, crop_px: int, gap_s: float, place_s: float) -> Crops:
    """The teacher's sure boxes on the run's kept frames, cut out.

    Args:
        run: Folder of a finished run.
        most: Of how many crops at most; of more, as many of every class as it has, evenly over time.
        crop_px: Side of a crop.
        gap_s: See `evaluation.neighbours.could_be_same`.
        place_s: See there.

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
    time_s = labels.time_s[rows]
    excluded = could_be_same(
        time_s, labels.boxes_xyxy[picked], gap_s=gap_s, place_s=place_s, place_iou=PLACE_IOU
    )  # fmt: skip
    class_ids = labels.class_ids[picked]
    counts = np.bincount(class_ids, minlength=len(labels.class_names))
    named = ", ".join(f"{count} {name}" for name, count in zip(labels.class_names, counts, strict=True))
    if np.count_nonzero(counts) < 2:
        raise InputError(
            f"{run}: expected crops of two classes, as an embedding is judged by how it tells them apart, found "
            f"{named} on the kept frames. Use a run of a camera that sees several classes."
        )
    same = class_ids[:, None] == class_ids[None, :]
    if not ((~excluded & same).any(axis=1) & (~excluded & ~same).any(axis=1)).any():
        raise InputError(
            f"{run}: expected crops with neighbours of their own class and of another, found {named} on the kept "
            f"frames, none with both once those that may show one object are left out. Lower --gap-s or --place-s, or "
            f"use a run that kept more."
        )
    images: list[ImageArray] = []
    for row in np.unique(rows):
        image = frames.image(int(labels.frame_ids[row]))
        images += [crop_of(image, labels.boxes_xyxy[box], crop_px) for box in picked[rows == row]]
    return Crops(images, class_ids, labels.class_names, time_s, excluded, len(boxes))


def evenly_by_class(class_ids: IntArray, most: int) -> IntArray:
    """At most `most` of the rows, ascending: classes share evenly as far as each reaches, each evenly over its rows.

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


def for_coverage(rows: Sequence[Row], student: str) -> Row | None:
    """The best embedding that student scoring can keep of a frame: global means of the run's own student.

    Args:
        rows: The best first.
        student: The detector's name.
    """
    return next((row for row in rows if row.model == student and row.layer.pooling == GLOBAL), None)


def coverage_options(row: Row) -> str:
    """What makes the strategy coverage go by this embedding."""
    maps = "'[]'" if row.layer.layer == "all" else f"'[{row.layer.layer}]'"  # quoted, as shells look for such files
    return (
        f"--set score_frames.features true --set score_frames.feature_maps {maps} "
        f"--set cull_precision.strategy coverage"
    )


def said_of(rows: Sequence[Row], student: str) -> list[str]:
    """What to take, in sentences."""
    best, kept = rows[0], for_coverage(rows, student)
    text = [f"Best of all: {best.name} ({best.dimensions} numbers)."]
    if kept is None:
        return [*text, f"For coverage: not known, as the run's student, {student}, is not among the models."]
    if kept is not best:
        behind = 100 * (best.ranking.mean_average_precision - kept.ranking.mean_average_precision)
        text.append(
            f"Scoring keeps global means of the student's own maps; of these the best is {kept.name}, {behind:.1f} "
            f"points of mAP behind."
        )
    return [*text, f"For coverage: {kept.name}.", f"  culling run {coverage_options(kept)} ..."]


def false_neighbours(row: Row, crops: Crops, most: int) -> tuple[FalseNeighbour, ...]:
    """Queries with the nearest crop of another class, the most mistaken first; no crop is shown twice for it.

    Mistaken is one whose nearest of another class is nearer than that of its own; near misses follow.
    """
    found: list[FalseNeighbour] = []
    ranking = row.ranking
    queries, same, other = np.flatnonzero(ranking.is_query), row.to_same, row.to_other
    shown: set[int] = set()
    for place in np.argsort(other - same, kind="stable"):
        query, wrong = int(queries[place]), int(ranking.nearest_other[queries[place]])
        if len(found) == most:
            break
        if wrong in shown or query in shown:
            continue
        shown |= {wrong, query}
        right = int(ranking.nearest_same[query])
        found.append(
            FalseNeighbour(
                _seen(crops, query, 0.0),
                _seen(crops, wrong, float(other[place])),
                _seen(crops, right, float(same[place])),
            )
        )
    return tuple(found)


def _seen(crops: Crops, row: int, distance: float) -> Seen:
    name = crops.class_names[int(crops.class_ids[row])]
    return Seen(crops.images[row], name, float(crops.time_s[row]), distance)


def _false_share(row: Row) -> tuple[int, int]:
    """How many queries have their nearest neighbour in another class, and how many queries there are."""
    return int((row.to_other < row.to_same).sum()), len(row.to_same)


def as_csv(rows: Sequence[Row]) -> str:
    """Every figure of every embedding, the best first."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(rows[0].values())
    for row in rows:
        lines.writerow([f"{one:.6g}" if isinstance(one, float) else one for one in row.values().values()])
    return out.getvalue()


def _cells(row: Row) -> tuple[str, ...]:
    found = row.ranking
    return (
        row.model,
        "all" if row.layer.layer == "all" else f"{row.layer.layer} (1/{row.layer.stride_px})",
        row.layer.pooling,
        str(row.dimensions),
        f"{100 * found.precision_at_1:.1f}",
        f"{100 * found.mean_average_precision:.1f}",
        f"{found.same_distance:.3f}",
        f"{found.other_distance:.3f}",
        f"{found.separation:.2f}",
    )


def lines(rows: Sequence[Row], crops: Crops, rule: str, left_out: Mapping[str, str]) -> list[str]:
    """What the terminal shows, the best first."""
    wide = max([len("model"), *(len(row.model) for row in rows)])
    heads = ("map", "pooling", "numbers", "nearest", "mAP", "same", "other", "separation")
    text = [f"{'model':{wide}}" + "".join(_columns(heads))]
    text += [f"{row.model:{wide}}" + "".join(_columns(_cells(row)[1:])) for row in rows[:LINES]]
    if len(rows) > LINES:
        text.append(f"and {len(rows) - LINES} more")
    counts = np.bincount(crops.class_ids, minlength=len(crops.class_names))
    named = ", ".join(f"{count} {name}" for name, count in zip(crops.class_names, counts, strict=True))
    first = rows[0].ranking
    return [
        *text,
        f"{len(crops.images)} of {crops.of_boxes} crops ({named}), {first.num_queries} of them asked.",
        f"Nearest: nearest neighbours of the same class, per hundred; chance gives {100 * first.chance:.1f}. mAP: of "
        f"the whole ranking.",
        "Same, other: mean cosine distance to the same class and to others. All are means over classes.",
        rule,
        *by_reason(left_out),
    ]


def _columns(cells: Sequence[str]) -> Iterator[str]:
    return (f"{cell:>11}" for cell in cells)
