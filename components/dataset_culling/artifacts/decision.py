"""decision/1: the promotion gate's decision, with every check and its figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dataset_culling.artifacts.header import Origin, read_record, write_artifact
from dataset_culling.evaluation.promotion_rule import Check

SCHEMA = "decision/1"
FILE = "decision.json"


@dataclass(frozen=True, slots=True)
class Decision:
    """The promotion stage's decision; a version of 0 stands for a missing one."""

    promoted: bool
    reason: str
    camera: str
    version: int
    champion_before: int
    champion_after: int
    trusted: bool = False  # tonight's labels agree with the labels of earlier nights, so the night may be kept
    checks: tuple[Check, ...] = ()


def write_decision(path: Path, decision: Decision, origin: Origin) -> None:
    """Write the decision into the directory `path`."""
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(decision))
        artifact.counts["promoted"] = int(decision.promoted)


def read_decision(path: Path) -> Decision:
    """Read and check a decision."""
    return read_record(path, SCHEMA, FILE, Decision)
