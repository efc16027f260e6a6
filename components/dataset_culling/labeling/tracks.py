"""Labels repaired along objects' tracks: misses in between filled, flicker marked, one class per track.

N = labelled frames, T = all frames looked at by teacher or student, M = the teacher's boxes, S = sightings.

The teacher looks at few frames, often far apart; the student has looked at all. So objects are linked through both
lookers' boxes, and the teacher's say what is an object: a life counts only between two of its boxes that are sure.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from pydantic import Field

from dataset_culling.boxes import candidate_pairs, iou_matrix
from dataset_culling.labeling.linking import Float64Array, LinkRules, link
from dataset_culling.types import BoolArray, Detections, Float32Array, IntArray

SAME_PLACE_IOU = 0.5  # a box there already is the object, whatever it is called
STUDENT_NMS_IOU = 0.6  # two boxes of the student are one thing, whatever their classes

Source = Literal["teacher", "doubtful", "student", "interpolated", "guessed"]
SOURCES: tuple[Source, ...] = ("teacher", "doubtful", "student", "interpolated", "guessed")
"""Origin of a box: the teacher; the teacher, not sure, confirmed by the track; the student, where the teacher
saw none; between two sightings; the same as an ignore region, as something else covers it or it moved too far to say
where it was."""


class TrackRules(LinkRules):
    """Rules of repairing labels along tracks."""

    enabled: bool = Field(False, description="Link the teacher's boxes over time. Needs the extra tracks.")
    student_score: float = Field(
        0.4,
        ge=0,
        le=1,
        description="The student's boxes scoring this much help to link, and fill what the teacher missed.",
    )
    life_score: float = Field(
        0.75,
        ge=0,
        le=1,
        description="Mean score of the teacher's boxes of a life, doubtful ones among them, from which it is believed: "
        "only such lives are filled. Scores of different teachers do not compare.",
    )
    doubted_from: int = Field(
        5,
        ge=0,
        description="A life with so many of the teacher's boxes that is not believed becomes doubtful; 0: none.",
    )
    max_misses: int = Field(
        5, ge=0, description="An object that the teacher misses on more labelled frames in a row counts as gone."
    )
    flicker: Literal["ignore", "drop", "keep"] = Field(
        "ignore", description="Treatment of a box seen once only, while frames just before and after lack it."
    )
    flicker_s: float = Field(
        0.5, ge=0, description="Labelled frames no further away than this say that it flickers, not that it passed."
    )
    sure_score: float = Field(
        0.9, ge=0, le=1, description="Boxes scoring this much are no flicker and stay labels, whatever their life says."
    )
    class_share: float = Field(
        0.6, ge=0.5, le=1, description="Share of a life's summed scores that makes its class that of all its boxes."
    )
    duplicate_overlap: float = Field(
        0.8, gt=0, le=1, description="Of two boxes of different classes overlapping this much (IoU) the better stays."
    )
    hidden_share: float = Field(
        0.5, gt=0, le=1, description="An unseen object that another box covers by this share becomes an ignore region."
    )


@dataclass(frozen=True, slots=True)
class Mended:
    """Labels and what was done to them."""

    labels: Detections
    source: tuple[Source, ...]  # (M',) where each box comes from
    track: IntArray  # (M',) which object it is of
    stands_on: IntArray  # (M',) the teacher's box, an index into those given: itself, or the less sure neighbour
    counts: Mapping[str, int]
    """tracks: lives; the others boxes: confirmed, filled, guessed, doubted, flicker, reclassed, duplicates."""


@dataclass(frozen=True, slots=True)
class _Sightings:
    """Boxes of both lookers in the order of time; rows are frames of the whole timeline."""

    rows: IntArray  # (S,)
    boxes_xyxy: Float32Array  # (S, 4)
    class_ids: IntArray  # (S,)
    teacher: IntArray  # (S,) index of the teacher's box, -1 for the student's


def mend(labels: Detections, rules: TrackRules, *, student: Detections | None = None) -> Mended:
    """Link the teacher's boxes into objects' tracks and repair each track.

    In this order:
        1. Of two of the teacher's boxes of different classes in one place the better stays; both vote.
        2. One class a life: the class with `class_share` of the teacher's summed scores becomes that of all boxes.
        3. A life is believed by the mean score of the teacher's boxes of it, doubtful ones too: what a teacher is now
           sure of and now not, in one place, is mostly no object. Sure boxes below `sure_score` of a life that is
           long enough and not believed become doubtful.
        4. Between two successive sure boxes of a believed life, on frames that the teacher looked at: a doubtful box
           becomes a label; without one, the student's box of that life, or else one between the sightings
           before and after, is filled in. None of it where the teacher misses it more than `max_misses` times in a
           row, a doubtful box being no miss; nor filled where the teacher has another box already.
        5. What would be filled in without a sighting becomes an ignore region where another label covers it, or
           where it moved so far since its nearest sighting that its place is unknown.
        6. A sure box of little score that is its life's only sighting, with labelled frames close before and after,
           is flicker.
    A filled box scores as the less sure of the two boxes it stands between and is of the surer one's class.

    Args:
        labels: The teacher's boxes on N frames; doubtful ones are marked `ignore`.
        rules: The thresholds.
        student: The student's boxes on the same footage, the labelled frames among them or not; None: only the
            teacher's are known.

    Returns:
        The same frames with repaired boxes; in each frame the teacher's own in their order, then filled ones.

    Raises:
        ValueError: If the student's boxes are of other classes.
        ConfigError: If laptrack is not installed.
    """
    if student is not None and student.class_names != labels.class_names:
        raise ValueError(f"the student's classes are {student.class_names}, the labels' {labels.class_names}")
    frame_ids, time_s = _timeline(labels, student)
    looked = np.searchsorted(frame_ids, labels.frame_ids)  # (N,) the labelled frames in the timeline
    shadow_of = _shadows(labels, rules.duplicate_overlap)
    seen = _gather(labels, student, frame_ids, looked, shadow_of, rules)
    track = link(seen.rows, time_s, seen.boxes_xyxy, seen.class_ids, rules)
    num_tracks = int(track.max(initial=-1)) + 1
    life = np.full(len(labels.scores), -1, np.int64)  # (M,) the track of each of the teacher's boxes
    life[seen.teacher[seen.teacher >= 0]] = track[seen.teacher >= 0]
    kept = shadow_of < 0
    life[~kept] = life[shadow_of[~kept]]
    class_ids = _one_class(labels, life, rules.class_share)
    flicker = _flicker(labels, life, np.bincount(track, minlength=1), kept, rules)
    believed, doubted = _believed(labels, life, kept, num_tracks, rules)
    new_ignore = labels.ignore | doubted | (flicker if rules.flicker == "ignore" else False)
    if rules.flicker == "drop":
        kept &= ~flicker
    source: list[Source] = ["teacher"] * len(labels.scores)
    filled = _Filled()
    by_track = np.argsort(track, kind="stable")
    for sightings in np.split(by_track, np.flatnonzero(np.diff(track[by_track])) + 1):
        if len(sightings) == 0 or not believed[track[sightings[0]]]:
            continue
        _mend_one(sightings, int(track[sightings[0]]), labels, kept, class_ids, new_ignore,
                  source, filled, seen, time_s, looked, rules)  # fmt: skip
    counts = {
        "tracks": len(np.unique(life[kept & ~new_ignore])),
        "confirmed": source.count("doubtful"),
        "filled": len(filled.source) - filled.source.count("guessed"),
        "guessed": filled.source.count("guessed"),
        "doubted": int(doubted.sum()),
        "flicker": int(flicker.sum()),
        "reclassed": int((class_ids != labels.class_ids)[kept].sum()),
        "duplicates": int((shadow_of >= 0).sum()),
    }
    return _assemble(labels, kept, class_ids, new_ignore, source, life, filled, counts)


class _Filled:
    """Boxes that the teacher did not see, as they are found."""

    def __init__(self) -> None:
        self.frames: list[int] = []  # row of the labels
        self.boxes: list[Float64Array] = []
        self.class_ids: list[int] = []
        self.stands_on: list[int] = []
        self.source: list[Source] = []
        self.tracks: list[int] = []
        self.by_frame: dict[int, list[Float64Array]] = {}

    def put(self, frame: int, box: Float64Array, class_id: int, stands_on: int, source: Source, track: int) -> None:
        """One more box."""
        self.by_frame.setdefault(frame, []).append(box)
        self.frames.append(frame)
        self.boxes.append(box)
        self.class_ids.append(class_id)
        self.stands_on.append(stands_on)
        self.source.append(source)
        self.tracks.append(track)


def _mend_one(
    sightings: IntArray,
    track: int,
    labels: Detections,
    kept: BoolArray,
    class_ids: IntArray,
    ignore: BoolArray,
    source: list[Source],
    filled: _Filled,
    seen: _Sightings,
    time_s: Float64Array,
    looked: IntArray,
    rules: TrackRules,
) -> None:
    """Steps 4 and 5 for one life, whose sightings ascend in time; `ignore`, `source` and `filled` are changed."""
    boxes = seen.teacher[sightings]
    rows = seen.rows[sightings]
    own = boxes >= 0
    own[own] = ~labels.ignore[boxes[own]]
    sure = np.flatnonzero(own)
    for first, last in itertools.pairwise(sure):
        between = looked[(looked > rows[first]) & (looked < rows[last])]
        place = np.searchsorted(rows, between)  # the sighting at that frame, or the next one
        doubtful = (rows[place] == between) & (boxes[place] >= 0)
        seen_at = np.flatnonzero(np.concatenate([[True], doubtful, [True]]))
        if np.diff(seen_at).max() - 1 > rules.max_misses:
            continue  # it went: what comes after may be another
        for at in place[doubtful]:
            ignore[boxes[at]], source[boxes[at]] = False, "doubtful"
        ends = boxes[[first, last]]
        stands_on = int(ends[np.argmin(labels.scores[ends])])
        class_id = int(class_ids[ends[np.argmax(labels.scores[ends])]])
        for row, at in zip(between[~doubtful], place[~doubtful], strict=True):
            by_student, lost = rows[at] == row, False
            if by_student:
                box = seen.boxes_xyxy[sightings[at]].astype(np.float64)
            else:
                before, after = sightings[at - 1], sightings[at]
                start_s, end_s = time_s[rows[at - 1]], time_s[rows[at]]
                share = (time_s[row] - start_s) / (end_s - start_s)
                nearest = seen.boxes_xyxy[before if share <= 0.5 else after]
                box = (1 - share) * seen.boxes_xyxy[before] + share * seen.boxes_xyxy[after].astype(np.float64)
                lost = iou_matrix(box[None], nearest[None])[0, 0] < rules.still_overlap
            frame = int(np.searchsorted(looked, row))
            teachers = np.arange(labels.offsets[frame], labels.offsets[frame + 1])
            teachers = teachers[kept[teachers]]
            there = np.concatenate([labels.boxes_xyxy[teachers], *(b[None] for b in filled.by_frame.get(frame, []))])
            if iou_matrix(box[None], there).max(initial=0.0) >= SAME_PLACE_IOU:
                continue
            covered = _covered(box, labels.boxes_xyxy[teachers[~ignore[teachers]]]) >= rules.hidden_share
            how: Source = "student" if by_student else "guessed" if covered or lost else "interpolated"
            filled.put(frame, box, class_id, stands_on, how, track)


def _covered(box: Float64Array, others: Float32Array) -> float:
    """Largest share of the box, (4,), that one of the others, (K, 4), covers."""
    width = np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0])
    height = np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1])
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    return float(shared.max(initial=0.0) / max((box[2] - box[0]) * (box[3] - box[1]), 1e-9))


def _timeline(labels: Detections, student: Detections | None) -> tuple[IntArray, Float64Array]:
    """Every frame that anybody looked at, (T,), and its time."""
    if student is None:
        return labels.frame_ids, labels.time_s
    both = np.concatenate([labels.frame_ids, student.frame_ids])
    frame_ids, first = np.unique(both, return_index=True)
    return frame_ids, np.concatenate([labels.time_s, student.time_s])[first]


def _shadows(labels: Detections, overlap: float) -> IntArray:
    """For each of the teacher's boxes the better one of another class in the same place, or -1; shape (M,)."""
    found = np.full(len(labels.scores), -1, np.int64)
    keys, plain = labels.frame_rows(), np.zeros(len(labels.scores), np.bool_)
    pairs = candidate_pairs(keys, labels.boxes_xyxy, keys, labels.boxes_xyxy, plain, min_iou=overlap)
    pairs = pairs.rows(labels.class_ids[pairs.det] != labels.class_ids[pairs.truth])
    rank = np.empty(len(keys), np.int64)
    rank[np.lexsort((-labels.scores, labels.ignore))] = np.arange(len(keys))
    for pair in np.lexsort((rank[pairs.truth], rank[pairs.det])):
        box, better = int(pairs.det[pair]), int(pairs.truth[pair])
        if rank[better] < rank[box] and found[better] < 0 and found[box] < 0:
            found[box] = better
    return found


