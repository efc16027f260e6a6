"""Detection logs of the deployed student, checked and joined to the frames by time.

Two formats, both one JSON object a line, recognised by their lines:

    detection-log/1   the log of `culling predict` (docs/serving.md): a line with "log" names the model and its
                      thresholds; each other line is one frame, also without boxes
    Frigate           messages of the topic frigate/events, as `mosquitto_sub -t frigate/events` prints them: "after" is
                      one object at `frame_time`. A frame counts as recorded if a message has its time, although Frigate
                      may omit other objects there; it records no empty frames

Cut off or invalid lines are skipped and counted: a log may be read while it is written.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dataset_culling.artifacts.detection_log import SCHEMA
from dataset_culling.artifacts.frames import FrameTable
from dataset_culling.errors import InputError
from dataset_culling.inference.log_config import LogConfig
from dataset_culling.storage import is_remote, open_object
from dataset_culling.types import ClassMap, ImageDetections

SAME_SHAPE = 0.01
"""Largest relative difference between the aspect ratios of log and frames of one camera."""
LEAST_DIGEST = 6
"""Least letters of a digest that identify a model."""


@dataclass(frozen=True, slots=True)
class Model:
    """The model of a record, as the log names it, or Frigate's camera."""

    name: str  # in messages: gate@3 (0a1b2c3d), or camera gate
    key: str  # for logged_model: CAMERA@VERSION, else the detector's name; Frigate's camera
    digest: str  # of the model/1; empty: unknown
    class_names: tuple[str, ...]  # empty: unknown
    thresholds: Mapping[str, float]  # class -> least score; empty: unknown
    start: datetime.datetime | None  # wall clock at time 0; None: unknown


@dataclass(slots=True)
class Record:
    """One frame of the log."""

    model: Model
    time_s: float  # since the model's start; with `clock`, seconds since 1970
    clock: bool
    width_px: float  # 0: unknown
    height_px: float
    boxes_xyxy: list[list[float]]
    scores: list[float]
    classes: list[str]


@dataclass(slots=True)
class Logged:
    """The records of a log that match frames."""

    images: dict[int, ImageDetections] = field(default_factory=dict)  # row of the frame -> its boxes, camera's classes
    notes: list[str] = field(default_factory=list)
    num_bad_lines: int = 0


def read_logged(config: LogConfig, table: FrameTable, classes: ClassMap) -> Logged:
    """Read the boxes of the frames that have a record in the log.

    Args:
        config: The log, and the options of reading it.
        table: The frames, N of them.
        classes: The camera's classes; boxes of others are dropped.

    Raises:
        InputError: If the log is missing, unreadable or another model's, its thresholds exceed `min_score`, its clock
            cannot be compared, or its images have another shape.
        StoreError: If the store fails.
    """
    found = Logged()
    records = list(_records(config.logged, found))
    if not records:
        raise InputError(
            f"{config.logged}: expected detections as JSON lines, found {found.num_bad_lines} lines and no readable "
            f"frame. See docs/serving.md for the format."
        )
    model = _choose_model(config, records)
    mine = [record for record in records if record.model.name == model.name]
    if len(mine) < len(records):
        found.notes.append(f"log: {len(records) - len(mine):,} records are of other models than {model.name}")
    for one in {id(record.model): record.model for record in mine}.values():
        _check_thresholds(config, one, classes)
    _join(config, table, classes, mine, found)
    if found.num_bad_lines:
        found.notes.append(f"log: skipped {found.num_bad_lines:,} unreadable lines")
    return found


