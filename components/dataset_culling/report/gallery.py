"""Galleries of the page: the choice of frames, their boxes and their captions.

N = frames of the pool, L = labelled frames, H = held-out frames.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from dataset_culling.ranking import keep_in_order
from dataset_culling.report import words
from dataset_culling.report.agreement import AGREED, DISPUTED, Agreement, States, agree
from dataset_culling.report.run_data import Run
from dataset_culling.types import Detections, Float32Array, FloatArray, IntArray

UNCOMPARED = 3
"""State of a student's box on a frame that the teacher did not label."""

MAX_BOXES = 60
"""Most boxes of one detector on one picture, highest scores first, so that the picture stays readable."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Boxes of one detector on one picture."""

    who: str  # "student" or "teacher"
    boxes_xyxy: Float32Array  # (K, 4) px of the frame
    states: States  # (K,)
    names: tuple[str, ...]  # (K,) class and score


@dataclass(frozen=True, slots=True)
class View:
    """One picture of a frame, with boxes."""

    title: str  # "" if the frame has one view only
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
    """A few frames with a common caption."""

    key: str
    title: str
    intro: str
    empty: str  # text without any frame
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Agreement of raw and trained student with the teacher on the same held-out frames."""

    raw: Agreement
    trained: Agreement

    @property
    def gain(self) -> IntArray:
        """Mistakes that training removed, by frame, shape (H,)."""
        return self.raw.mistakes - self.trained.mistakes


def compare_heldout(run: Run, *, min_score: float) -> HeldOut:
    """Match both students' boxes with the teacher's on the held-out frames; see `agree`."""
    return HeldOut(
        agree(run.raw, run.heldout_labels, min_score=min_score),
        agree(run.trained, run.heldout_labels, min_score=min_score),
    )


def spread_picks(order: IntArray, time_s: FloatArray, *, num: int) -> IntArray:
    """Pick the first `num` rows of `order` that are well apart in time, to avoid near-duplicates in a gallery.

    Args:
        order: Rows, most wanted first, shape (K,).
        time_s: Seconds of every row, shape (N,).
        num: Rows to pick.

    Returns:
        min(num, K) rows in the order given. The least gap starts at half the even spacing and is halved until enough
        rows are found.
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
    """Choose the page's pictures: gains and failures on held-out frames, kept frames, frames left out.

    Args:
        run: The run.
        heldout: From `compare_heldout`.
        num_pictures: Most frames in each gallery; those with two views have about half as many.
        min_score: Student boxes that score less are not drawn.
    """
    labelled = agree(run.scored, run.labels, min_score=min_score)
    pairs = (num_pictures // 2) | 1 if num_pictures else 0  # odd: the first one is shown large, the others by twos
    gains = _gains(run, heldout, pairs)
    failures = _failures(run, heldout, pairs, shown={shot.frame_id for shot in gains.shots})
    left_out = _left_out(run, labelled, num_pictures, min_score=min_score)
    return gains, failures, _kept(run, labelled, num_pictures), left_out


def frames_shown(found: Sequence[Gallery]) -> list[tuple[bool, int]]:
    """Return (held out, frame id) of every picture once, in the page's order."""
    return list(dict.fromkeys((shot.heldout, shot.frame_id) for one in found for shot in one.shots))


# --- held-out frames ------------------------------------------------------------------------------------------------


def _gains(run: Run, heldout: HeldOut, num: int) -> Gallery:
    gain = heldout.gain
    order = np.argsort(-gain, kind="stable")
    picked = spread_picks(order[gain[order] > 0], run.heldout.time_s, num=num)
    better, worse = int((gain > 0).sum()), int((gain < 0).sum())
    return Gallery(
        key="gains",
        title="Biggest gains on held-out frames",
        intro="Frames from after the training footage, with the student's boxes before and after training. On "
        f"{words.plural(better, 'held-out frame')} of {len(gain):,} it makes fewer mistakes than before, on "
        f"{worse:,} more, on {len(gain) - better - worse:,} as many. A mistake is a box that only one of student and "
        "teacher has.",
        empty="Training removed no mistake on any held-out frame.",
        shots=tuple(_pair(run, heldout, int(row)) for row in picked),
    )


def _failures(run: Run, heldout: HeldOut, num: int, *, shown: Collection[int]) -> Gallery:
    left = heldout.trained.mistakes
    order = np.argsort(-left, kind="stable")
    fresh = ~np.isin(run.heldout.frame_ids[order], list(shown))
    picked = spread_picks(order[(left[order] > 0) & fresh], run.heldout.time_s, num=num)
    return Gallery(
        key="failures",
        title="Remaining mistakes",
        intro="Held-out frames on which the trained student and the teacher disagree most, apart from those above: "
        f"{words.plural(int((left > 0).sum()), 'frame')} of {len(left):,} have a disagreement left. "
        "The teacher may be wrong, too.",
        empty="Apart from the frames above, the trained student agrees with the teacher on every held-out frame.",
        shots=tuple(_pair(run, heldout, int(row)) for row in picked),
    )


def _pair(run: Run, heldout: HeldOut, row: int) -> Shot:
    raw, trained = heldout.raw, heldout.trained
    in_frame = int(trained.found[row] + trained.missed[row])
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
            f"Of {words.plural(in_frame, 'teacher box', 'teacher boxes')} the raw student found {raw.found[row]}, "
            f"the trained {trained.found[row]}; false boxes {raw.false[row]}, then {trained.false[row]}.",
        ),
        views=(_compared("Raw student", raw, row), _compared("Trained student", trained, row)),
    )