def _gather(
    labels: Detections,
    student: Detections | None,
    frame_ids: IntArray,
    looked: IntArray,
    shadow_of: IntArray,
    rules: TrackRules,
) -> _Sightings:
    """The teacher's boxes without shadows, and the student's where the teacher has none, in the order of time."""
    own = np.flatnonzero(shadow_of < 0)
    rows, boxes = looked[labels.frame_rows()[own]], labels.boxes_xyxy[own]
    class_ids, teacher = labels.class_ids[own], own
    if student is not None:
        helping = student.keep_boxes(student.scores >= np.float32(rules.student_score))
        where = np.searchsorted(frame_ids, helping.frame_ids)[helping.frame_rows()]
        new = _without_doubles(helping, where, labels, looked)
        rows = np.concatenate([rows, where[new]])
        boxes = np.concatenate([boxes, helping.boxes_xyxy[new]])
        class_ids = np.concatenate([class_ids, helping.class_ids[new]])
        teacher = np.concatenate([teacher, np.full(len(new), -1, np.int64)])
    order = np.argsort(rows, kind="stable")
    return _Sightings(rows[order], boxes[order], class_ids[order], teacher[order].astype(np.int64))


def _without_doubles(helping: Detections, where: IntArray, labels: Detections, looked: IntArray) -> IntArray:
    """The student's boxes that neither a better one of its own nor one of the teacher's stands for; indices."""
    order = np.argsort(-helping.scores, kind="stable")
    keys, boxes, plain = where[order], helping.boxes_xyxy[order], np.zeros(len(order), np.bool_)
    by_key = np.argsort(keys, kind="stable")
    pairs = candidate_pairs(keys, boxes, keys[by_key], boxes[by_key], plain, min_iou=STUDENT_NMS_IOU)
    kept = np.ones(len(order), np.bool_)
    for box, other in zip(pairs.det.tolist(), by_key[pairs.truth].tolist(), strict=True):
        if other < box and kept[other]:
            kept[box] = False
    crowd = np.zeros(len(labels.scores), np.bool_)
    taken = candidate_pairs(keys, boxes, looked[labels.frame_rows()], labels.boxes_xyxy, crowd, min_iou=SAME_PLACE_IOU)
    kept[taken.det] = False
    return np.sort(order[kept])


