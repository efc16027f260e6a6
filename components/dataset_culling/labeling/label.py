"""Teacher labels: thresholds, ignore regions, self-consistency and tracks put together.

N = frames, M = boxes over all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import WorstBox
from dataset_culling.config import did_you_mean
from dataset_culling.detectors.table import load_detector
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.inference.detect import ScanLog, View, local_weights, scan
from dataset_culling.labeling.config import LabelingConfig
from dataset_culling.labeling.linking import laptrack_class
from dataset_culling.labeling.self_consistency import (
    Float64Array,
    agreement,
    flipped,
    frame_trust,
    mark_doubtful,
    mirrored,
    neighbours,
    worst_boxes,
    zoomed_out,
)
from dataset_culling.labeling.tracks import Mended, mend
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.types import BoolArray, ClassMap, Detections, IntArray, parse_classes

Progress = Callable[[int, int], None]
SAME_TIME_S = 1e-3  # frame ids are of one footage where their times agree to a millisecond


@dataclass(frozen=True, slots=True)
class Trust:
    """Trust in the teacher's labels: agreement with other views of the same frames."""

    of_boxes: Float64Array  # (M,) 0..1
    of_frames: Float64Array  # (N,) 0..1, mean over the frame's boxes that score enough to be labels
    worst: tuple[WorstBox, ...]  # least trusted first


@dataclass(frozen=True, slots=True)
class TeacherLabels:
    """A teacher's labels of frames, with their trust and origin."""

    labels: Detections  # boxes that are doubtful by score or by trust are marked `ignore`
    trust: Trust | None  # None: not measured
    seconds_per_look: float  # one pass of the teacher over one frame
    num_looks: int  # passes over frames, other views counted
    mended: Mended | None  # None: objects were not linked over time
    linking_s: float  # linking and repairing labels, all frames together
    notes: tuple[str, ...] = ()  # for the log


def label_frames(
    config: LabelingConfig,
    frames: FrameReader,
    frame_ids: IntArray,
    *,
    device: str,
    progress: Progress,
    student: Detections | None = None,
) -> TeacherLabels:
    """Label frames with the teacher; mark doubtful boxes and, if asked for, repair labels along tracks.

    Args:
        config: The teacher and its thresholds.
        frames: The frames.
        frame_ids: Frames to label, ascending, shape (N,).
        device: "cpu", "cuda" or "cuda:N".
        progress: Called with passes over frames done and in all.
        student: The student's boxes on the same footage, for tracks.

    Raises:
        ConfigError: If a threshold names an unknown class, the teacher knows none of a class's sources, or laptrack is
            needed and not installed.
    """
    if config.tracks.enabled:
        laptrack_class()  # fails now, not after hours of inference
    classes = parse_classes(config.classes)
    thresholds = _thresholds(config, classes)
    teacher = load_detector(local_weights(config.teacher), device=device)
    near = "neighbours" in config.trust
    seen_ids = _with_neighbours(frames, frame_ids, config.trust_gap_s) if near else frame_ids
    views = _views(config)
    total = len(seen_ids) + len(views) * len(frame_ids)
    done = 0
    log = ScanLog()
    watch = Stopwatch()

    def finished(labels: Detections, of_boxes: Float64Array | None) -> TeacherLabels:
        seconds_per_look = watch.seconds() / max(log.num_looked, 1)
        linking = Stopwatch()
        mended = mend(labels, config.tracks, student=student) if config.tracks.enabled else None
        linking_s = 0.0 if mended is None else linking.seconds()
        trust = None if of_boxes is None else _trust(config, labels, of_boxes, sure, mended)
        notes = tuple(dict.fromkeys(log.notes))
        chosen = labels if mended is None else mended.labels
        return TeacherLabels(chosen, trust, seconds_per_look, total, mended, linking_s, notes)

    def look(ids: IntArray, view: View | None = None, *, min_score: float) -> Detections:
        nonlocal done
        found = scan(
            frames, ids, teacher, classes, side_px=config.teacher.side_px, min_score=min_score,
            batch_size=config.batch_size, progress=lambda now, _: progress(done + now, total), view=view,
            log=log, precision=config.precision, backend=config.backend,
        )  # fmt: skip
        done += len(ids)
        return found

    seen = look(seen_ids, min_score=config.doubtful_score)
    boxes = seen.take(seen.rows_of(frame_ids)) if near else seen
    sure = boxes.scores >= thresholds[boxes.class_ids]
    labels = replace(boxes, ignore=~sure)
    if config.trust == "off":
        return finished(labels, None)
    # A box that scores slightly less in another view is still found again, so other views have a lower threshold.
    again = [look(frame_ids, view, min_score=config.doubtful_score / 2) for view in views]
    if views:
        again[0] = mirrored(again[0], frames.table.width_px[np.searchsorted(frames.table.frame_ids, frame_ids)])
    beside = []
    if near:
        both = (neighbours(seen, step, max_gap_s=config.trust_gap_s) for step in (-1, 1))
        beside = [side.take(side.rows_of(frame_ids)) for side in both]
    of_boxes = agreement(boxes, again, near=beside)
    marked = mark_doubtful(labels, of_boxes, least=config.min_trust, by_class=config.min_trust_by_class)
    return finished(marked, of_boxes)


