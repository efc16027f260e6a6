"""Detectors to try on a finished run: the named ones, or all whose weights are at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_culling.config import did_you_mean, parse_config
from dataset_culling.detectors.base import DetectorRef
from dataset_culling.detectors.table import DETECTORS, weights_at_hand
from dataset_culling.engine.finished import config_of
from dataset_culling.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Candidate:
    """A detector to try."""

    name: str  # NAME or NAME=WEIGHTS
    ref: DetectorRef
    is_teacher: bool  # it made the run's labels


def teacher_of_labels(run: Path) -> DetectorRef:
    """Find the detector that labelled the run's held-out frames.

    Raises:
        InputError: If the run has not labelled any.
    """
    config = config_of(run, "label-heldout", "labels").get("teacher", {})
    return parse_config(DetectorRef, config, where="label-heldout.teacher")


def candidates_of(
    names: Sequence[str], student: DetectorRef, teacher: DetectorRef, *,
    option: str = "--candidate", trained: bool = True,
) -> tuple[list[Candidate], dict[str, str]]:  # fmt: skip
    """List the candidates, and those left out with the reason.

    Args:
        names: NAME or NAME=WEIGHTS; empty: the run's student and all others whose weights are at hand.
        student: The run's student; it keeps its weights where it is named without any.
        teacher: The detector that labelled the run's frames.
        option: Command-line option before a name.
        trained: Whether they are trained before they are judged; if not, weights that are only a start are left out,
            unless the run or a name asks for them.

    Raises:
        ConfigError: If a name is not a trainable detector, or comes twice.
    """
    left_out: dict[str, str] = {}
    if not names:
        rest = [name for name in DETECTORS if name != student.name]
        left_out = {name: no_weights(name) for name in rest if not weights_at_hand(name)}
        if not trained:
            starts = (name for name in rest if name not in left_out and not DETECTORS[name].detects)
            left_out |= dict.fromkeys(starts, "its weights are a start for training, no detector; name a trained one")
        names = [student.name, *(name for name in rest if name not in left_out)]
    known = [name for name, spec in DETECTORS.items() if spec.trainable]
    found: dict[str, Candidate] = {}
    for named in names:
        name, _, weights = named.partition("=")
        if name not in known:
            raise ConfigError(
                f"{option} {named}: expected a detector that can learn, found '{name}'.{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )
        if named in found:
            raise ConfigError(f"{option} {named}: expected every candidate once, found it twice. Name it once.")
        ref = DetectorRef(name=name, weights=weights)
        if name == student.name and not weights:
            ref = student
        same = ref.name == teacher.name and _weights_meant(ref) == _weights_meant(teacher)
        found[named] = Candidate(named, ref, same)
    return list(found.values()), left_out


def no_weights(name: str) -> str:
    """Return the reason why a detector of the table is not tried by default; empty if it is."""
    if DETECTORS[name].default_weights:
        return "weights not in torch's cache; they are fetched where it is named"
    return "no weights at hand; name some as NAME=FILE"


def _weights_meant(ref: DetectorRef) -> str:
    spec = DETECTORS.get(ref.name)
    return ref.weights or (spec.default_weights if spec is not None else "")


def by_reason(left_out: Mapping[str, str]) -> list[str]:
    """Format a line for each reason, with the names left out for it."""
    names: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        names.setdefault(reason, []).append(name)
    return [f"left out: {', '.join(found)}: {reason}" for reason, found in names.items()]
