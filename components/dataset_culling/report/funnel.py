"""The funnel at the top of the page: from all frames to those trained on."""

from __future__ import annotations

from dataclasses import dataclass

from dataset_culling.report.run_data import Run


@dataclass(frozen=True, slots=True)
class Step:
    """One bar of the funnel."""

    label: str
    number: int
    share: float  # of the pool, 0..1
    role: str  # key of the bar's colour in `charts.svg.PALETTE`
    note: str


def funnel(run: Run) -> tuple[Step, ...]:
    """List the steps of the funnel, widest first."""
    selected = "the student is unsure of what it sees there"
    if run.selected_by != "confidence":
        selected = f"by the strategy “{run.selected_by}”"
    kept = "student and teacher disagree most there; trained on"
    if run.kept_by != "precision":
        kept = f"by the strategy “{run.kept_by}”; trained on"
    pool = len(run.pool)
    steps = (
        ("Frames to learn from", pool, "passed", "extracted from the footage, near-duplicates left out"),
        ("Kept by confidence", len(run.selection), "labelled", selected),
        ("Labelled by the teacher", len(run.labels), "labelled", "only these cost teacher time"),
        ("Kept by precision", len(run.kept), "kept", kept),
    )
    return tuple(Step(label, number, number / max(pool, 1), role, note) for label, number, role, note in steps)
