"""decision/1: whether the candidate was promoted, and why: every check of the gate with its figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dataset_culling.artifacts.header import Origin, read_header, read_json_file, write_artifact
from dataset_culling.errors import CorruptArtifact
from dataset_culling.evaluation.promotion_rule import Check

SCHEMA = "decision/1"
FILE = "decision.json"


@dataclass(frozen=True, slots=True)
class Decision:
    """What the promotion stage decided; versions are 0 where there is none."""

    promoted: bool
    reason: str
    camera: str
    version: int
    champion_before: int
    champion_after: int
    trusted: bool = False  # tonight's labels are at one with what was known before, so the night may be kept
    checks: tuple[Check, ...] = ()


def write_decision(path: Path, decision: Decision, origin: Origin) -> None:
    """Write the decision into the directory `path`.

    Raises:
        OutputError: If it cannot be written.
    """
    with write_artifact(path, SCHEMA, origin) as artifact:
        artifact.json(FILE, asdict(decision))
        artifact.counts["promoted"] = int(decision.promoted)


def read_decision(path: Path) -> Decision:
    """Read and check a decision.

    Raises:
        ArtifactError: If it is no decision/1, or damaged.
    """
    header = read_header(path, SCHEMA)
    try:
        values = read_json_file(path, header, FILE)
        return Decision(**{**values, "checks": tuple(Check(**one) for one in values.get("checks", ()))})
    except TypeError as error:
        raise CorruptArtifact(path / FILE, expected="a decision", found=repr(error)) from None
