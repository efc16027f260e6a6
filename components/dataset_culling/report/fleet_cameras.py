"""Cameras of a fleet: their nights, promotions and state. Importing this loads neither matplotlib nor torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from dataset_culling.report import words
from dataset_culling.report.words import number

REFUSALS = 3
"""Nights in a row without a promotion from which a camera is listed as not promoted."""

Kind = Literal["failing", "stale", "refused", "fine"]
TITLES: Mapping[Kind, str] = {
    "failing": "Failing", "stale": "Stale", "refused": "Not promoted for long", "fine": "Well",
}  # fmt: skip
"""Display names of the states, in the order of the page."""


@dataclass(frozen=True, slots=True)
class Night:
    """One finished run of a camera, or one version of its registry if the run itself is not at hand."""

    name: str
    when: datetime  # start of the footage if known, else when the run was written; with a time zone
    summary: Mapping[str, Any]
    page: str = ""  # link to its own page


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A run without a result: still running, or stopped."""

    name: str
    when: datetime
    running: bool  # a process holds its folder
    reason: str  # where and why it stopped, from its logs


@dataclass(frozen=True, slots=True)
class Promotion:
    """One move of a camera's champion pointer."""

    when: datetime
    kind: str  # "promote" or "rollback"
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Camera:
    """History of one camera; nights and promotions oldest first."""

    name: str
    nights: tuple[Night, ...] = ()
    unfinished: tuple[Unfinished, ...] = ()
    promotions: tuple[Promotion, ...] = ()

    @property
    def last(self) -> Night | None:
        """The latest night."""
        return self.nights[-1] if self.nights else None


@dataclass(frozen=True, slots=True)
class State:
    """State of a camera with its reason."""

    kind: Kind
    reason: str

    @property
    def title(self) -> str:
        """Display name of the state."""
        return TITLES[self.kind]


def state_of(camera: Camera, *, now: datetime, stale_days: float) -> State:
    """Judge a camera by the first of failing, stale, refused, fine that applies.

    Args:
        camera: The camera.
        now: Time of the report, with a time zone.
        stale_days: Days after its latest night from which a camera is stale.

    Returns:
        failing: its latest run stopped, or its trained student is worse than the raw one.
        stale: no run finished for `stale_days`, or ever.
        refused: its last nights, three or more, brought no promotion.
        fine: all others.
    """
    last = camera.last
    stopped = [one for one in camera.unfinished if not one.running and (last is None or one.when >= last.when)]
    if stopped:
        latest = max(stopped, key=lambda one: one.when)
        return State("failing", f"{latest.name} did not finish: {latest.reason}")
    if last is None:
        return State("stale", "no run has finished yet")
    raw, trained = number(last.summary, "map_50_raw"), number(last.summary, "map_50_trained")
    if raw is not None and trained is not None and trained < raw:
        return State(
            "failing",
            f"training made it worse: {words.points(raw)} before, {words.points(trained)} after, in {last.name}",
        )
    age_s = (now - last.when).total_seconds()
    if age_s > stale_days * 86400:
        return State("stale", f"nothing new for {words.duration(age_s)}")
    refused = 0
    for night in reversed(camera.nights):
        if night.summary.get("promoted") is not False:
            break
        refused += 1
    if refused >= REFUSALS:
        return State("refused", f"{refused} nights without a promotion")
    return State("fine", "promoted last night" if last.summary.get("promoted") else "the champion stays")


def in_order(cameras: Sequence[Camera], *, now: datetime, stale_days: float) -> list[tuple[Camera, State]]:
    """Return every camera with its state, those that need attention first, then by name."""
    order = list(TITLES)
    found = [(camera, state_of(camera, now=now, stale_days=stale_days)) for camera in cameras]
    return sorted(found, key=lambda one: (order.index(one[1].kind), one[0].name))


def last_promotion(camera: Camera) -> Promotion | None:
    """Return the latest move of the champion pointer: the registry's, else that of the latest promoted night."""
    if camera.promotions:
        return camera.promotions[-1]
    for night in reversed(camera.nights):
        if night.summary.get("promoted"):
            version = int(number(night.summary, "promoted_version") or 0)
            return Promotion(night.when, "promote", version, str(night.summary.get("promotion_reason", "")))
    return None
