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
from functools import cached_property
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
from dataset_culling.tuning.choice import ChoiceRule, Float64Array, choose_student, pareto_front

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


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts shared by all candidates."""

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
    """Read all rows of an earlier students.json; none if it cannot be read."""
    try:
        values = json.loads(file.read_text("utf-8"))
        return [Row(**{key: one[key] for key in Row.__slots__}) for one in (*values["rows"], *values["earlier"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


@dataclass(frozen=True)
class Results:
    """Figures of the candidates tried so far, and the choice among them.

    `left_out` maps a candidate that was not tried to the reason. `earlier` holds rows of other candidates, seeds,
    epochs or engines; they stay in the JSON file.
    """

    run: Path
    config: StudentsConfig
    facts: Facts
    rows: Sequence[Row]
    left_out: Mapping[str, str]
    earlier: Sequence[Row] = ()

    @cached_property
    def _usable(self) -> tuple[list[str], Float64Array, Float64Array]:
        """Names, latencies and quality of the rows that the rule compares.

        The teacher agrees with its own labels, which means nothing, so it only counts where truth decides.
        """
        truth = self.config.judge == "truth"
        quality = [(row, row.map_50_truth if truth else row.map_50_agreement) for row in self.rows]
        usable = [(row, value) for row, value in quality if value is not None and (truth or not row.is_teacher)]
        return (
            [row.student for row, _ in usable],
            np.array([row.latency_ms for row, _ in usable], np.float64),
            np.array([value for _, value in usable], np.float64),
        )

    def choose(self) -> str | None:
        """Choose a student by the rule; None if no candidate qualifies.

        Raises:
            ConfigError: If none is within the budget.
        """
        names, latency_ms, quality = self._usable
        return names[choose_student(latency_ms, quality, self.config)] if names else None

    @cached_property
    def chosen(self) -> str | None:
        """The chosen student; None if no candidate qualifies or fits the budget."""
        try:
            return self.choose()
        except ConfigError:
            return None

    @cached_property
    def front(self) -> list[str]:
        """Names on the Pareto front."""
        names, latency_ms, quality = self._usable
        return [name for name, on in zip(names, pareto_front(latency_ms, quality), strict=True) if on]

    def write(self, out: Path) -> None:
        """Replace the three files, each whole or not at all.

        Raises:
            OutputError: If they cannot be written.
        """
        values = {
            "run": str(self.run), "chosen": self.chosen, "front": self.front, **asdict(self.facts),
            "settings": self.config.model_dump(mode="json"), "left_out": dict(self.left_out),
            "rows": [asdict(row) for row in self.rows], "earlier": [asdict(row) for row in self.earlier],
        }  # fmt: skip
        dots = [
            Dot(row.student, row.latency_ms, row.map_50_agreement, row.map_50_truth, row.student in self.front,
                row.is_teacher) for row in self.rows
        ]  # fmt: skip
        drawn = students_svg(
            dots, chosen=self.chosen or "", engine=self.facts.engine, budget_ms=self.config.budget_ms,
            judged_by_truth=self.config.judge == "truth",
        )  # fmt: skip
        write_page(out / CSV, self._csv())
        write_page(out / SVG, drawn)
        write_page(out / JSON, json.dumps(values, indent=1) + "\n")  # last: what it lists is not tried again

    def _csv(self) -> str:
        text = io.StringIO()
        names = [name for name in Row.__slots__ if name != "key"]
        table = csv.DictWriter(text, [*names, "on_front", "chosen"], extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for row in self.rows:
            marks = {"on_front": row.student in self.front, "chosen": row.student == self.chosen}
            table.writerow({name: _csv_cell(value) for name, value in (asdict(row) | marks).items()})
        return text.getvalue()

    def lines(self) -> list[str]:
        """Format the terminal's table, quickest first, and the choice."""
        facts, config = self.facts, self.config
        truth = facts.knows_truth
        heads = ["ms/image", "90th", "agreement", *(["accuracy"] if truth else []), "GFLOPs", "Mparam", "trained"]
        table = [("student", heads, "")]
        for row in sorted(self.rows, key=lambda one: one.latency_ms):
            cells = [f"{row.latency_ms:.1f}", f"{row.latency_p90_ms:.1f}", f"{100 * row.map_50_agreement:.1f}"]
            if truth:
                cells.append(f"{100 * row.map_50_truth:.1f}" if row.map_50_truth is not None else "n/a")
            cells += [f"{row.gflops:.2f}", f"{row.million_parameters:.2f}", f"{row.train_s:.0f} s"]
            mark = "  chosen" if row.student == self.chosen else "  front" if row.student in self.front else ""
            table.append((f"{row.student} *" if row.is_teacher else row.student, cells, mark))
        wide = max(len(name) for name, _, _ in table)
        text = [f"{name:{wide}}" + "".join(f"{cell:>11}" for cell in cells) + mark for name, cells, mark in table]
        text += [
            f"Median of {facts.rounds} images, one at a time, {facts.side_px} px short side, {facts.engine}.",
            f"Agreement: mAP@50 against the teacher's labels of {facts.heldout_frames} held-out frames"
            + (", accuracy: against true boxes." if truth else "; true boxes are not known."),
            f"{plural(config.epochs, 'epoch')} on {facts.frames} frames each: a ranking, not what a full training "
            f"gives.",
        ]
        if any(row.is_teacher for row in self.rows):
            where = "" if config.judge == "truth" else ", and is not chosen by that"
            text.append(f"* the run's teacher: it agrees with itself{where}.")
        text += [*by_reason(self.left_out), *facts.notes]
        if self.chosen is not None:
            who = f"the best{f' under {config.budget_ms:g} ms' if config.budget_ms else ''} in "
            who += "accuracy" if config.judge == "truth" else "agreement"
            if config.rule == "cheapest-within":
                who = f"the quickest within {config.within_points:g} points of {who}"
            name, _, weights = self.chosen.partition("=")
            text.append(f"Chosen: {self.chosen}, {who}.")
            text.append(f"  culling run --student {name}{f' --student-weights {weights}' if weights else ''} ...")
        return text


def _csv_cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