def _one_class(labels: Detections, life: IntArray, share: float) -> IntArray:
    """Every box's class by the vote of its life, weighted by score; shape (M,)."""
    num_classes = len(labels.class_names)
    votes = np.zeros((life.max(initial=-1) + 1, num_classes))
    np.add.at(votes, (life, labels.class_ids), labels.scores.astype(np.float64))
    winner = votes.argmax(axis=1)
    clear = votes.max(axis=1, initial=0.0) >= share * votes.sum(axis=1)
    return np.where(clear[life], winner[life], labels.class_ids).astype(np.int64)


def _believed(
    labels: Detections, life: IntArray, kept: BoolArray, num_tracks: int, rules: TrackRules
) -> tuple[BoolArray, BoolArray]:
    """Return the tracks that are believed, (tracks,) bool, and the sure boxes of the others, (M,) bool."""
    own = life[kept]
    num = np.bincount(own, minlength=num_tracks)
    total = np.bincount(own, weights=labels.scores[kept].astype(np.float64), minlength=num_tracks)
    believed = total >= rules.life_score * num
    long = (num >= rules.doubted_from) & (rules.doubted_from > 0)
    doubted: BoolArray = (~believed & long)[life] & kept & ~labels.ignore & _unsure(labels, rules)
    return believed & (num > 0), doubted