def _records(uri: str, found: Logged) -> Iterator[Record]:
    """Yield the log's frames in order; Frigate's objects of one moment become one frame."""
    model: Model | None = None
    moments: dict[tuple[str, float], Record] = {}
    for number, line in enumerate(_lines(uri), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if "log" in values:
                model = _model(values)
            elif "after" in values:
                _add_frigate(values["after"], moments)
            elif model is None:
                raise ValueError("a frame before any line with 'log'")
            else:
                yield _frame(values, model)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if found.num_bad_lines == 0:
                found.notes.append(f"log: line {number} is the first unreadable one: {_describe(error)}")
            found.num_bad_lines += 1
    yield from moments.values()


def _lines(uri: str) -> Iterator[bytes]:
    if is_remote(uri):
        with open_object(uri) as file:
            yield from file
        return
    try:
        with Path(uri).open("rb") as file:
            yield from file
    except OSError as error:
        raise InputError(f"{uri}: the log cannot be read ({error.strerror or error}). Check the path.") from None


def _model(values: Mapping[str, Any]) -> Model:
    if values["log"] != SCHEMA:
        raise ValueError(f"expected {SCHEMA}, found {values['log']}")
    model = values["model"]
    digest, camera, version = str(model["model_digest"]), str(model.get("camera", "")), int(model.get("version", 0))
    named = f"{camera}@{version}" if camera and version else str(model["detector"])
    return Model(
        name=f"{named} ({digest[:8]})" if digest else named,
        key=named,
        digest=digest,
        class_names=tuple(values["class_names"]),
        thresholds={str(name): float(score) for name, score in values["score_thresholds"].items()},
        start=datetime.datetime.fromisoformat(values["start_utc"]) if values.get("start_utc") else None,
    )


def _frame(values: Mapping[str, Any], model: Model) -> Record:
    boxes = [[float(side) for side in box] for box in values["boxes_xyxy"]]
    scores = [float(score) for score in values["scores"]]
    names = [str(name) for name in values["classes"]]
    if not len(boxes) == len(scores) == len(names):
        raise ValueError("boxes, scores and classes differ in number")
    _check_boxes(boxes, scores)
    if unknown := set(names) - set(model.class_names):
        raise ValueError(f"'{min(unknown)}' is not among the log's classes")
    return Record(
        model, float(values["time_s"]), False, float(values["width_px"]), float(values["height_px"]),
        boxes, scores, names,
    )  # fmt: skip


def _add_frigate(after: Mapping[str, Any], moments: dict[tuple[str, float], Record]) -> None:
    """Add one object of a frigate/events message to those of the same camera and moment."""
    if after.get("false_positive"):
        return
    camera, time_s = str(after["camera"]), float(after["frame_time"])
    box, score = [float(side) for side in after["box"]], float(after["score"])
    label = str(after["label"])
    _check_boxes([box], [score])
    if (camera, time_s) not in moments:
        moments[camera, time_s] = Record(_frigate(camera), time_s, True, 0.0, 0.0, [], [], [])
    record = moments[camera, time_s]
    record.boxes_xyxy.append(box)
    record.scores.append(score)
    record.classes.append(label)


@functools.cache
def _frigate(camera: str) -> Model:
    return Model(f"camera {camera}", camera, "", (), {}, None)


def _check_boxes(boxes: Iterable[list[float]], scores: Iterable[float]) -> None:
    for box in boxes:
        if len(box) != 4 or not all(np.isfinite(box)) or box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError(f"{box} is not a box (x1, y1, x2, y2)")
    for score in scores:
        if not 0 <= score <= 1:
            raise ValueError(f"a score of {score:g} is outside 0 to 1")


def _choose_model(config: LogConfig, records: list[Record]) -> Model:
    models = {record.model.name: record.model for record in records}
    counts = Counter(record.model.name for record in records)
    there = ", ".join(f"{name} ({count:,} frames)" for name, count in counts.most_common())
    wanted = config.logged_model
    if not wanted:
        if len(models) > 1:
            raise InputError(
                f"{config.logged}: expected the boxes of one model, found those of {there}. Name one by "
                f"score_frames.logged_model."
            )
        return next(iter(models.values()))
    fitting = [
        one
        for one in models.values()
        if one.key == wanted or (len(wanted) >= LEAST_DIGEST and one.digest.startswith(wanted))
    ]
    if len(fitting) != 1:
        what = "no frame of it" if not fitting else f"{len(fitting)} models of that name"
        raise InputError(
            f"{config.logged}: expected boxes of {wanted}, found {what}: {there}. Fix score_frames.logged_model, or "
            f"fetch the log of that model."
        )
    return fitting[0]


def _check_thresholds(config: LogConfig, model: Model, classes: ClassMap) -> None:
    """Refuse a log without low scores: the cull ranks frames by them, and the student would look certain."""
    sources = {source for theirs in classes.sources.values() for source in theirs}
    floors = {name: score for name, score in model.thresholds.items() if name in sources}
    worst, floor = max(floors.items(), key=lambda item: item[1], default=("", config.logged_min_score))
    if floor > config.min_score + 1e-6:
        of = f" of {worst}" if worst else ""
        raise InputError(
            f"{config.logged}: expected boxes{of} from a score of {config.min_score:g} on, found them from {floor:g} "
            f"on. Let the camera log all (culling predict --threshold {config.min_score:g}), or raise "
            f"score_frames.min_score and the cull's min_score to {floor:g}."
        )


def _join(config: LogConfig, table: FrameTable, classes: ClassMap, records: list[Record], found: Logged) -> None:
    """Find the nearest record of each frame, and keep it if it is near enough."""
    shifts = {id(record.model): _shift_s(config, table, record) for record in records}
    times = np.array([record.time_s + shifts[id(record.model)] for record in records])
    order = np.argsort(times, kind="stable")
    times = times[order]
    after = np.clip(np.searchsorted(times, table.time_s), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times[before] - table.time_s) <= np.abs(times[after] - table.time_s), before, after)
    near = np.abs(times[nearest] - table.time_s) <= config.logged_tolerance_s
    for names in {record.model.class_names for record in records if record.model.class_names}:
        classes.index_for(config.logged, names)  # raises if the model lacks one of the camera's classes
    owner = {source: row for row, theirs in enumerate(classes.sources.values()) for source in theirs}
    for row in np.flatnonzero(near).tolist():
        record = records[int(order[nearest[row]])]
        scale = _scale(config, record, int(table.width_px[row]), int(table.height_px[row]))
        image = ImageDetections(
            (np.array(record.boxes_xyxy, np.float64).reshape(-1, 4) * scale).astype(np.float32),
            np.array(record.scores, np.float32),
            np.array([owner.get(name, -1) for name in record.classes], np.int64),
        )
        image = image.rows(np.argsort(-image.scores, kind="stable"))
        found.images[row] = image.rows((image.class_ids >= 0) & (image.scores >= np.float32(config.min_score)))
    if not found.images:
        gap = float(np.abs(times[nearest] - table.time_s).min()) if len(table) else 0.0
        raise InputError(
            f"{config.logged}: no record lies within {config.logged_tolerance_s:g} s of any of these {len(table)} "
            f"frames; the nearest is {gap:.2f} s away. Check that log and footage are of the same hours, or raise "
            f"score_frames.logged_tolerance_s."
        )


