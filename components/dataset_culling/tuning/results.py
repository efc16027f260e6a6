"""Results of `culling students`: settings, a row for each candidate, the three files and the terminal's table.

students.csv     a line for each candidate
students.json    the same with the settings and the choice; what is in it is not tried again
students.svg     mAP@50 over milliseconds
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from dataset_culling.config import parse_config, read_yaml
from dataset_culling.errors import ConfigError
from dataset_culling.report.charts.students import Dot, students_svg
from dataset_culling.report.words import plural
from dataset_culling.storage.transfer import write_page
from dataset_culling.tuning.candidates import by_reason
from dataset_culling.tuning.choice import ChoiceRule, choose_student, pareto_front

CSV, JSON, SVG = "students.csv", "students.json", "students.svg"

Judge = Literal["agreement", "truth"]


class StudentsConfig(ChoiceRule):
    """Candidates, length of training and the rule of choice."""

    candidates: tuple[str, ...] = Field(
        (), description="Detectors, NAME or NAME=WEIGHTS; none: the run's student and all whose weights are at hand."
    )
    epochs: int = Field(5, ge=1, le=1000, description="Passes over the culled set for each candidate.")
    seed: int = Field(0, ge=0, description="Of every training.")
    judge: Judge = Field("agreement", description="Reference of the rule: the teacher's labels or true boxes.")
    engine: Literal["torch", "openvino"] = Field("torch", description="Runtime of the network while it is timed.")


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of a candidate; quality is 0..1."""

    student: str
    is_teacher: bool
    map_50_agreement: float
    map_50_95_agreement: float
    map_50_truth: float | None  # None where no true boxes are known
    map_50_95_truth: float | None
    latency_ms: float  # median
    latency_p90_ms: float
    gflops: float
    million_parameters: float
    input_height_px: int
    input_width_px: int
    train_s: float
    steps: int
    key: str  # digest of all that decides these figures

    def quality(self, judge: Judge) -> float:
        """Return the figure that the rule compares."""
        found = self.map_50_truth if judge == "truth" else self.map_50_agreement
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts shared by all candidates, printed beside the figures."""

    side_px: int
    frames: int  # trained on
    heldout_frames: int
    rounds: int  # images that were timed
    knows_truth: bool
    engine: str  # what was timed on, in words
    notes: tuple[str, ...]
    key: str  # digest of all that is the same for every candidate


def read_settings(file: str, given: Mapping[str, object]) -> StudentsConfig:
    """Settings from a YAML file, if one is named, with options laid over it.

    Raises:
        ConfigError: If one is wrong.
    """
    values = {**(read_yaml(Path(file)) if file else {}), **given}
    return parse_config(StudentsConfig, values, where=file or "students")


def read_rows(file: Path) -> list[Row]:
    """The rows of an earlier students.json, whatever they were tried with; none where it cannot be read."""
    try:
        values = json.loads(file.read_text("utf-8"))
        return [Row(**{key: one[key] for key in Row.__slots__}) for one in (*values["rows"], *values["earlier"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def write_rows(
    out: Path,
    run: Path,
    rows: Sequence[Row],
    facts: Facts,
    config: StudentsConfig,
    left_out: Mapping[str, str],
    *,
    earlier: Sequence[Row] = (),
) -> str | None:
    """Write the three files anew, each whole or not at all.

    Args:
        out: Where.
        run: Of which run.
        rows: At least one.
        facts: Printed beside them.
        config: How they were tried, and the rule.
        left_out: Who was not tried, and why.
        earlier: Rows of candidates, seeds, epochs or engines that are not asked for this time; kept in the JSON, so
            that they are not lost.

    Returns:
        The chosen student; None if no candidate qualifies or fits the budget.

    Raises:
        OutputError: If they cannot be written.
    """
    try:
        taken = choose(rows, config)
    except ConfigError:
        taken = None
    chosen = taken.student if taken is not None else None
    front = front_of(rows, config)
    values = {
        "run": str(run),
        "chosen": chosen,
        "front": front,
        **asdict(facts),
        "settings": config.model_dump(mode="json"),
        "left_out": dict(left_out),
        "rows": [asdict(row) for row in rows],
        "earlier": [asdict(row) for row in earlier],
    }
    drawn = students_svg(
        _dots(rows, front),
        chosen=chosen or "",
        engine=facts.engine,
        budget_ms=config.budget_ms,
        judged_by_truth=config.judge == "truth",
    )
    write_page(out / CSV, as_csv(rows, front, chosen))
    write_page(out / SVG, drawn)
    write_page(out / JSON, json.dumps(values, indent=1) + "\n")  # last: what it lists is not tried again
    return chosen


def _choosable(rows: Sequence[Row], config: StudentsConfig) -> list[Row]:
    """Rows that the rule looks at: a teacher agrees with itself, which says nothing, unless truth is what counts."""
    usable = [row for row in rows if config.judge == "truth" or not row.is_teacher]
    return [row for row in usable if config.judge == "agreement" or row.map_50_truth is not None]


def choose(rows: Sequence[Row], config: StudentsConfig) -> Row | None:
    """Choose a student by the rule; None if no candidate qualifies.

    Raises:
        ConfigError: If none is within the budget.
    """
    usable = _choosable(rows, config)
    if not usable:
        return None
    latency_ms = np.array([row.latency_ms for row in usable])
    quality = np.array([row.quality(config.judge) for row in usable])
    rule = ChoiceRule(rule=config.rule, within_points=config.within_points, budget_ms=config.budget_ms)
    return usable[choose_student(latency_ms, quality, rule)]


def front_of(rows: Sequence[Row], config: StudentsConfig) -> list[str]:
    """Names on the Pareto front of those that the rule looks at."""
    usable = _choosable(rows, config)
    latency_ms = np.array([row.latency_ms for row in usable], np.float64)
    quality = np.array([row.quality(config.judge) for row in usable], np.float64)
    return [row.student for row, on in zip(usable, pareto_front(latency_ms, quality), strict=True) if on]


def _dots(rows: Sequence[Row], front: Sequence[str]) -> list[Dot]:
    return [
        Dot(row.student, row.latency_ms, row.map_50_agreement, row.map_50_truth, row.student in front, row.is_teacher)
        for row in rows
    ]


def as_csv(rows: Sequence[Row], front: Sequence[str], chosen: str | None) -> str:
    """Every figure of every candidate; what is not known is empty."""
    out = io.StringIO()
    names = [name for name in Row.__slots__ if name != "key"]
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow([*names, "on_front", "chosen"])
    for row in rows:
        values = ["" if getattr(row, name) is None else _written(getattr(row, name)) for name in names]
        lines.writerow([*values, _written(row.student in front), _written(row.student == chosen)])
    return out.getvalue()


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def lines(
    rows: Sequence[Row], facts: Facts, config: StudentsConfig, left_out: Mapping[str, str], chosen: str | None
) -> list[str]:
    """Format the terminal's table, quickest first."""
    front = front_of(rows, config)
    wide = max([len("student"), *(len(row.student) + 2 * row.is_teacher for row in rows)])
    truth = facts.knows_truth
    heads = ["ms/image", "90th", "agreement", *(["accuracy"] if truth else []), "GFLOPs", "Mparam", "trained"]
    text = [f"{'student':{wide}}" + "".join(f"{head:>11}" for head in heads)]
    for row in sorted(rows, key=lambda one: one.latency_ms):
        cells = [f"{row.latency_ms:.1f}", f"{row.latency_p90_ms:.1f}", f"{100 * row.map_50_agreement:.1f}"]
        if truth:
            cells.append(f"{100 * row.map_50_truth:.1f}" if row.map_50_truth is not None else "n/a")
        cells += [f"{row.gflops:.2f}", f"{row.million_parameters:.2f}", f"{row.train_s:.0f} s"]
        mark = "chosen" if row.student == chosen else "front" if row.student in front else ""
        name = f"{row.student} *" if row.is_teacher else row.student
        text.append(f"{name:{wide}}" + "".join(f"{cell:>11}" for cell in cells) + (f"  {mark}" if mark else ""))
    by = "accuracy" if config.judge == "truth" else "agreement"
    text += [
        f"Median of {facts.rounds} images, one at a time, {facts.side_px} px short side, {facts.engine}.",
        f"Agreement: mAP@50 against the teacher's labels of {facts.heldout_frames} held-out frames"
        + (", accuracy: against true boxes." if truth else "; true boxes are not known."),
        f"{plural(config.epochs, 'epoch')} on {facts.frames} frames each: a ranking, not what a full training gives.",
    ]
    if any(row.is_teacher for row in rows):
        where = "" if config.judge == "truth" else ", and is not chosen by that"
        text.append(f"* the run's teacher: it agrees with itself{where}.")
    text += by_reason(left_out)
    text += list(facts.notes)
    if chosen is None:
        return text
    budget = f" under {config.budget_ms:g} ms" if config.budget_ms else ""
    who = f"the best{budget} in {by}"
    if config.rule == "cheapest-within":
        who = f"the quickest within {config.within_points:g} points of {who}"
    name, _, weights = chosen.partition("=")
    text.append(f"Chosen: {chosen}, {who}.")
    text.append(f"  culling run --student {name}" + (f" --student-weights {weights}" if weights else "") + " ...")
    return text