def _unsure(labels: Detections, rules: TrackRules) -> BoolArray:
    """Boxes that do not stay labels whatever their life says, shape (M,)."""
    found: BoolArray = labels.scores < np.float32(rules.sure_score)
    return found


def _flicker(
    labels: Detections, life: IntArray, num_sightings: IntArray, kept: BoolArray, rules: TrackRules
) -> BoolArray:
    """Sure boxes that are their life's only sighting although the teacher looked just before and after; (M,)."""
    if rules.flicker == "keep" or len(labels) == 0:
        return np.zeros(len(labels.scores), np.bool_)
    gap_s = np.concatenate([[np.inf], np.diff(labels.time_s), [np.inf]])
    watched = (gap_s[:-1] <= rules.flicker_s) & (gap_s[1:] <= rules.flicker_s)
    alone = (num_sightings[life] == 1) & watched[labels.frame_rows()]
    found: BoolArray = alone & kept & ~labels.ignore & _unsure(labels, rules)
    return found


def _assemble(
    labels: Detections,
    kept: BoolArray,
    class_ids: IntArray,
    ignore: BoolArray,
    source: list[Source],
    life: IntArray,
    filled: _Filled,
    counts: Mapping[str, int],
) -> Mended:
    """Put together the kept and the filled boxes, by frame."""
    own = np.flatnonzero(kept)
    new = np.array(filled.stands_on, np.int64)
    frames = np.concatenate([labels.frame_rows()[own], np.array(filled.frames, np.int64)])
    order = np.argsort(frames, kind="stable")
    boxes = np.concatenate([labels.boxes_xyxy[own], np.array(filled.boxes, np.float32).reshape(-1, 4)])
    stands_on = np.concatenate([own, new])[order].astype(np.int64)
    sources = [source[box] for box in own] + filled.source
    mended = replace(
        labels,
        offsets=np.searchsorted(frames[order], np.arange(len(labels) + 1)).astype(np.int64),
        boxes_xyxy=boxes[order],
        scores=labels.scores[stands_on],
        class_ids=np.concatenate([class_ids[own], np.array(filled.class_ids, np.int64)])[order],
        ignore=np.concatenate([ignore[own], np.array([how == "guessed" for how in filled.source], np.bool_)])[order],
    )
    tracks = np.concatenate([life[own], np.array(filled.tracks, np.int64)])[order].astype(np.int64)
    return Mended(mended, tuple(sources[at] for at in order), tracks, stands_on, counts)
