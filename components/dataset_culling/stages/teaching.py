"""What the stages share that ask a teacher and teach a student: labels with the trust in them, labelled frames.

N = frames, M = boxes over all frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dataset_culling.artifacts.detections import read_detections
from dataset_culling.artifacts.frames import FrameReader
from dataset_culling.artifacts.labels import WorstBox
from dataset_culling.artifacts.model import ModelCard
from dataset_culling.config import did_you_mean
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import load_detector, load_trainable
from dataset_culling.detectors.torch_base import TorchDetector
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.labeling.linking import laptrack_class
from dataset_culling.labeling.tracks import Mended, mend
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
from dataset_culling.stages.base import Inputs
from dataset_culling.inference.detect import ScanLog, View, local_weights, scan
from dataset_culling.labeling.config import Labelling
from dataset_culling.training.config import Learning
from dataset_culling.stages.together import LabelledFrames, Lesson, learn, learn_together, num_processes
from dataset_culling.stopwatch import Stopwatch
from dataset_culling.training.checkpoint import Checkpoints
from dataset_culling.training.loop import TrainingRecord, TrainingSet
from dataset_culling.types import BoolArray, ClassMap, Detections, IntArray, Subset, parse_classes

Progress = Callable[[int, int], None]
SAME_TIME_S = 1e-3  # frame ids are of one footage where their times agree to a millisecond


@dataclass(frozen=True, slots=True)
class Trust:
    """How far the teacher's labels are believed."""

    of_boxes: Float64Array  # (M,) 0..1
    of_frames: Float64Array  # (N,) 0..1, mean over the frame's boxes that score enough to be labels
    worst: tuple[WorstBox, ...]  # least trusted first


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher says of frames."""

    labels: Detections  # boxes that are doubtful by score or by trust are marked `ignore`
    trust: Trust | None  # None where it was not asked for
    seconds_per_look: float  # the teacher on one frame, once
    num_looks: int  # frames that the teacher looked at, other views of them counted
    mended: Mended | None  # None where objects were not linked over time
    linking_s: float  # linking and mending, of all frames together; 0 where it was not asked for
    notes: tuple[str, ...] = ()  # what a person should know of how it looked


def ask_teacher(
    config: Labelling,
    frames: FrameReader,
    frame_ids: IntArray,
    *,
    device: str,
    progress: Progress,
    student: Detections | None = None,
) -> Taught:
    """The teacher's labels of the named frames, doubtful ones marked, mended by objects' tracks where that is on.

    Args:
        config: Which teacher, and how far it is believed.
        frames: Where the frames lie.
        frame_ids: Which to label, ascending, shape (N,).
        device: "cpu", "cuda" or "cuda:N".
        progress: Told how many of all looks are done.
        student: The student's boxes on the same footage, for tracks; None: the teacher's own are all there is.

    Raises:
        ConfigError: If a threshold names a class that is none, the teacher knows none of a class's sources, or laptrack
            is wanted and not installed.
    """
    if config.tracks.enabled:
        laptrack_class()  # missed now, not after the looking, which may take hours
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

    def taught(labels: Detections, of_boxes: Float64Array | None) -> Taught:
        seconds_per_look = watch.seconds() / max(log.num_looked, 1)
        linking = Stopwatch()
        mended = mend(labels, config.tracks, student=student) if config.tracks.enabled else None
        linking_s = 0.0 if mended is None else linking.seconds()
        trust = None if of_boxes is None else _trust(config, labels, of_boxes, sure, mended)
        notes = tuple(dict.fromkeys(log.notes))
        chosen = labels if mended is None else mended.labels
        return Taught(chosen, trust, seconds_per_look, total, mended, linking_s, notes)

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
        return taught(labels, None)
    # A box must not count as gone where its score slips under the bar by a hair, so other views have a lower one.
    again = [look(frame_ids, view, min_score=config.doubtful_score / 2) for view in views]
    if views:
        again[0] = mirrored(again[0], frames.table.width_px[np.searchsorted(frames.table.frame_ids, frame_ids)])
    beside = []
    if near:
        both = (neighbours(seen, step, max_gap_s=config.trust_gap_s) for step in (-1, 1))
        beside = [side.take(side.rows_of(frame_ids)) for side in both]
    of_boxes = agreement(boxes, again, near=beside)
    marked = mark_doubtful(labels, of_boxes, least=config.min_trust, by_class=config.min_trust_by_class)
    return taught(marked, of_boxes)


def student_boxes(config: Labelling, inputs: Inputs, frames: FrameReader) -> Detections | None:
    """The student's boxes to link objects through; None where `tracks` is off or no detections are given.

    Args:
        config: With the camera's classes.
        inputs: `detections`, a detections/1, or nothing.
        frames: What the teacher is going to look at.

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
    config: Labelling, labels: Detections, of_boxes: Float64Array, sure: BoolArray, mended: Mended | None
) -> Trust:
    """Trust as it is written: of frames by the teacher's own boxes, a filled box as the one it stands on."""
    of_frames = frame_trust(labels, of_boxes, sure)
    if mended is None:
        worst = worst_boxes(labels, of_boxes, sure, most=config.list_worst)
        return Trust(of_boxes, of_frames, _describe(labels, of_boxes, worst))
    own = np.array([source in ("teacher", "doubtful") for source in mended.source], np.bool_)
    after = labels.ignore.copy()
    after[mended.stands_on[own]] = mended.labels.ignore[own]
    there = np.isin(np.arange(len(sure)), mended.stands_on[own])  # what was dropped is nobody's to look at
    worst = worst_boxes(labels, of_boxes, sure & there, most=config.list_worst)
    return Trust(of_boxes[mended.stands_on], of_frames, _describe(replace(labels, ignore=after), of_boxes, worst))


