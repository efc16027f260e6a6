"""`culling plan`: what a camera costs at several target sizes, and what a budget buys, before anything is run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from dataset_culling.cli.command import PATH, Command
from dataset_culling.config import parse_config
from dataset_culling.errors import ConfigError, InputError
from dataset_culling.planning import PAPER_POOL, PAPER_RATES, CostRates, Plan, PlanRequest, cost_table, full_cost, plan
from dataset_culling.report import words

PAPER_FRAMES = 86_400
"""Table 1's surveillance rows: a day at one frame a second."""
NOT_PLANNED = ("choose-resolution", "label-heldout", "evaluate-student")
"""Tasks with a network that a run has whatever the target is."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """Seconds and frames that a plan is computed from."""

    frames: int
    rates: CostRates
    pool: int  # frames labelled whatever the target is; 0: pool_factor times the target
    pool_factor: float
    source: str
    other_s: float = 0.0  # seconds that the run spent on NOT_PLANNED
    measured_on_gpu: bool = True


@click.command("plan", cls=Command)
@click.argument("run_folder", metavar="[RUN]", required=False, type=PATH)
@click.option("--paper", is_flag=True, help="The paper's constants instead of a run's: its Table 1.")
@click.option("--budget-minutes", type=click.FloatRange(0, min_open=True), help="Pick target and shortlist for this.")
@click.option("--targets", default="64,128,256", show_default=True, help="Target sizes to cost.")
@click.option("--frames", type=click.IntRange(1), help="Frames in the footage. [default: the run's]")
@click.option("--shortlist", type=click.IntRange(1), help="Frames labelled, whatever the target is.")
@click.option("--pool", type=click.IntRange(1), hidden=True)  # the former name of --shortlist
@click.option("--pool-factor", type=click.FloatRange(1), help="Frames labelled for each one kept. [default: the run's]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the kept frames. [default: the run's]")
@click.option("--student-s", type=float, help="Seconds for the student to score a frame.")
@click.option("--teacher-s", type=float, help="Seconds for the teacher to label a frame.")
@click.option("--step-s", type=float, help="Seconds to train on a frame once.")
@click.option(
    "--variants", type=click.IntRange(1), help="Versions of a frame in an epoch: 2 where flips double the set."
)
@click.option("--json", "as_json", is_flag=True, help="For machines, in seconds.")
def plan_command(
    run_folder: Path | None, paper: bool, budget_minutes: float | None, targets: str, as_json: bool, **given: Any
) -> None:
    """Print a camera's cost at several target sizes and the plan for a budget: the cost model of the paper's Table 1.

    RUN is the folder of a finished run, whose measured seconds are used; any of them can be given instead.

    \b
    culling plan runs/demo
    culling plan runs/demo --frames 86400 --budget-minutes 30
    culling plan --paper
    """
    try:
        sizes = [int(part) for part in targets.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise ConfigError(f"--targets {targets}: expected numbers of frames such as 64,128,256.")
    given["pool"] = given.pop("shortlist") or given["pool"]
    grounds = find_grounds(run_folder, paper=paper, given=given)
    rows = cost_table(grounds.frames, sorted(sizes), grounds.rates, pool=grounds.pool, pool_factor=grounds.pool_factor)
    best = None
    if budget_minutes is not None:
        request = {"frames": grounds.frames, "budget_s": 60 * budget_minutes, "pool_factor": grounds.pool_factor}
        best = plan(parse_config(PlanRequest, request, where="plan"), grounds.rates)
    if as_json:
        click.echo(json.dumps(_as_values(grounds, rows, best), indent=1, sort_keys=True))
        return
    click.echo(
        f"{grounds.frames:,} frames; {grounds.rates.student_s:.3g} s a frame for the student, "
        f"{grounds.rates.teacher_s:.3g} s for the teacher, {grounds.rates.step_s:.3g} s to train on one once, "
        f"{grounds.rates.epochs * grounds.rates.variants} times each ({grounds.source})"
    )
    click.echo("\n".join(table_lines(grounds, rows)))
    if not grounds.measured_on_gpu:
        click.echo("That run used no GPU: these are minutes of its processor.")
    if grounds.other_s:
        click.echo(
            f"Besides, that run spent {words.duration(grounds.other_s)} on optResolution, labelling held-out frames "
            f"and evaluation, which no target changes."
        )
    if best is not None:
        click.echo(
            f"\n{budget_minutes:g} min: train on {best.target:,} of {best.pool:,} labelled frames, "
            f"{words.duration(best.cost.total_s)}, {_times(best.speedup)} less than on everything. It is {best.reason}."
        )
        click.echo(f"  culling run --target {best.target} --shortlist {best.pool} ...")


def find_grounds(run: Path | None, *, paper: bool, given: Mapping[str, Any]) -> Grounds:
    """Find seconds and frames: as given, else of the run or of the paper.

    Raises:
        InputError: If the run has no summary, or one without measured seconds.
        ConfigError: If a figure is missing or wrong.
    """
    if run is not None and paper:
        raise ConfigError("plan: expected a run or --paper, found both. Leave one out.")
    asked = {key: value for key, value in given.items() if value is not None}
    values: dict[str, Any] = {"pool": 0, "pool_factor": 4.0}
    source, other_s, on_gpu = "as given", 0.0, True
    if paper:
        values |= {**PAPER_RATES.model_dump(), "frames": PAPER_FRAMES, "pool": PAPER_POOL}
        source = "the paper's K80"
    elif run is not None:
        file = run / "summary.json" if run.is_dir() else run
        summary = read_summary(file)
        values |= {
            "student_s": summary["student_seconds_per_frame"],
            "teacher_s": summary["teacher_seconds_per_frame"],
            "step_s": summary["train_seconds_per_image"],
            "epochs": summary["epochs"],
            "variants": 1,  # a flip replaces the frame in our recipe
            "frames": summary["frames_pool"],
            "pool_factor": max(1.0, summary["frames_labeled"] / max(summary["frames_kept"], 1)),
        }
        source = f"measured in {run}"
        other_s = sum(float(summary["stage_seconds"].get(task, 0.0)) for task in NOT_PLANNED)
        on_gpu = bool(summary.get("gpu_seconds"))
    if "pool_factor" in asked:
        values["pool"] = 0
    values |= asked
    needed = ("frames", "student_s", "teacher_s", "step_s")
    if missing := [f"--{key.replace('_', '-')}" for key in needed if key not in values]:
        raise ConfigError(
            f"plan: expected a finished run, --paper, or measured seconds, found no {', '.join(missing)}. "
            f"Pass the folder of a run."
        )
    rates = parse_config(CostRates, {key: values[key] for key in CostRates.model_fields if key in values}, where="plan")
    frames, pool, factor = int(values["frames"]), int(values["pool"]), float(values["pool_factor"])
    return Grounds(frames, rates, pool, factor, source, other_s, on_gpu)


def read_summary(file: Path) -> dict[str, Any]:
    """Read the summary of a finished run.

    Raises:
        InputError: If it is missing, no JSON, or lacks the seconds that a plan needs.
    """
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{file}: expected the summary of a finished run, found no such file. Run culling run --out first."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: expected the summary of a run as JSON, found {error}.") from None
    needed = (
        "student_seconds_per_frame", "teacher_seconds_per_frame", "train_seconds_per_image", "epochs", "frames_pool",
        "frames_labeled", "frames_kept", "stage_seconds",
    )  # fmt: skip
    if not isinstance(summary, dict) or (missing := [key for key in needed if key not in summary]):
        what = missing[0] if isinstance(summary, dict) else "that: no JSON object"
        raise InputError(
            f"{file}: expected what a run measured, found no {what}. Run culling run again with the same --out."
        )
    return summary


def table_lines(grounds: Grounds, rows: Sequence[Plan]) -> list[str]:
    """Format the table in hours, as the paper prints it, or in minutes if every cost is short."""
    full = full_cost(grounds.frames, grounds.rates)
    unit, unit_s = ("h", 3600.0) if min([row.cost.total_s for row in rows] or [full.total_s]) >= 1800 else ("min", 60.0)
    parts = [f"{name}, {unit}" for name in ("training", "student", "teacher", "total")]
    cells = [("target", "labelled", *parts, "saved")]
    named = [(f"{row.target:,}", f"{row.pool:,}", row.cost, _times(row.speedup)) for row in rows]
    for target, pool, cost, saved in [*named, ("all", f"{grounds.frames:,}", full, "")]:
        seconds = (cost.training_s, cost.student_s, cost.teacher_s, cost.total_s)
        cells.append((target, pool, *(f"{value / unit_s:.2f}" for value in seconds), saved))
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _times(ratio: float) -> str:
    return words.times(ratio).replace("\N{MULTIPLICATION SIGN}", "x")


def _as_values(grounds: Grounds, rows: Sequence[Plan], best: Plan | None) -> dict[str, Any]:
    def values(row: Plan) -> dict[str, Any]:
        parts = ("training_s", "student_s", "teacher_s", "total_s")
        cost = {part: getattr(row.cost, part) for part in parts}
        return {"frames": row.frames, "pool": row.pool, "target": row.target, **cost, "speedup": row.speedup}

    full = full_cost(grounds.frames, grounds.rates)
    found: dict[str, Any] = {
        "rates": grounds.rates.model_dump(),
        "rows": [values(row) for row in rows],
        "full": {"frames": grounds.frames, "training_s": full.training_s, "teacher_s": full.teacher_s,
                 "total_s": full.total_s},
    }  # fmt: skip
    if best is not None:
        found["plan"] = values(best) | {"reason": best.reason}
    return found