# --- frames of the pool ---------------------------------------------------------------------------------------------


def _kept(run: Run, labelled: Agreement, num: int) -> Gallery:
    rows = run.labels.rows_of(run.kept.frame_ids)  # in rank order
    rank_of = {int(row): rank for rank, row in enumerate(rows)}
    confidence = dict(zip(run.selection.frame_ids.tolist(), run.selection.reasons, strict=True))
    shots = []
    for row in spread_picks(rows, run.labels.time_s, num=num).tolist():
        rank = rank_of[row]
        reasons = (
            f"Confidence cull – {confidence[int(run.labels.frame_ids[row])]}.",
            f"Precision cull – {run.kept.reasons[rank]}.",
        )
        shots.append(_labelled_shot(run, labelled, row, f"hardest {rank + 1} of {len(rows)}", *reasons))
    return Gallery(
        key="kept",
        title="Kept for training",
        intro=f"{words.plural(len(run.kept), 'frame')} of {len(run.pool):,}. These are the hardest that are well "
        "apart in time, with the boxes of the untrained student and of the teacher, and why each cull kept them.",
        empty="No frame was kept.",
        shots=tuple(shots),
    )


def _left_out(run: Run, labelled: Agreement, num: int, *, min_score: float) -> Gallery:
    by_precision = _left_out_by_precision(run, labelled, (num + 1) // 2)
    by_confidence = _left_out_by_confidence(run, num - len(by_precision), min_score=min_score)
    not_sent, not_kept = len(run.pool) - len(run.selection), len(run.selection) - len(run.kept)
    sure = ", because the student was more confident there" if run.selected_by == "confidence" else ""
    agreed = ", because student and teacher agreed better there" if run.kept_by == "precision" else ""
    return Gallery(
        key="culled",
        title="Left out",
        intro=f"{words.plural(not_sent, 'frame')} never went to the teacher{sure}; "
        f"{words.plural(not_kept, 'labelled frame')} {'was' if not_kept == 1 else 'were'} left out{agreed}. "
        "A sample of both, spread over the footage.",
        empty="No frame was left out.",
        shots=(*by_confidence, *by_precision),
    )


def _left_out_by_confidence(run: Run, num: int, *, min_score: float) -> list[Shot]:
    rows = np.flatnonzero(~np.isin(run.pool.frame_ids, run.selection.frame_ids))
    cut = float(run.selection.loss.min()) if len(run.selection) else 0.0
    shots = []
    for row in _evenly(rows, num).tolist():
        frame_id = int(run.pool.frame_ids[row])
        layer, scores = _student_alone(run.scored, int(run.scored.rows_of(run.pool.frame_ids[[row]])[0]), min_score)
        boxes = words.plural(len(scores), "box", "boxes")
        found = f"{boxes}, the least sure {scores.min():.2f}" if len(scores) else f"no box of {min_score:g} or more"
        reason = f"The student found {found}."
        if run.pool_loss is not None:
            loss = f"loss {run.pool_loss[row]:.3g}, under the cut at {cut:.3g}"
            reason = f"Confidence cull: {loss}; the student found {found}."
        view = View("", (layer,), f"Student on this frame: {boxes}{_by_class(layer, UNCOMPARED)}")
        title = words.clock(float(run.pool.time_s[row]), run.pool.start_utc)
        shots.append(Shot(frame_id, False, title, "not sent to the teacher", (reason,), (view,)))
    return shots


def _left_out_by_precision(run: Run, labelled: Agreement, num: int) -> list[Shot]:
    rows = np.flatnonzero(~np.isin(run.labels.frame_ids, run.kept.frame_ids))
    cut = float(run.kept.loss.min()) if len(run.kept) else 0.0
    shots = []
    for row in _evenly(rows, num).tolist():
        found, missed, false = (int(part[row]) for part in (labelled.found, labelled.missed, labelled.false))
        loss = f"loss {run.label_loss[row]:.3g}, under the cut at {cut:.3g}; " if run.label_loss is not None else ""
        reason = (
            f"Precision cull: {loss}the untrained student has {found} of the teacher's "
            f"{words.plural(found + missed, 'box', 'boxes')} and {words.plural(false, 'false one')}."
        )
        shots.append(_labelled_shot(run, labelled, row, "labelled, then left out", reason))
    return shots


def _evenly(rows: IntArray, num: int) -> IntArray:
    """Pick min(num, len(rows)) rows, spread evenly over them."""
    num = min(num, len(rows))
    if num < 1:
        return np.zeros(0, np.int64)
    places = (np.arange(num) + 0.5) * len(rows) / num
    return np.asarray(rows[places.astype(np.int64)], np.int64)


# --- boxes ----------------------------------------------------------------------------------------------------------


def _labelled_shot(run: Run, labelled: Agreement, row: int, tag: str, *reasons: str) -> Shot:
    title = words.clock(float(run.labels.time_s[row]), run.pool.start_utc)
    return Shot(int(run.labels.frame_ids[row]), False, title, tag, reasons, (_compared("", labelled, row),))


def _compared(title: str, agreement: Agreement, row: int) -> View:
    student = _layer("student", agreement.student, agreement.student_state, row)
    teacher = _layer("teacher", agreement.teacher, agreement.teacher_state, row)
    found, missed, false = (int(part[row]) for part in (agreement.found, agreement.missed, agreement.false))
    alt = (
        f"{title or 'Student'} and teacher on this frame: {words.plural(found, 'box', 'boxes')} agreed"
        f"{_by_class(teacher, AGREED)}, {missed} missed by the student{_by_class(teacher, DISPUTED)}, "
        f"{false} found by the student alone{_by_class(student, DISPUTED)}"
    )
    return View(title, (teacher, student), alt)


def _by_class(layer: Layer, state: int) -> str:
    """Count the boxes of one state by class: ' (2 car, 1 person)', or '' without any."""
    names = [name.rsplit(" ", 1)[0] for name, one in zip(layer.names, layer.states, strict=True) if one == state]
    if not names:
        return ""
    return " (" + ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) + ")"


def _student_alone(scored: Detections, row: int, min_score: float) -> tuple[Layer, FloatArray]:
    """Return the student's boxes of one frame that score at least `min_score`, and all their scores."""
    one = scored.take(np.array([row]))
    one = one.keep_boxes(one.scores >= min_score)
    return _layer("student", one, np.full(len(one.scores), UNCOMPARED, np.int8), 0), one.scores


def _layer(who: str, boxes: Detections, states: States, row: int) -> Layer:
    image = boxes.image(row)
    names = [
        f"{boxes.class_names[int(class_id)]} {score:.2f}"
        for class_id, score in zip(image.class_ids, image.scores, strict=True)
    ]
    highest = np.sort(np.argsort(-image.scores, kind="stable")[:MAX_BOXES])
    in_frame = states[int(boxes.offsets[row]) : int(boxes.offsets[row + 1])]
    return Layer(who, image.boxes_xyxy[highest], in_frame[highest], tuple(names[int(box)] for box in highest))