def _views(config: Labelling) -> list[View]:
    """The other views asked for, the mirrored one first."""
    views: list[View] = []
    if "flip" in config.trust:
        views.append(View("flipped", flipped))
    if "scale" in config.trust:
        views.append(View(f"scale {config.trust_scale}", lambda image: zoomed_out(image, config.trust_scale)))
    return views


def _thresholds(config: Labelling, classes: ClassMap) -> Float64Array:
    """Least score of each class, shape (C,)."""
    for key in ("min_score_by_class", "min_trust_by_class"):
        for name in getattr(config, key):
            if name not in classes.names:
                raise ConfigError(
                    f"{key}: there is no class '{name}'.{did_you_mean(name, list(classes.names))} "
                    f"The camera's classes are {', '.join(classes.names)}."
                )
    return np.array([config.min_score_by_class.get(name, config.min_score) for name in classes.names])


def _with_neighbours(frames: FrameReader, frame_ids: IntArray, max_gap_s: float) -> IntArray:
    """The named frames and those right before and after them, where they are near enough; ascending."""
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


@dataclass(frozen=True, slots=True)
class Learned:
    """A trained student."""

    student: TorchDetector
    record: TrainingRecord
    card: ModelCard  # what to write beside its weights
    seconds: float  # of training alone


def teach_student(
    config: Learning,
    samples: TrainingSet,
    *,
    side_px: int,
    device: str,
    progress: Progress,
    checkpoints: Callable[[TorchDetector], Checkpoints | None] = lambda student: None,
    watched: LabelledFrames | None = None,
    start: DetectorRef | None = None,
    extra: Mapping[str, Any] | None = None,
    recorded: tuple[Subset, ...] = (),
) -> Learned:
    """Train a student of the camera's classes on the samples.

    Args:
        config: Which student and how it learns.
        samples: At least one frame.
        side_px: Short side to train at.
        device: "cpu", "cuda" or "cuda:N".
        progress: Told of every step.
        checkpoints: Where the state of an unfinished training lies, for the student as it starts.
        watched: What early stop measures on.
        start: What training starts from; None: the configuration's student.
        extra: What else goes into the record on the model's card.
        recorded: What the recipe's `subset_replay` names, read (see `training.subset_files`).

    Raises:
        InputError: If those subsets hold none of the samples.
        TrainingDiverged: If a loss or a gradient is not finite.
    """
    processes = num_processes(config.processes, device, config.recipe.batch_size)
    ref = local_weights(start or config.student)
    teacher = local_weights(config.teacher) if config.recipe.distillation else config.teacher
    student = load_trainable(ref, device=device).specialise(parse_classes(config.classes))
    lesson = Lesson(
        ref, config.classes, teacher, config.recipe, samples, watched,
        side_px=side_px, checkpoints=checkpoints(student), recorded=recorded,
    )  # fmt: skip
    watch = Stopwatch()
    if processes == 1:
        record = learn(lesson, student, progress)
    else:
        record = learn_together(lesson, student, progress, processes=processes)
    seconds = watch.seconds()
    stopped = {"watched_map": list(record.watched_map), "best_epoch": record.best_epoch} if watched is not None else {}
    chosen = {"images_backpropagated": list(record.images_backpropagated)} if config.recipe.selective_backprop else {}
    card = ModelCard(
        detector=student.name,
        class_names=student.class_names,
        side_px=side_px,
        training={
            "epochs": len(record.losses),
            "steps": record.steps,
            "frames": len(samples),
            **(extra or {}),
            "losses": [dict(epoch) for epoch in record.losses],
            **stopped,
            **chosen,
        },
        layers=student.layers(),
    )
    return Learned(student, record, card, seconds)
