"""The promotion rule: the checks that a candidate must pass against the model that it would replace.

It must be better on tonight's held-out frames, by more than chance. It must not be worse by more than a bound for any
class, in any hour, on any kept night or on the human check set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from dataset_culling.config import StageConfig

RAW, TRAINED, CHAMPION = "map_50_raw", "map_50_trained", "map_50_champion"
GAINS = {"raw": "gain_map_50", "champion": "gain_over_champion_map_50"}
"""Reference -> metric of the candidate's gain over it; `low_95_` before the name is its lower bound."""
Against = Literal["raw", "champion"]
Kind = Literal["class", "hour", "night", "check"]


class PromotionBounds(StageConfig):
    """Bounds of the promotion rule."""

    min_gain: float = Field(
        0.0, ge=0, le=1, description="Least gain of mAP@50 (0 to 1) over raw student or champion; must exceed 0."
    )
    significant: bool = Field(True, description="The gain's whole 95 % block-bootstrap interval must lie above zero.")
    max_fall: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Most that AP@50 may fall for a class, or mAP@50 in an hour, on a kept night or on the check set.",
    )
    min_objects: int = Field(
        30, ge=0, description="True boxes that a class, an hour or a night must hold to be judged on its own."
    )
    check_set: Literal["if-there", "demand"] = Field(
        "if-there", description="demand: a camera without a human check set promotes nothing."
    )


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the promotion rule."""

    name: str
    kind: str  # tonight, class, hour, night or check
    passed: bool | None  # None: reported but not judged, because it holds too few objects
    text: str  # the figures, one clause


@dataclass(frozen=True, slots=True)
class Reference:
    """The model that the candidate is compared with."""

    name: str  # in texts
    map_50: float | None  # None: not measured on the same frames
    against: Against = "raw"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the frames or boxes that is judged on its own. Figures are mAP@50 or AP@50, 0..1."""

    name: str  # in texts: "class car", "hour 07", "night 20261120", "the human check set"
    kind: Kind
    candidate: float
    reference: float
    objects: int  # true boxes in it


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of all checks."""

    checks: tuple[Check, ...]
    better: bool  # no check failed
    trusted: bool  # tonight's labels agree with earlier nights and the check set
    text: str  # the gain and the first failed check: one clause


def judge(metrics: Mapping[str, float], config: PromotionBounds, reference: Reference) -> Verdict:
    """Run every check on metrics/1 of the evaluation; a candidate is better if no check fails."""
    gain = check_gain(metrics, config, reference)
    bounds = [check_fall(stratum, config) for stratum in strata(metrics, reference.against)]
    demanded = [_check_set_exists(metrics)] if config.check_set == "demand" else []
    checks = [gain, *bounds, *demanded]
    if reference.map_50 is not None and config.significant:
        checks.insert(1, check_significance(metrics, reference))
    failed = [check for check in checks if check.passed is False]
    known = [check for check in bounds if check.kind in ("night", "check") and check.passed is not None]
    trusted = all(check.passed for check in known) and (bool(known) or not failed)
    others = [check for check in failed if check is not gain]
    text = gain.text if not others or gain.passed is False else f"{gain.text}; but {others[0].text}"
    if len(others) > 1 and gain.passed is not False:
        text += f", and {len(others) - 1} more checks failed"
    return Verdict(tuple(checks), not failed, trusted, text)


def check_gain(metrics: Mapping[str, float], config: PromotionBounds, reference: Reference) -> Check:
    """Check that the candidate gains at least `min_gain` mAP@50, and more than 0, on tonight's held-out frames."""
    trained = metrics[TRAINED]
    if reference.map_50 is None:
        return Check(
            "gain", "tonight", False,
            f"mAP@50 is {trained:.3f} on the held-out frames, {metrics[RAW]:.3f} for the raw student, but "
            f"{reference.name}, was not measured on these frames, so the two cannot be compared",
        )  # fmt: skip
    gain = trained - reference.map_50
    # As printed: 0.71 - 0.70 is a little less than 0.01 in binary.
    better = gain > 0 and round(gain, 9) >= config.min_gain
    required = f"at least {config.min_gain:.3f} is required" if config.min_gain else "more than 0 is required"
    return Check(
        "gain", "tonight", better,
        f"mAP@50 is {trained:.3f} on the held-out frames, {reference.map_50:.3f} for {reference.name}: "
        f"a gain of {gain:+.3f}, where {required}",
    )  # fmt: skip


