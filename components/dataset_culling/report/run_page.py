"""The page of a run: one HTML file below a size limit, which it meets by lowering picture quality first."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataset_culling.report import words
from dataset_culling.report.charts.accuracy import accuracy_chart, found_over_time
from dataset_culling.report.charts.losses import loss_chart, precision_chart
from dataset_culling.report.charts.resolution import resolution_chart
from dataset_culling.report.charts.svg import Table
from dataset_culling.report.charts.timeline import timeline_chart
from dataset_culling.report.charts.training import training_chart
from dataset_culling.report.funnel import funnel
from dataset_culling.report.gallery import compare_heldout, frames_shown, galleries
from dataset_culling.report.pictures import encode, fit_steps, shrink
from dataset_culling.report.run_data import TASK_NAMES, Frames, Provenance, Run
from dataset_culling.report.templating import render_page
from dataset_culling.types import ImageArray


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
    """Build the page as HTML that loads nothing; equal runs give equal text.

    Args:
        run: The run.
        summary: Its figures, from `summary.summarise`.
        num_pictures: Most frames in each gallery.
        picture_width_px: Width to which wider frames are shrunk.
        min_score: Student boxes that score less are neither drawn nor counted in captions.
        max_bytes: Most bytes of the page in UTF-8. Pictures lose quality, then size, then number to fit it.
        progress: Called with the numbers of pictures read and to be read.

    Raises:
        ValueError: If the page without pictures is larger than `max_bytes`.
    """
    heldout = compare_heldout(run, min_score=min_score)
    sections = (
        ("accuracy", "Accuracy", (accuracy_chart(run.metrics, run.class_names), found_over_time(run.heldout, heldout))),
        ("selection", "Selection", (loss_chart(run), precision_chart(run), timeline_chart(run))),
        ("learning", "Resolution and training", (resolution_chart(run.resolution), training_chart(run.training))),
    )
    values: dict[str, Any] = {
        "run": run,
        "summary": summary,
        "footage_line": _footage_line(run),
        "worst": _worst_labels(run),
        "gate": _promotion_checks(run),
        "funnel": funnel(run),
        "sections": [
            (key, title, drawn)
            for key, title, charts in sections
            if (drawn := [chart for chart in charts if chart is not None])
        ],
        "costs": _cost_rows(run),
        "footage": footage_facts(run.pool),
        "settings": _settings(run.provenance),
        "min_score": min_score,
    }
    images: dict[tuple[bool, int], ImageArray] = {}
    page = ""
    for width_px, quality, num in fit_steps(picture_width_px, num_pictures):
        shown = galleries(run, heldout, num_pictures=num, min_score=min_score)
        wanted = frames_shown(shown)
        for done, (is_heldout, frame_id) in enumerate(wanted, 1):
            if (is_heldout, frame_id) not in images:
                images[is_heldout, frame_id] = (run.heldout if is_heldout else run.pool).image(frame_id)
                progress(done, len(wanted))
        pictures = {
            key: encode(shrink(images[key], width_px), quality=quality, frame_width_px=images[key].shape[1])
            for key in wanted
        }
        page = render_page("page.html.j2", galleries=shown, pictures=pictures, **values)
        if len(page.encode()) <= max_bytes:
            return page
    raise ValueError(f"the page needs {len(page.encode())} bytes without any picture, more than {max_bytes}")


def _footage_line(run: Run) -> str:
    """Describe the footage in one line: length, start, number of files."""
    first = min(float(run.pool.time_s[0]), float(run.heldout.time_s[0]))
    last = max(float(run.pool.time_s[-1]), float(run.heldout.time_s[-1]))
    parts = [f"{words.duration(last - first)} of footage"]
    if (start := words.parse_start(run.pool.start_utc)) is not None:
        parts.append(f"from {start:%Y-%m-%d %H:%M} UTC")
    if isinstance(files := run.pool.footage.get("files"), Sequence) and files:
        parts.append(f"in {words.plural(len(files), 'file')}")
    return " ".join(parts)


def _worst_labels(run: Run) -> Table | None:
    """List the teacher's least consistent labels, for review; None if its consistency was not checked."""
    if not run.worst:
        return None
    return Table(
        "Labels to review first" + _cut_note(len(run.worst)),
        ("Time", "Frame", "Class", "Teacher's score", "Overlap with itself", "Corners, px", "Used as"),
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


def _promotion_checks(run: Run) -> Table | None:
    """List every check of the promotion rule, failed ones first; None if it made none."""
    if not run.decision.checks:
        return None
    verdicts = {False: "failed", True: "passed", None: "not judged"}
    checks = sorted(run.decision.checks, key=lambda check: list(verdicts).index(check.passed))
    return Table(
        "Checks of the promotion rule",
        ("Check", "Result", "Figures"),
        tuple((check.name, verdicts[check.passed], check.text.removeprefix(f"{check.name}: ")) for check in checks),
    )


def _cost_rows(run: Run) -> list[dict[str, Any]]:
    """List name, seconds, share of the longest, memory and device of each task, in the order of the run."""
    longest = max([cost.seconds for cost in run.costs.values()] + [1e-9])
    order = [task for task in TASK_NAMES if task in run.costs]
    order += [task for task in run.costs if task not in TASK_NAMES]
    return [
        {
            "name": TASK_NAMES.get(task, task),
            "seconds": cost.seconds,
            "share": cost.seconds / longest,
            "memory": words.mib(cost.peak_rss_mib) if cost.peak_rss_mib else words.MISSING,
            "device": cost.device,
        }
        for task in order
        for cost in (run.costs[task],)
    ]


def footage_facts(frames: Frames) -> dict[str, Any]:
    """Turn the footage report into tables and sentences; missing or invalid parts are left out."""
    report = frames.footage
    counts, damage, split = (_numbers(report.get(key)) for key in ("counts", "damage", "split"))
    files = _records(report.get("files"))
    stretches = _records(report.get("damaged_stretches"))
    missing = [one for one in report.get("missing_stretches_s", ()) if isinstance(one, Sequence) and len(one) == 2]

    def clock(value: Any) -> str:
        return words.clock(float(value), frames.start_utc)

    def table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table | None:
        return Table(title + _cut_note(len(rows)), columns, tuple(rows[: words.MAX_LISTED])) if rows else None

    labels = {
        "sampled": "samples taken from the footage",
        "pool": "frames to learn from",
        "heldout": "frames held out",
        "gap": "left out between the two",
        "near_duplicates": "near-duplicates dropped",
        "damaged": "damaged, not used",
    }
    samples = [(label, words.count(counts[key])) for key, label in labels.items() if key in counts]
    samples += near_duplicate_rows(report.get("near_duplicates"))
    return {
        "samples": table("Use of the samples", ("", "Samples"), samples),
        "files": table(
            "Video files",
            ("File", "Codec", "Size, px", "From", "To"),
            [
                (str(one.get("name", "?")), str(one.get("codec", "?")),
                 f"{one.get('width_px', '?')} × {one.get('height_px', '?')}", clock(one.get("start_s", 0.0)),
                 clock(one.get("end_s", 0.0)))
                for one in files
            ],
        ),
        "stretches": table(
            "Damaged and missing stretches",
            ("From", "To", "Kind", "Samples"),
            [
                (clock(one.get("start_s", 0)), clock(one.get("end_s", 0)), str(one.get("kind", "?")),
                 str(one.get("samples", "?")))
                for one in stretches
            ]
            + [(clock(start_s), clock(end_s), "missing", words.MISSING) for start_s, end_s in missing],
        ),
        "damage": ", ".join(f"{int(num):,} {kind}" for kind, num in damage.items() if int(num)),
        "gap_s": split.get("closest_s", split.get("gap_s")),
        "gap_s_asked": split.get("gap_s_asked"),
        "notes": [str(note) for note in report.get("notes", ())][: words.MAX_LISTED],
        "left_out": [str(note) for note in report.get("left_out", ())][: words.MAX_LISTED],
    }  # fmt: skip


def near_duplicate_rows(found: Any) -> list[tuple[str, str]]:
    """List the near-duplicates found and, if they were only marked, the selected frames that dropping would lose."""
    if not isinstance(found, Mapping) or not found.get("found"):
        return []
    rows = [("near-duplicates found", f"{words.count(found['found'])} ({found.get('share', 0.0):.0%})")]
    for name, label in (("selection", "kept by the first cull"), ("kept", "kept in the end")):
        if isinstance(cost := found.get(name), Mapping):
            rows.append(
                (
                    f"of {words.count(cost['of'])} {label}, dropping them would lose",
                    f"{words.count(cost['lost'])}, {words.count(cost['without_alike'])} without a kept one like it",
                )
            )
    return rows


def _cut_note(num: int) -> str:
    return f", the first {words.MAX_LISTED} of {num:,}" if num > words.MAX_LISTED else ""


def _records(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value or () if isinstance(one, Mapping)]


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {str(key): float(num) for key, num in value.items() if isinstance(num, int | float)}


def _settings(provenance: Sequence[Provenance]) -> list[tuple[str, list[tuple[str, str]], list[Provenance]]]:
    """Return (stage, its settings, its outputs) in the order of the run; equal configurations of a stage are merged."""
    grouped: dict[tuple[str, str], list[Provenance]] = {}
    for one in provenance:
        task = one.output.partition(".")[0]
        grouped.setdefault((task, json.dumps(one.config, sort_keys=True)), []).append(one)
    order = {task: place for place, task in enumerate(TASK_NAMES)}
    return [
        (TASK_NAMES.get(task, task), words.flatten(outputs[0].config), outputs)
        for (task, _), outputs in sorted(grouped.items(), key=lambda item: (order.get(item[0][0], 99), item[0]))
    ]
