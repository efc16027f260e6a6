"""Detections logged by the deployed student on the camera: checked, and joined to the frames by time.

Two forms, told apart by their lines, both one JSON object a line:

    detection-log/1   what `culling predict` writes (docs/serving.md): a line with "log" says which model looked, with
                      which thresholds; each other line is one frame, also one that holds nothing
    Frigate           messages of the topic frigate/events, as `mosquitto_sub -t frigate/events` prints them: "after" is
                      one object at `frame_time`. A frame is recorded if a message is of its time; Frigate does not say
                      which objects it saw there besides, nor anything of empty frames

Lines that are cut off or wrong are left out and counted: a log may be read while it is written.
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
"""Pictures whose ratios of width to height differ by more than this are not of one camera."""
LEAST_DIGEST = 6
"""Letters of a digest that tell a model."""


@dataclass(frozen=True, slots=True)
class Looker:
    """The log's source: the model that it names, or Frigate's camera."""

    name: str  # for people: gate@3 (0a1b2c3d), or camera gate
    key: str  # what logged_model may say: CAMERA@VERSION, else the detector's name; Frigate's camera
    digest: str  # of the model/1; empty: not known
    class_names: tuple[str, ...]  # empty: known box by box only
    thresholds: Mapping[str, float]  # class -> least score; empty: not said
    start: datetime.datetime | None  # wall clock at time 0; None: not known


@dataclass(slots=True)
class Record:
    """One frame of the log."""

    looker: Looker
    time_s: float  # since the looker's start; with `clock`, seconds since 1970
    clock: bool
    width_px: float  # 0: not said
    height_px: float
    boxes_xyxy: list[list[float]]
    scores: list[float]
    classes: list[str]


@dataclass(slots=True)
class Logged:
    """The usable part of a log."""

    images: dict[int, ImageDetections] = field(default_factory=dict)  # row of the frame -> its boxes, camera's classes
    notes: list[str] = field(default_factory=list)
    num_bad_lines: int = 0


def read_logged(config: LogConfig, table: FrameTable, classes: ClassMap) -> Logged:
    """The boxes of the frames that the log has a record of.

    Args:
        config: Which log, whose boxes, and how far from a frame a record may be.
        table: The frames, N of them.
        classes: The camera's classes; boxes of others are dropped.

    Raises:
        InputError: If the log is missing, nothing in it can be read, it is another model's, its thresholds are higher
            than `min_score`, its clock cannot be compared, or its pictures have another shape.
        StoreError: If the store does not give it.
    """
    found = Logged()
    records = list(_records(config.logged, found))
    if not records:
        raise InputError(
            f"{config.logged}: expected detections as JSON lines, found {found.num_bad_lines} lines and no frame among "
            f"them that can be read. See docs/serving.md for the form."
        )
    looker = _whose(config, records)
    mine = [record for record in records if record.looker.name == looker.name]
    if len(mine) < len(records):
        found.notes.append(f"log: {len(records) - len(mine):,} records are of others than {looker.name}")
    for one in {id(record.looker): record.looker for record in mine}.values():
        _check_thresholds(config, one, classes)
    _join(config, table, classes, mine, found)
    if found.num_bad_lines:
        found.notes.append(f"log: {found.num_bad_lines:,} lines could not be read and were left out")
    return found


def _records(uri: str, found: Logged) -> Iterator[Record]:
    """The log's frames, in its order; Frigate's objects of one moment become one frame."""
    looker: Looker | None = None
    moments: dict[tuple[str, float], Record] = {}
    for number, line in enumerate(_lines(uri), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            if "log" in values:
                looker = _looker(values)
            elif "after" in values:
                _add_frigate(values["after"], moments)
            elif looker is None:
                raise ValueError("a frame before any line with 'log'")
            else:
                yield _frame(values, looker)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            if found.num_bad_lines == 0:
                found.notes.append(f"log: line {number} is the first that cannot be read: {_said(error)}")
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
        raise InputError(
            f"{uri}: expected the log of a deployed student, found {error.strerror or error}. Check the path."
        ) from None


def _looker(values: Mapping[str, Any]) -> Looker:
    if values["log"] != SCHEMA:
        raise ValueError(f"expected {SCHEMA}, found {values['log']}")
    model = values["model"]
    digest, camera, version = str(model["model_digest"]), str(model.get("camera", "")), int(model.get("version", 0))
    named = f"{camera}@{version}" if camera and version else str(model["detector"])
    return Looker(
        name=f"{named} ({digest[:8]})" if digest else named,
        key=named,
        digest=digest,
        class_names=tuple(values["class_names"]),
        thresholds={str(name): float(score) for name, score in values["score_thresholds"].items()},
        start=datetime.datetime.fromisoformat(values["start_utc"]) if values.get("start_utc") else None,
    )


def _frame(values: Mapping[str, Any], looker: Looker) -> Record:
    boxes = [[float(side) for side in box] for box in values["boxes_xyxy"]]
    scores = [float(score) for score in values["scores"]]
    names = [str(name) for name in values["classes"]]
    if not len(boxes) == len(scores) == len(names):
        raise ValueError("boxes, scores and classes are not equally many")
    _check_boxes(boxes, scores)
    if unknown := set(names) - set(looker.class_names):
        raise ValueError(f"'{min(unknown)}' is not among the log's classes")
    return Record(
        looker, float(values["time_s"]), False, float(values["width_px"]), float(values["height_px"]),
        boxes, scores, names,
    )  # fmt: skip


def _add_frigate(after: Mapping[str, Any], moments: dict[tuple[str, float], Record]) -> None:
    """Put one object of a frigate/events message beside those of the same camera and moment."""
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
def _frigate(camera: str) -> Looker:
    return Looker(f"camera {camera}", camera, "", (), {}, None)


def _check_boxes(boxes: Iterable[list[float]], scores: Iterable[float]) -> None:
    for box in boxes:
        if len(box) != 4 or not all(np.isfinite(box)) or box[2] <= box[0] or box[3] <= box[1]:
            raise ValueError(f"{box} is no box (x1, y1, x2, y2)")
    for score in scores:
        if not 0 <= score <= 1:
            raise ValueError(f"a score of {score:g}, not of 0 to 1")


def _whose(config: LogConfig, records: list[Record]) -> Looker:
    """The one whose boxes count."""
    lookers = {record.looker.name: record.looker for record in records}
    counts = Counter(record.looker.name for record in records)
    there = ", ".join(f"{name} ({count:,} frames)" for name, count in counts.most_common())
    if not config.logged_model:
        if len(lookers) > 1:
            raise InputError(
                f"{config.logged}: expected the boxes of one model, found those of {there}. Say which by "
                f"score_frames.logged_model."
            )
        return next(iter(lookers.values()))
    wanted = config.logged_model
    fitting = [
        one
        for one in lookers.values()
        if one.key == wanted or (len(wanted) >= LEAST_DIGEST and one.digest.startswith(wanted))
    ]
    if len(fitting) != 1:
        what = "no frame of it" if not fitting else f"{len(fitting)} models of that name"
        raise InputError(
            f"{config.logged}: expected boxes of {wanted}, found {what}: {there}. Correct "
            f"score_frames.logged_model, or fetch the log of that model."
        )
    return fitting[0]


def _check_thresholds(config: LogConfig, looker: Looker, classes: ClassMap) -> None:
    """Doubtful boxes are what culling lives on; a log without them would pass for a student that has no doubts."""
    sources = {source for theirs in classes.sources.values() for source in theirs}
    floors = {name: score for name, score in looker.thresholds.items() if name in sources}
    worst, floor = max(floors.items(), key=lambda item: item[1], default=("", config.logged_min_score))
    if floor > config.min_score + 1e-6:
        of = f" of {worst}" if worst else ""
        raise InputError(
            f"{config.logged}: expected boxes{of} from a score of {config.min_score:g} on, found them from {floor:g} "
            f"on. Let the camera log all (culling predict --threshold {config.min_score:g}), or raise "
            f"score_frames.min_score and the cull's min_score to {floor:g}."
        )


def _join(config: LogConfig, table: FrameTable, classes: ClassMap, records: list[Record], found: Logged) -> None:
    """Give each frame its nearest record, if that is near enough."""
    shifts = {id(record.looker): _shift_s(config, table, record) for record in records}
    times = np.array([record.time_s + shifts[id(record.looker)] for record in records])
    order = np.argsort(times, kind="stable")
    times = times[order]
    after = np.clip(np.searchsorted(times, table.time_s), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(times[before] - table.time_s) <= np.abs(times[after] - table.time_s), before, after)
    near = np.abs(times[nearest] - table.time_s) <= config.logged_tolerance_s
    for names in {record.looker.class_names for record in records if record.looker.class_names}:
        classes.index_for(config.logged, names)  # it refuses where the model does not know all of the camera's
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
            f"{config.logged}: no record lies within {config.logged_tolerance_s:g} s of any of these "
            f"{len(table)} frames; the nearest is {gap:.2f} s away. Check that log and footage "
            f"are of the same hours, or raise score_frames.logged_tolerance_s."
        )


def _shift_s(config: LogConfig, table: FrameTable, record: Record) -> float:
    """Compute the offset that makes the log's times count from the start of the footage."""
    ours = datetime.datetime.fromisoformat(table.start_utc) if table.start_utc else None
    if record.clock:
        if ours is None:
            raise InputError(
                f"{config.logged}: this log has wall-clock times only, and the footage's wall clock is unknown. "
                f"Name the video files by date and time (extract_frames.name_time_pattern)."
            )
        return -_aware(ours).timestamp()
    theirs = record.looker.start
    if ours is None or theirs is None:  # both count from the start of the same footage
        return 0.0
    return (_aware(theirs) - _aware(ours)).total_seconds()


def _aware(moment: datetime.datetime) -> datetime.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)


def _scale(config: LogConfig, record: Record, width_px: int, height_px: int) -> float:
    """From px of the log's picture to px of the frame."""
    logged_width = record.width_px or float(config.logged_width_px) or float(width_px)
    if record.height_px and abs(logged_width / record.height_px * height_px / width_px - 1) > SAME_SHAPE:
        raise InputError(
            f"{config.logged}: expected pictures of the shape of {width_px}x{height_px} px, found "
            f"{record.width_px:g}x{record.height_px:g}. The log is of another camera or stream."
        )
    return width_px / logged_width


def _said(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "it is no JSON"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return str(error)