def check_significance(metrics: Mapping[str, float], reference: Reference) -> Check:
    """Check that the gain's 95 % block-bootstrap interval lies above zero."""
    name = GAINS[reference.against]
    low, high = metrics.get(f"low_95_{name}"), metrics.get(f"high_95_{name}")
    if low is None or high is None:
        return Check(
            "significance", "tonight", False,
            "the gain has no interval (too little footage was held out, or evaluate_student.resamples is 0)",
        )  # fmt: skip
    return Check(
        "significance", "tonight", low > 0,
        f"the gain's 95 % interval is {low:+.3f} to {high:+.3f}, which must lie above zero",
    )  # fmt: skip


def check_fall(stratum: Stratum, config: PromotionBounds) -> Check:
    """Check that a stratum falls by at most `max_fall`; one with too few objects is reported, but not judged."""
    change = stratum.candidate - stratum.reference
    figures = f"{stratum.name}: {stratum.reference:.3f} -> {stratum.candidate:.3f} ({change:+.3f})"
    if stratum.objects < config.min_objects:
        return Check(
            stratum.name, stratum.kind, None,
            f"{figures}, not judged: {stratum.objects} objects, {config.min_objects} are needed",
        )  # fmt: skip
    passed = round(-change, 9) <= config.max_fall
    bound = "" if passed else f", where a fall of at most {config.max_fall:.3f} is allowed"
    return Check(stratum.name, stratum.kind, passed, f"{figures}{bound}")


def strata(metrics: Mapping[str, float], against: Against) -> Iterator[Stratum]:
    """Yield the parts measured for both: the human check set, kept nights, hours, classes, in this order."""
    found: list[tuple[int, Stratum]] = []
    for key, candidate in metrics.items():
        for order, (pattern, kind, title, counted) in enumerate(_PATTERNS):
            match = re.fullmatch(pattern, key)
            if match is None:
                continue
            other = f"{key.removesuffix('trained')}{against}"
            name = match.groupdict().get("name", "")
            if other in metrics:
                objects = metrics.get(f"objects_{counted.format(name=name)}", 0.0)
                found.append((order, Stratum(title.format(name=name), kind, candidate, metrics[other], int(objects))))
            break
    return (stratum for _, stratum in sorted(found, key=lambda one: (one[0], one[1].name)))


_PATTERNS: tuple[tuple[str, Kind, str, str], ...] = (
    (r"check_map_50_trained", "check", "the human check set", "check"),
    (r"replay_(?P<name>\d{8}(_\d+)?)_map_50_trained", "night", "night {name}", "replay_{name}"),
    (r"hour_(?P<name>\d\d)_map_50_trained", "hour", "hour {name}", "hour_{name}"),
    (r"elapsed_hour_(?P<name>\d\d)_map_50_trained", "hour", "hour {name} of the footage", "elapsed_hour_{name}"),
    (r"ap_50_(?P<name>.+)_trained", "class", "class {name}", "class_{name}"),
)
"""Metric of the candidate, kind, title, and the metric of its true boxes after `objects_`."""


def _check_set_exists(metrics: Mapping[str, float]) -> Check:
    there = "check_map_50_trained" in metrics
    return Check(
        "the human check set is there", "check", there,
        "the camera has a human check set" if there else "the camera has no human check set, which the gate demands "
        "(culling models check-set CAMERA FILE --images FOLDER)",
    )  # fmt: skip
