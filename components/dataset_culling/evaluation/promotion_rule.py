"""The promotion gate: what a candidate must show against the model that it would replace.

It must be better on tonight's held-out frames, by more than chance; and it must not be worse, by more than a bound, for
any class, in any hour, on any kept night or on the human check set. Figures and nothing else: no input, no output.
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
"""What the candidate is compared with -> the figure that is the difference, with low_95_ before it its lower end."""
Against = Literal["raw", "champion"]


class PromotionBounds(StageConfig):
    """Bounds of the promotion rule."""

    min_gain: float = Field(
        0.0, ge=0, le=1, description="Least gain of mAP@50 (0 to 1) over the raw student or the champion; never none."
    )
    significant: bool = Field(
        True, description="Whether the gain's 95 % block-bootstrap interval must lie above zero, as a whole."
    )
    max_fall: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Most that AP@50 may fall for a class, or mAP@50 in an hour, on a kept night or on the check set.",
    )
    min_objects: int = Field(
        30, ge=0, description="True boxes that a class, an hour or a night must hold to be judged by itself."
    )
    check_set: Literal["if-there", "demand"] = Field(
        "if-there", description="demand: nothing is promoted for a camera without a human check set."
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
    """What the candidate is compared with; `map_50` is None where it was not measured on the same frames."""

    name: str  # for people
    map_50: float | None
    against: Against = "raw"


@dataclass(frozen=True, slots=True)
class Stratum:
    """A part of the frames, or of the boxes, that is judged by itself. Figures are mAP@50 or AP@50, 0..1."""

    name: str  # for people: "class car", "hour 07", "night 20261120", "the human check set"
    kind: Literal["class", "hour", "night", "check"]
    candidate: float
    reference: float
    objects: int  # true boxes in it


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all checks together say."""

    checks: tuple[Check, ...]
    better: bool  # none failed
    trusted: bool  # the labels of tonight are at one with what was known before
    text: str  # the first check that failed, or else the gain: one clause


def judge(metrics: Mapping[str, float], config: PromotionBounds, reference: Reference) -> Verdict:
    """Make every check; a candidate is better when none fails.

    Args:
        metrics: metrics/1 of the evaluation.
        config: The bounds.
        reference: What it is compared with.
    """
    gain = check_gain(metrics, config, reference)
    bounds = [check_fall(stratum, config) for stratum in strata(metrics, reference.against)]
    asked = [_check_set_asked_for(metrics)] if config.check_set == "demand" else []
    checks = [gain, *bounds, *asked]
    if reference.map_50 is not None and config.significant:
        checks.insert(1, check_significance(metrics, reference))
    failed = [check for check in checks if check.passed is False]
    known = [check for check in bounds if check.kind in ("night", "check") and check.passed is not None]
    at_one = all(check.passed for check in known) and (bool(known) or not failed)
    others = [check for check in failed if check is not gain]
    text = gain.text if not others or gain.passed is False else f"{gain.text}; but {others[0].text}"
    if len(others) > 1 and gain.passed is not False:
        text += f", and {len(others) - 1} more checks failed"
    return Verdict(tuple(checks), not failed, at_one, text)


def check_gain(metrics: Mapping[str, float], config: PromotionBounds, reference: Reference) -> Check:
    """More mAP@50 than the reference on tonight's held-out frames, and by `min_gain` at least."""
    trained = metrics[TRAINED]
    if reference.map_50 is None:
        return Check(
            "gain", "tonight", False,
            f"mAP@50 is {trained:.3f} on the held-out frames, {metrics[RAW]:.3f} for the raw student, but "
            f"{reference.name}, was not measured on these frames, so nobody knows which is better",
        )  # fmt: skip
    gain = trained - reference.map_50
    # As printed: 0.71 - 0.70 is a little less than 0.01 in binary.
    better = gain > 0 and round(gain, 9) >= config.min_gain
    wanted = f"at least {config.min_gain:.3f} is wanted" if config.min_gain else "more than none is wanted"
    return Check(
        "gain", "tonight", better,
        f"mAP@50 is {trained:.3f} on the held-out frames, {reference.map_50:.3f} for {reference.name}: "
        f"a gain of {gain:+.3f}, where {wanted}",
    )  # fmt: skip


def check_significance(metrics: Mapping[str, float], reference: Reference) -> Check:
    """The lower end of the gain's 95 % block-bootstrap interval lies above zero."""
    name = GAINS[reference.against]
    low, high = metrics.get(f"low_95_{name}"), metrics.get(f"high_95_{name}")
    if low is None or high is None:
        return Check(
            "significance", "tonight", False,
            "nothing tells how sure the gain is (too little footage was held out, or evaluate_student.resamples is 0)",
        )  # fmt: skip
    return Check(
        "significance", "tonight", low > 0,
        f"the gain's 95 % interval is {low:+.3f} to {high:+.3f}, where all of it above zero is wanted",
    )  # fmt: skip


def check_fall(stratum: Stratum, config: PromotionBounds) -> Check:
    """No stratum falls by more than `max_fall`; one with too few objects is told, but not judged."""
    change = stratum.candidate - stratum.reference
    figures = f"{stratum.name}: {stratum.reference:.3f} -> {stratum.candidate:.3f} ({change:+.3f})"
    if stratum.objects < config.min_objects:
        return Check(
            stratum.name, stratum.kind, None,
            f"{figures}, not judged: {stratum.objects} objects, {config.min_objects} are wanted",
        )  # fmt: skip
    passed = round(-change, 9) <= config.max_fall
    said = "" if passed else f", where a fall of at most {config.max_fall:.3f} is allowed"
    return Check(stratum.name, stratum.kind, passed, f"{figures}{said}")


def strata(metrics: Mapping[str, float], against: Against) -> Iterator[Stratum]:
    """Every part that was measured for both: classes, hours, kept nights, the human check set, in this order."""
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


Kind = Literal["class", "hour", "night", "check"]
_PATTERNS: tuple[tuple[str, Kind, str, str], ...] = (
    (r"check_map_50_trained", "check", "the human check set", "check"),
    (r"replay_(?P<name>\d{8}(_\d+)?)_map_50_trained", "night", "night {name}", "replay_{name}"),
    (r"hour_(?P<name>\d\d)_map_50_trained", "hour", "hour {name}", "hour_{name}"),
    (r"elapsed_hour_(?P<name>\d\d)_map_50_trained", "hour", "hour {name} of the footage", "elapsed_hour_{name}"),
    (r"ap_50_(?P<name>.+)_trained", "class", "class {name}", "class_{name}"),
)
"""Figure of the candidate, kind, what people call it, and what counts its true boxes, after `objects_`."""


def _check_set_asked_for(metrics: Mapping[str, float]) -> Check:
    there = "check_map_50_trained" in metrics
    return Check(
        "the human check set is there", "check", there,
        "the camera has a human check set" if there else "the camera has no human check set, which the gate demands "
        "(culling models check-set CAMERA FILE --images FOLDER)",
    )  # fmt: skip
