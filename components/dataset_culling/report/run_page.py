"""The page of a run: one HTML file that holds everything, kept under a size by giving up picture quality first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dataset_culling.report import words
from dataset_culling.report.charts.run import charts
from dataset_culling.report.charts.svg import Chart, Table
from dataset_culling.report.gallery import Gallery, compare_heldout, frames_shown, galleries
from dataset_culling.report.pictures import Picture, encode, fit_steps, shrink
from dataset_culling.report.run_data import TASK_NAMES, Frames, Provenance, Run
from dataset_culling.report.templating import render_page
from dataset_culling.types import ImageArray

CHART_SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("accuracy", "Accuracy", ("accuracy", "found")),
    ("selection", "Selection", ("losses", "precision", "timeline")),
    ("learning", "Resolution and training", ("resolution", "training")),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of the funnel."""

    label: str
    number: int
    share: float  # of the widest, 0..1
    role: str  # the bar's colour
    note: str


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one task took."""

    name: str
    seconds: float
    share: float  # of the costliest, 0..1
    memory: str
    device: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration and the outputs of one stage."""

    name: str
    values: tuple[tuple[str, str], ...]
    outputs: tuple[Provenance, ...]


def build_page(
    run: Run,
    summary: Mapping[str, Any],
    *,
    num_pictures: int,
    picture_width_px: int,
    min_score: float,
    max_bytes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> str:
    """The page as HTML; equal runs give equal text.

    Args:
        run: What happened.
        summary: Its figures, from `summary.summarise`.
        num_pictures: Most frames in each gallery.
        picture_width_px: Width that pictures are brought to; wider frames only.
        min_score: Student boxes scoring less are not drawn and not counted in captions.
        max_bytes: Most bytes of the page in UTF-8. Pictures lose quality, then size, then number until it fits.
        progress: Told how many of the pictures are read.

    Returns:
        A whole document that loads nothing from anywhere.
    """
    heldout = compare_heldout(run, min_score=min_score)
    drawn = charts(run, heldout)
    images: dict[tuple[bool, int], ImageArray] = {}
    page = ""
    for width_px, quality, num in fit_steps(picture_width_px, num_pictures):
        shown = galleries(run, heldout, num_pictures=num, min_score=min_score)
        wanted = frames_shown(shown)
        for done, key in enumerate(wanted):
            if key not in images:
                images[key] = (run.heldout if key[0] else run.pool).image(key[1])
                progress(done + 1, len(wanted))
        pictures = {
            key: encode(shrink(images[key], width_px), quality=quality, frame_width_px=images[key].shape[1])
            for key in wanted
        }
        page = _render(run, summary, shown, pictures, drawn, min_score=min_score)
        if len(page.encode()) <= max_bytes:
            return page
    # Not even without pictures: only a page limit of a few hundred kilobytes can do that.
    raise ValueError(f"the page needs {len(page.encode())} bytes without any picture, more than {max_bytes}")


def _render(
    run: Run,
    summary: Mapping[str, Any],
    shown: Sequence[Gallery],
    pictures: Mapping[tuple[bool, int], Picture],
    drawn: Mapping[str, Chart],
    *,
    min_score: float,
) -> str:
    return render_page(
        "page.html.j2",
        run=run,
        summary=summary,
        footage_line=footage_line(run),
        worst=worst_labels(run),
        gate=gate_checks(run),
        funnel=funnel(run),
        galleries=shown,
        pictures=pictures,
        sections=[
            (key, title, found)
            for key, title, names in CHART_SECTIONS
            if (found := [drawn[name] for name in names if name in drawn])
        ],
        costs=cost_rows(run),
        footage=footage_facts(run.pool),
        settings=settings(run.provenance),
        min_score=min_score,
        num_shown=len(pictures),
    )


def footage_line(run: Run) -> str:
    """One line that says what was filmed: length, start, files."""
    first = min(float(run.pool.time_s[0]), float(run.heldout.time_s[0]))
    last = max(float(run.pool.time_s[-1]), float(run.heldout.time_s[-1]))
    parts = [f"{words.duration(last - first)} of footage"]
    if (start := words.parse_start(run.pool.start_utc)) is not None:
        parts.append(f"from {start:%Y-%m-%d %H:%M} UTC")
    if isinstance(files := run.pool.footage.get("files"), Sequence) and files:
        parts.append(f"in {words.plural(len(files), 'file')}")
    return " ".join(parts)


def funnel(run: Run) -> tuple[Step, ...]:
    """From all frames to those trained on."""
    pool = max(len(run.pool), 1)
    steps = (
        ("Frames to learn from", len(run.pool), "passed", "extracted from the footage, near-duplicates left out"),
        (
            "Kept by confidence",
            len(run.selection),
            "labelled",
            "the student is unsure of what it sees there"
            if run.selected_by == "confidence"
            else f"by the strategy “{run.selected_by}”",
        ),
        ("Labelled by the teacher", len(run.labels), "labelled", "only these cost teacher time"),
        (
            "Kept by precision",
            len(run.kept),
            "kept",
            "student and teacher disagree most there; trained on"
            if run.kept_by == "precision"
            else f"by the strategy “{run.kept_by}”; trained on",
        ),
    )
    return tuple(Step(label, number, number / pool, role, note) for label, number, role, note in steps)


def worst_labels(run: Run) -> Table | None:
    """The teacher's labels that a person should look at first; None where it was not compared with itself."""
    if not run.worst:
        return None
    return Table(
        "Labels to look at first" + _cut_note(len(run.worst)),
        ("Time", "Frame", "Class", "Teacher's score", "Found again", "Corners, px", "What became of it"),
        tuple(
            (
                words.clock(one.time_s, run.pool.start_utc),
                str(one.frame_id),
                one.class_name,
                f"{one.score:.2f}",
                f"{one.trust:.2f}",
                ", ".join(f"{value:.0f}" for value in one.box_xyxy),
                "ignored" if one.ignored else "a label",
            )
            for one in run.worst[: words.MAX_LISTED]
        ),
    )


def gate_checks(run: Run) -> Table | None:
    """Every check of the promotion gate, failed ones first; None where none was made."""
    if not run.decision.checks:
        return None
    order = {False: 0, True: 1, None: 2}
    verdict = {False: "failed", True: "passed", None: "not judged"}
    held = sorted(run.decision.checks, key=lambda check: order[check.passed])
    return Table(
        "What the promotion gate looked at",
        ("Check", "Result", "Figures"),
        tuple((check.name, verdict[check.passed], check.text.removeprefix(f"{check.name}: ")) for check in held),
    )


def cost_rows(run: Run) -> tuple[CostRow, ...]:
    """What each task took, in the order of the run."""
    longest = max([cost.seconds for cost in run.costs.values()] + [1e-9])
    order = [task for task in TASK_NAMES if task in run.costs]
    order += [task for task in run.costs if task not in TASK_NAMES]
    return tuple(
        CostRow(
            TASK_NAMES.get(task, task),
            cost.seconds,
            cost.seconds / longest,
            words.mib(cost.peak_rss_mib) if cost.peak_rss_mib else "–",
            cost.device,
            tuple(cost.notes),
        )
        for task in order
        for cost in (run.costs[task],)
    )


def _gate_rows(found: Any) -> tuple[tuple[str, str], ...]:
    """What the near-duplicate gate saved, or would have saved and cost where it only marked."""
    if not isinstance(found, Mapping) or not found.get("found"):
        return ()
    rows = [("near-duplicates found", f"{words.count(found['found'])} ({found.get('share', 0.0):.0%})")]
    for name, label in (("selection", "kept by the first cull"), ("kept", "kept in the end")):
        cost = found.get(name)
        if isinstance(cost, Mapping):
            rows.append(
                (
                    f"of {words.count(cost['of'])} {label}, dropping them would lose",
                    f"{words.count(cost['lost'])}, {words.count(cost['without_alike'])} without a kept one like it",
                )
            )
    return tuple(rows)


def footage_facts(frames: Frames) -> dict[str, Any]:
    """The footage report as tables and sentences; whatever it lacks is left out."""
    report = frames.footage
    counts = _numbers(report.get("counts"))
    labels = {
        "sampled": "samples taken from the footage",
        "pool": "frames to learn from",
        "heldout": "frames held out",
        "gap": "left out between the two",
        "near_duplicates": "near-duplicates dropped",
        "damaged": "damaged, not used",
    }
    rows = tuple((label, words.count(counts[key])) for key, label in labels.items() if key in counts)
    rows += _gate_rows(report.get("near_duplicates"))
    damage = {kind: int(number) for kind, number in _numbers(report.get("damage")).items() if number}
    stretches = [one for one in report.get("damaged_stretches", ()) if isinstance(one, Mapping)]
    missing = [one for one in report.get("missing_stretches_s", ()) if isinstance(one, Sequence) and len(one) == 2]
    split = _numbers(report.get("split"))
    files = [one for one in report.get("files", ()) if isinstance(one, Mapping)]

    def clock(value: Any) -> str:
        return words.clock(float(value), frames.start_utc)

    return {
        "samples": Table("What became of the samples", ("", "Samples"), rows) if rows else None,
        "files": Table(
            "Video files" + _cut_note(len(files)),
            ("File", "Codec", "Size, px", "From", "To"),
            tuple(
                (
                    str(one.get("name", "?")),
                    str(one.get("codec", "?")),
                    f"{one.get('width_px', '?')} × {one.get('height_px', '?')}",
                    clock(one.get("start_s", 0.0)),
                    clock(one.get("end_s", 0.0)),
                )
                for one in files[:words.MAX_LISTED]
            ),
        )
        if files
        else None,
        "stretches": Table(
            "Damaged and missing stretches" + _cut_note(len(stretches) + len(missing)),
            ("From", "To", "What", "Samples"),
            tuple(
                [
                    (clock(one.get("start_s", 0)), clock(one.get("end_s", 0)), str(one.get("kind", "?")),
                     str(one.get("samples", "?")))
                    for one in stretches
                ]
                + [(clock(one[0]), clock(one[1]), "missing", "–") for one in missing]
            )[:words.MAX_LISTED],
        )
        if stretches or missing
        else None,
        "damage": ", ".join(f"{number:,} {kind}" for kind, number in damage.items()),
        "gap_s": split.get("closest_s", split.get("gap_s")),
        "gap_s_asked": split.get("gap_s_asked"),
        "notes": [str(note) for note in report.get("notes", ())][:words.MAX_LISTED],
        "left_out": [str(note) for note in report.get("left_out", ())][:words.MAX_LISTED],
    }  # fmt: skip


def _cut_note(number: int) -> str:
    return f", the first {words.MAX_LISTED} of {number:,}" if number > words.MAX_LISTED else ""


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): float(number) for key, number in value.items() if isinstance(number, int | float)}


def settings(provenance: Sequence[Provenance]) -> tuple[Settings, ...]:
    """Stage by stage what it was told and what it wrote; outputs of one stage with one configuration together."""
    grouped: dict[tuple[str, str], list[Provenance]] = {}
    for one in provenance:
        task = one.output.partition(".")[0]
        grouped.setdefault((task, json.dumps(one.config, sort_keys=True)), []).append(one)
    order = {task: place for place, task in enumerate(TASK_NAMES)}
    return tuple(
        Settings(TASK_NAMES.get(task, task), tuple(words.flatten(outputs[0].config)), tuple(outputs))
        for (task, _), outputs in sorted(grouped.items(), key=lambda item: (order.get(item[0][0], 99), item[0]))
    )