def _shift_s(config: LogConfig, table: FrameTable, record: Record) -> float:
    """Compute the shift of the log's times to the start of the footage."""
    ours = datetime.datetime.fromisoformat(table.start_utc) if table.start_utc else None
    if record.clock:
        if ours is None:
            raise InputError(
                f"{config.logged}: this log has wall-clock times only, and the footage's wall clock is unknown. "
                f"Name the video files by date and time (extract_frames.name_time_pattern)."
            )
        return -_aware(ours).timestamp()
    theirs = record.model.start
    if ours is None or theirs is None:  # both count from the start of the same footage
        return 0.0
    return (_aware(theirs) - _aware(ours)).total_seconds()


def _aware(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _scale(config: LogConfig, record: Record, width_px: int, height_px: int) -> float:
    """Compute the factor from px of the log's image to px of the frame."""
    logged_width = record.width_px or float(config.logged_width_px) or float(width_px)
    if record.height_px and abs(logged_width / record.height_px * height_px / width_px - 1) > SAME_SHAPE:
        raise InputError(
            f"{config.logged}: expected images of the shape of {width_px}x{height_px} px, found "
            f"{record.width_px:g}x{record.height_px:g}. The log is of another camera or stream."
        )
    return width_px / logged_width


def _describe(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is not JSON"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error)