def student_boxes(config: LabelingConfig, inputs: Mapping[str, Path], frames: FrameReader) -> Detections | None:
    """Read the student's boxes for linking objects; None if `tracks` is off or no detections are given.

    Args:
        config: With the camera's classes.
        inputs: `detections`, a detections/1, or nothing.
        frames: The frames to label.

    Raises:
        InputError: If they are of other classes or other footage.
    """
    if not config.tracks.enabled or "detections" not in inputs:
        return None
    path, found = inputs["detections"], read_detections(inputs["detections"])
    names = parse_classes(config.classes).names
    if found.class_names != names:
        raise InputError(
            f"{path}: expected the camera's classes ({', '.join(names)}), found {', '.join(found.class_names)}. "
            f"Pass detections and frames of the same run."
        )
    shared, ours, theirs = np.intersect1d(frames.table.frame_ids, found.frame_ids, return_indices=True)
    apart_s = np.abs(frames.table.time_s[ours] - found.time_s[theirs])
    if apart_s.max(initial=0.0) > SAME_TIME_S:
        at = int(np.argmax(apart_s > SAME_TIME_S))
        raise InputError(
            f"{path}: expected frame {shared[at]} at {frames.table.time_s[ours[at]]:g} s as in {frames.path}, found it "
            f"at {found.time_s[theirs[at]]:g} s. Pass detections and frames of the same run."
        )
    return found


def _trust(
    config: LabelingConfig, labels: Detections, of_boxes: Float64Array, sure: BoolArray, mended: Mended | None
) -> Trust:
    """Compute trust of frames from the teacher's own boxes; a filled box has the trust of the box it is based on."""
    of_frames = frame_trust(labels, of_boxes, sure)
    if mended is None:
        worst = worst_boxes(labels, of_boxes, sure, most=config.list_worst)
        return Trust(of_boxes, of_frames, _describe(labels, of_boxes, worst))
    own = np.array([source in ("teacher", "doubtful") for source in mended.source], np.bool_)
    after = labels.ignore.copy()
    after[mended.stands_on[own]] = mended.labels.ignore[own]
    there = np.isin(np.arange(len(sure)), mended.stands_on[own])  # dropped boxes are not listed
    worst = worst_boxes(labels, of_boxes, sure & there, most=config.list_worst)
    return Trust(of_boxes[mended.stands_on], of_frames, _describe(replace(labels, ignore=after), of_boxes, worst))


def _views(config: LabelingConfig) -> list[View]:
    """Return the other views asked for, the mirrored one first."""
    views: list[View] = []
    if "flip" in config.trust:
        views.append(View("flipped", flipped))
    if "scale" in config.trust:
        views.append(View(f"scale {config.trust_scale}", lambda image: zoomed_out(image, config.trust_scale)))
    return views


def _thresholds(config: LabelingConfig, classes: ClassMap) -> Float64Array:
    """Return the least score of each class, shape (C,)."""
    for key in ("min_score_by_class", "min_trust_by_class"):
        for name in getattr(config, key):
            if name not in classes.names:
                raise ConfigError(
                    f"{key}: unknown class '{name}'.{did_you_mean(name, list(classes.names))} "
                    f"The camera's classes are {', '.join(classes.names)}."
                )
    return np.array([config.min_score_by_class.get(name, config.min_score) for name in classes.names])


def _with_neighbours(frames: FrameReader, frame_ids: IntArray, max_gap_s: float) -> IntArray:
    """Add the frames right before and after the named ones, where they are near enough; ascending."""
    ids, time_s = frames.table.frame_ids, frames.table.time_s
    rows = np.searchsorted(ids, frame_ids)
    wanted = [rows]
    for step in (-1, 1):
        beside = rows + step
        there = (beside >= 0) & (beside < len(ids))
        there[there] = np.abs(time_s[beside[there]] - time_s[rows[there]]) <= max_gap_s
        wanted.append(beside[there])
    found: IntArray = ids[np.unique(np.concatenate(wanted))]
    return found


def _describe(labels: Detections, trust: Float64Array, boxes: IntArray) -> tuple[WorstBox, ...]:
    rows = labels.frame_rows()
    return tuple(
        WorstBox(
            frame_id=int(labels.frame_ids[rows[box]]),
            time_s=float(labels.time_s[rows[box]]),
            class_name=labels.class_names[int(labels.class_ids[box])],
            score=float(labels.scores[box]),
            trust=float(trust[box]),
            box_xyxy=tuple(float(value) for value in labels.boxes_xyxy[box]),
            ignored=bool(labels.ignore[box]),
        )
        for box in boxes.tolist()
    )
