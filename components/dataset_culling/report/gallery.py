"""Which frames are worth looking at, and what to say about each.

N = frames of the pool, L = labelled frames, H = held-out frames.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dataset_culling.ranking import keep_in_order
from dataset_culling.report import words
from dataset_culling.report.agreement import Agreement, States, agree
from dataset_culling.report.run_data import Frames, Run
from dataset_culling.types import Detections, Float32Array, FloatArray, IntArray

UNCOMPARED = 3
"""State of a student's box on a frame that no teacher looked at."""

MAX_BOXES = 60
"""Most boxes of one detector drawn on one picture, the surest first; beyond it a picture says nothing any more."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One detector's boxes on one picture."""

    who: str  # "student" or "teacher"
    boxes_xyxy: Float32Array  # (K, 4) px of the frame
    states: States  # (K,)
    names: tuple[str, ...]  # (K,) class and score


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a frame, with boxes."""

    title: str  # "" where the frame has one view only
    layers: tuple[Layer, ...]
    alt: str


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame in a gallery."""

    frame_id: int
    heldout: bool
    title: str
    tag: str
    reasons: tuple[str, ...]
    views: tuple[View, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """A few frames with a common story."""

    key: str
    title: str
    intro: str
    empty: str  # said instead where there is no frame
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Raw and trained student against the teacher on the same held-out frames."""

    raw: Agreement
    trained: Agreement

    @property
    def gain(self) -> IntArray:
        """Mistakes (missed or false boxes) that training took away, by frame, shape (H,)."""
        return mistakes(self.raw) - mistakes(self.trained)


def compare_heldout(run: Run, *, min_score: float) -> HeldOut:
    """Match both students' boxes with the teacher's on the held-out frames; see `agree`."""
    return HeldOut(
        agree(run.raw, run.heldout_labels, min_score=min_score),
        agree(run.trained, run.heldout_labels, min_score=min_score),
    )


def mistakes(agreement: Agreement) -> IntArray:
    """Missed and false boxes together, by frame."""
    return agreement.missed + agreement.false


def spread_picks(order: IntArray, time_s: FloatArray, *, num: int) -> IntArray:
    """The first `num` rows of `order` that lie well apart in time, so that a gallery is no row of near-duplicates.

    Args:
        order: Rows, most wanted first, shape (K,).
        time_s: Seconds of every row, shape (N,).
        num: How many to pick.

    Returns:
        min(num, K) rows, in the order given. The spacing starts at half an even one and is halved until there are
        enough.
    """
    if num < 1 or len(order) == 0:
        return np.zeros(0, np.int64)
    wanted = min(num, len(order))
    gap_s = float(np.ptp(time_s[order])) / (2 * wanted)
    for _ in range(8):
        picked = keep_in_order(order, time_s, budget=wanted, min_gap_s=gap_s)
        if len(picked) == wanted:
            return picked
        gap_s /= 2
    return order[:wanted].astype(np.int64)


def galleries(run: Run, heldout: HeldOut, *, num_pictures: int, min_score: float) -> tuple[Gallery, ...]:
    """The page's pictures: gains and failures on held-out frames, kept frames, culled frames.

    Args:
        run: The run.
        heldout: From `compare_heldout`.
        num_pictures: Most frames in each gallery; those with two views hold about half as many.
        min_score: Student boxes scoring less are not drawn.
    """
    labelled = agree(run.scored, run.labels, min_score=min_score)
    pairs = (num_pictures // 2) | 1 if num_pictures else 0  # odd: the page shows the first one large, the rest by twos
    gains = _gains(run, heldout, pairs)
    failures = _failures(run, heldout, pairs, shown={shot.frame_id for shot in gains.shots})
    return (
        gains,
        failures,
        _kept(run, labelled, num_pictures),
        _culled(run, labelled, num_pictures, min_score=min_score),
    )


def _gains(run: Run, heldout: HeldOut, num: int) -> Gallery:
    gain = heldout.gain
    order = np.argsort(-gain, kind="stable")
    picked = spread_picks(order[gain[order] > 0], run.heldout.time_s, num=num)
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    return Gallery(
        key="gains",
        title="Biggest gains on held-out frames",
        intro=f"Frames from after the training footage, seen by the student before and after. On "
        f"{words.plural(better, 'held-out frame')} of {len(gain):,} it makes fewer mistakes than before, on "
        f"{worse:,} more, on {len(gain) - better - worse:,} as many. A mistake is a box that only one of student and "
        f"teacher sees.",
        empty="On no held-out frame did training take a mistake away.",
        shots=tuple(_pair(run, heldout, int(row)) for row in picked),
    )


def _failures(run: Run, heldout: HeldOut, num: int, *, shown: Collection[int]) -> Gallery:
    left = mistakes(heldout.trained)
    order = np.argsort(-left, kind="stable")
    fresh = ~np.isin(run.heldout.frame_ids[order], list(shown))
    picked = spread_picks(order[(left[order] > 0) & fresh], run.heldout.time_s, num=num)
    return Gallery(
        key="failures",
        title="What it still gets wrong",
        intro=f"Held-out frames on which the trained student and the teacher disagree most, beside those above: "
        f"{words.plural(int((left > 0).sum()), 'frame')} of {len(left):,} have a disagreement left. "
        f"The teacher can be the one who errs.",
        empty="Beside the frames above, the trained student agrees with the teacher on every held-out frame.",
        shots=tuple(_pair(run, heldout, int(row)) for row in picked),
    )


def _pair(run: Run, heldout: HeldOut, row: int) -> Shot:
    raw, trained = heldout.raw, heldout.trained
    wanted = int(trained.found[row] + trained.missed[row])
    gain = int(heldout.gain[row])
    tag = "as many mistakes as before"
    if gain:
        tag = f"{words.plural(abs(gain), 'fewer mistake' if gain > 0 else 'more mistake')} than before"
    return Shot(
        frame_id=int(run.heldout.frame_ids[row]),
        heldout=True,
        title=words.clock(float(run.heldout.time_s[row]), run.heldout.start_utc),
        tag=tag,
        reasons=(
            f"Of {words.plural(wanted, 'teacher box', 'teacher boxes')} the raw student found {raw.found[row]}, "
            f"the trained {trained.found[row]}; false boxes {raw.false[row]}, then {trained.false[row]}.",
        ),
        views=(
            _compared("Raw student", raw, row),
            _compared("Trained student", trained, row),
        ),
    )


def _kept(run: Run, labelled: Agreement, num: int) -> Gallery:
    rows = run.labels.rows_of(run.kept.frame_ids)  # in rank order
    rank_of = {int(row): rank for rank, row in enumerate(rows)}
    confidence = dict(zip(run.selection.frame_ids.tolist(), run.selection.reasons, strict=True))
    shots = []
    for row in spread_picks(rows, run.labels.time_s, num=num):
        frame_id = int(run.labels.frame_ids[row])
        rank = rank_of[int(row)]
        reasons = (
            f"Confidence cull – {confidence[frame_id]}.",
            f"Precision cull – {run.kept.reasons[rank]}.",
        )
        title = words.clock(float(run.labels.time_s[row]), run.pool.start_utc)
        view = _compared("", labelled, int(row))
        shots.append(Shot(frame_id, False, title, f"hardest {rank + 1} of {len(rows)}", reasons, (view,)))
    return Gallery(
        key="kept",
        title="Kept for training",
        intro=f"{words.plural(len(run.kept), 'frame')} of {len(run.pool):,}. These are the hardest that lie well "
        f"apart in time, with the boxes of the untrained student and of the teacher, and why each cull kept them.",
        empty="No frame was kept.",
        shots=tuple(shots),
    )


def _culled(run: Run, labelled: Agreement, num: int, *, min_score: float) -> Gallery:
    by_precision = _culled_by_precision(run, labelled, (num + 1) // 2)
    by_confidence = _culled_by_confidence(run, num - len(by_precision), min_score=min_score)
    passed = len(run.pool) - len(run.selection)
    were = "was" if len(run.selection) - len(run.kept) == 1 else "were"
    sure = ", because the student was surer of what it saw there" if run.selected_by == "confidence" else ""
    agreed = ", because student and teacher agreed better there" if run.kept_by == "precision" else ""
    return Gallery(
        key="culled",
        title="Left out",
        intro=f"{words.plural(passed, 'frame')} never went to the teacher{sure}; "
        f"{words.plural(len(run.selection) - len(run.kept), 'labelled frame')} {were} left out{agreed}. "
        f"A sample of both, spread over the footage.",
        empty="No frame was left out.",
        shots=(*by_confidence, *by_precision),
    )


def _culled_by_confidence(run: Run, num: int, *, min_score: float) -> list[Shot]:
    rows = np.flatnonzero(~np.isin(run.pool.frame_ids, run.selection.frame_ids))
    cut = float(run.selection.loss.min()) if len(run.selection) else 0.0
    shots = []
    for row in _evenly(rows, num):
        frame_id = int(run.pool.frame_ids[row])
        view, scores = _alone(run.scored, int(run.scored.rows_of(np.array([frame_id]))[0]), min_score)
        saw = (
            f"{words.plural(len(scores), 'box', 'boxes')}, the least sure {scores.min():.2f}"
            if len(scores)
            else f"no box of {min_score:g} or more"
        )
        loss = f"loss {run.pool_loss[row]:.3g}, under the cut at {cut:.3g}" if run.pool_loss is not None else ""
        reason = f"Confidence cull: {loss}; the student saw {saw}." if loss else f"The student saw {saw}."
        shots.append(_pool_shot(run.pool, int(row), "not sent to the teacher", reason, view))
    return shots


def _culled_by_precision(run: Run, labelled: Agreement, num: int) -> list[Shot]:
    rows = np.flatnonzero(~np.isin(run.labels.frame_ids, run.kept.frame_ids))
    cut = float(run.kept.loss.min()) if len(run.kept) else 0.0
    shots = []
    for row in _evenly(rows, num):
        found, missed, false = (int(part[row]) for part in (labelled.found, labelled.missed, labelled.false))
        loss = f"loss {run.label_loss[row]:.3g}, under the cut at {cut:.3g}; " if run.label_loss is not None else ""
        reason = (
            f"Precision cull: {loss}the untrained student has {found} of the teacher's "
            f"{words.plural(found + missed, 'box', 'boxes')} and {words.plural(false, 'false one')}."
        )
        at = int(np.searchsorted(run.pool.frame_ids, run.labels.frame_ids[row]))
        shots.append(_pool_shot(run.pool, at, "labelled, then left out", reason, _compared("", labelled, int(row))))
    return shots


def _evenly(rows: IntArray, num: int) -> IntArray:
    """`num` of the rows, spread evenly over them."""
    if num < 1 or len(rows) == 0:
        return np.zeros(0, np.int64)
    places = (np.arange(min(num, len(rows))) + 0.5) * len(rows) / min(num, len(rows))
    return np.asarray(rows[places.astype(np.int64)], np.int64)


def _pool_shot(pool: Frames, row: int, tag: str, reason: str, view: View) -> Shot:
    title = words.clock(float(pool.time_s[row]), pool.start_utc)
    return Shot(int(pool.frame_ids[row]), False, title, tag, (reason,), (view,))


def _compared(title: str, agreement: Agreement, row: int) -> View:
    student = _layer("student", agreement.student, agreement.student_state, row)
    teacher = _layer("teacher", agreement.teacher, agreement.teacher_state, row)
    found, missed, false = (int(part[row]) for part in (agreement.found, agreement.missed, agreement.false))
    who = title.lower() or "student"
    alt = (
        f"{who} and teacher on this frame: {words.plural(found, 'box', 'boxes')} agreed"
        f"{_named(teacher, 0)}, {missed} missed by the student{_named(teacher, 1)}, "
        f"{false} seen by the student alone{_named(student, 1)}"
    )
    return View(title, (teacher, student), alt[0].upper() + alt[1:])


def _named(layer: Layer, state: int) -> str:
    """' (2 car, 1 person)' for the boxes of one state."""
    names = [name.rsplit(" ", 1)[0] for name, one in zip(layer.names, layer.states, strict=True) if one == state]
    if not names:
        return ""
    return " (" + ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) + ")"


def _alone(scored: Detections, row: int, min_score: float) -> tuple[View, FloatArray]:
    boxes = scored.image(row)
    boxes = boxes.rows(boxes.scores >= min_score)
    single = Detections.from_images(
        [boxes],
        frame_ids=scored.frame_ids[row : row + 1],
        time_s=scored.time_s[row : row + 1],
        class_names=scored.class_names,
    )
    layer = _layer("student", single, np.full(len(boxes), UNCOMPARED, np.int8), 0)
    alt = f"Student on this frame: {words.plural(len(boxes), 'box', 'boxes')}{_named(layer, UNCOMPARED)}"
    return View("", (layer,), alt), boxes.scores


def _layer(who: str, boxes: Detections, states: States, row: int) -> Layer:
    span = slice(int(boxes.offsets[row]), int(boxes.offsets[row + 1]))
    image = boxes.image(row)
    layer = Layer(
        who,
        image.boxes_xyxy,
        states[span],
        tuple(
            f"{boxes.class_names[int(class_id)]} {score:.2f}"
            for class_id, score in zip(image.class_ids, image.scores, strict=True)
        ),
    )
    if len(image) <= MAX_BOXES:
        return layer
    surest = np.sort(np.argsort(-image.scores, kind="stable")[:MAX_BOXES])
    return replace(
        layer,
        boxes_xyxy=image.boxes_xyxy[surest],
        states=layer.states[surest],
        names=tuple(layer.names[int(box)] for box in surest),
    )


def frames_shown(found: Sequence[Gallery]) -> list[tuple[bool, int]]:
    """(held out, frame id) of every picture, each once, in the page's order."""
    return list(dict.fromkeys((shot.heldout, shot.frame_id) for one in found for shot in one.shots))
