"""The plan: changes that turn the cluster's recurring runs into those that cameras.yaml wants; no input or output.

KFP cannot change a recurring run, so a change is a new one, and deleting one takes its live run with it. Therefore:

- each carries, in its description, the fleet, the camera and a digest of all that was wanted of it;
- a replacement is made disabled, then the old one is disabled, then the new one enabled: never two enabled, so never
  two nights at once for one camera; wherever an apply dies, the next one finds which is which and goes on;
- an old one is deleted when none of its runs is live; until then it stays, disabled, and the plan says `waiting`;
- if an old run is live, its replacement begins no sooner than HANDOVER from now.

The file is the truth about pausing, too: a schedule that was switched off in the UI has drifted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dataset_culling.fleet.config import Fleet
from dataset_culling.fleet.schedule import next_start, stagger_s
from dataset_culling.kubeflow.compiled import differing
from dataset_culling.kubeflow.runs import RecurringRun

Kind = Literal["create", "replace", "drifted", "pause", "resume", "remove", "waiting", "unchanged"]
KINDS: tuple[Kind, ...] = ("create", "replace", "drifted", "pause", "resume", "remove", "waiting", "unchanged")
HANDOVER = timedelta(hours=12)
"""The longest that a run is waited for before its camera's replaced schedule may start another."""
LEAD = timedelta(seconds=30)
"""A schedule begins this much before its first start, as the server takes times strictly after its beginning."""

_MARK = re.compile(r"\[culling-fleet ([a-z0-9-]+) ([a-z0-9-]+) ([0-9a-f]{16})\]")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The recurring run that the file wants for one camera."""

    camera: str
    fleet: str
    cron: str
    first_start_utc: datetime
    local: str
    """The start in the camera's time zone, for the operator."""
    parameters: Mapping[str, Any] = field(repr=False)
    version: str
    """Name of the pipeline version, which holds a digest of the compiled pipeline."""
    service_account: str = ""
    pipeline_root: str = ""
    revision: int = 1
    paused: bool = False

    @property
    def name(self) -> str:
        """Name of the recurring run and of the camera's experiment."""
        return f"{self.fleet}-{self.camera}"

    @property
    def digest(self) -> str:
        """Digest, 16 hex digits, of all that needs another recurring run; `paused` can be switched."""
        identity = [
            self.name, self.cron, self.parameters, self.version, self.service_account, self.pipeline_root,
            self.revision,
        ]  # fmt: skip
        text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=_plain_number)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def description(self) -> str:
        """A line for the operator, and the mark by which it is found again."""
        return (
            f"Nightly at {self.local}. Kept by culling fleet. [culling-fleet {self.fleet} {self.camera} {self.digest}]"
        )


def _plain_number(value: Any) -> Any:
    raise TypeError(f"a parameter must be plain JSON, got {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class Mark:
    """The fleet, camera and digest that a recurring run is marked with."""

    fleet: str
    camera: str
    digest: str


def mark_of(run: RecurringRun) -> Mark | None:
    """Read the mark in a description; None without one."""
    match = _MARK.search(run.description)
    return Mark(*match.groups()) if match else None


@dataclass(frozen=True, slots=True)
class Change:
    """The change of one camera."""

    camera: str
    kind: Kind
    reasons: tuple[str, ...] = ()
    wanted: Wanted | None = None
    keep: RecurringRun | None = None
    """The recurring run that is right already, but for being enabled."""
    old: tuple[RecurringRun, ...] = ()
    """Those that must go."""
    live: frozenset[str] = frozenset()
    """Ids of `old` and `keep` that have a live run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes. `foreign`: unmarked recurring runs with a camera's name; they are left alone."""

    changes: tuple[Change, ...]
    foreign: tuple[RecurringRun, ...] = ()

    @property
    def is_settled(self) -> bool:
        """True if nothing is to be done."""
        return all(change.kind == "unchanged" for change in self.changes)

    def counts(self) -> dict[str, int]:
        """Return kind -> number of cameras."""
        return {kind: sum(change.kind == kind for change in self.changes) for kind in KINDS}


def wanted_runs(fleet: Fleet, *, version: str, defaults: Mapping[str, Any], now_utc: datetime) -> dict[str, Wanted]:
    """List what the file wants.

    Args:
        fleet: cameras.yaml.
        version: Name of the pipeline version that is to run.
        defaults: The pipeline's parameters with their defaults; only what differs is passed.
        now_utc: The present, for the offset in force at the next start.

    Raises:
        ConfigError: If a camera wants a parameter that the pipeline does not have.
    """
    found: dict[str, Wanted] = {}
    for name, entry in fleet.cameras.items():
        camera = entry.camera
        start = next_start(now_utc, camera.time_zone, camera.hour, stagger_s(name, fleet.file.spread_s))
        found[name] = Wanted(
            camera=name,
            fleet=fleet.file.fleet,
            cron=start.cron,
            first_start_utc=start.at_utc,
            local=f"{camera.hour // 60:02}:{camera.hour % 60:02} {camera.time_zone}",
            parameters=differing(entry.arguments, defaults, where=f"{fleet.path}: camera '{name}'"),
            version=version,
            service_account=fleet.file.service_account,
            pipeline_root=fleet.file.pipeline_root,
            revision=fleet.file.revision,
            paused=camera.paused,
        )
    return found


def make_plan(
    wanted: Mapping[str, Wanted],
    found: Iterable[RecurringRun],
    live: Collection[str],
    *,
    fleet: str,
    version_id: str = "",
) -> Plan:
    """Compare what is wanted with what the cluster has.

    Args:
        wanted: Camera -> what is wanted of it.
        found: Every recurring run of the namespace.
        live: Ids of recurring runs that have a run which has not ended.
        fleet: The fleet's name; recurring runs of other fleets are not looked at.
        version_id: Id of the wanted pipeline version; empty if it is not uploaded yet.

    Returns:
        A change for each camera that is wanted or found, by name.
    """
    ours: dict[str, list[tuple[RecurringRun, Mark]]] = {}
    foreign: list[RecurringRun] = []
    names = {each.name for each in wanted.values()}
    for run in found:
        mark = mark_of(run)
        if mark is not None and mark.fleet == fleet:
            ours.setdefault(mark.camera, []).append((run, mark))
        elif run.name in names:
            foreign.append(run)
    changes = []
    for camera in sorted({*wanted, *ours}):
        runs = sorted(ours.get(camera, ()), key=lambda each: (each[0].created_utc, each[0].id))
        changes.append(_change(camera, wanted.get(camera), runs, live, version_id))
    return Plan(tuple(changes), tuple(foreign))


def _change(
    camera: str, want: Wanted | None, runs: list[tuple[RecurringRun, Mark]], live: Collection[str], version_id: str
) -> Change:
    busy = frozenset(run.id for run, _ in runs if run.id in live)
    if want is None:
        old = tuple(run for run, _ in runs)
        still = _waiting_only(old, busy)
        reasons = ("no longer in the file", *still)
        return Change(camera, "waiting" if still else "remove", reasons, None, None, old, busy)
    right = [run for run, mark in runs if mark.digest == want.digest]
    spoilt = {run.id: reasons for run in right if (reasons := drift(run, want, version_id))}
    good = [run for run in right if run.id not in spoilt]
    # Of two that are right (an answer that got lost), the enabled one stays, then the older one.
    keep = min(good, key=lambda run: not run.enabled) if good else None
    old = tuple(run for run, _ in runs if keep is None or run.id != keep.id)
    if keep is None:
        if not runs:
            return Change(camera, "create", (), want)
        if right:
            return Change(camera, "drifted", spoilt[right[0].id], want, None, old, busy)
        reasons = _differences(runs[-1][0], want, version_id) or ("revision",)
        return Change(camera, "replace", reasons, want, None, old, busy)
    if old:
        switched = keep.enabled != want.paused
        still = _waiting_only(old, busy) if switched else ()
        return Change(camera, "waiting" if still else "replace", still or ("a replacement is not finished",),
                      want, keep, old, busy)  # fmt: skip
    if keep.enabled and want.paused:
        return Change(camera, "pause", ("the file says paused",), want, keep, (), busy)
    if not keep.enabled and not want.paused:
        return Change(camera, "resume", ("switched off in the cluster, the file wants it on",), want, keep, (), busy)
    return Change(camera, "unchanged", (), want, keep, (), busy)


def _waiting_only(old: tuple[RecurringRun, ...], busy: Collection[str]) -> tuple[str, ...]:
    """Return a reason if all that is left to do is to wait for live runs."""
    if old and all(run.id in busy and not run.enabled for run in old):
        return (f"a run of the old schedule {old[0].id} still goes on",)
    return ()


def drift(run: RecurringRun, want: Wanted, version_id: str) -> tuple[str, ...]:
    """List the differences between a recurring run and what it was created as."""
    reasons = list(_differences(run, want, version_id))
    if run.max_concurrency != 1:
        reasons.append(f"max_concurrency is {run.max_concurrency}, not 1")
    if not run.no_catchup:
        reasons.append("no_catchup is off")
    return tuple(reasons)


def _differences(run: RecurringRun, want: Wanted, version_id: str) -> tuple[str, ...]:
    reasons = []
    if run.cron != want.cron:
        reasons.append(f"cron {run.cron or 'none'} -> {want.cron}")
    if version_id and run.version_id != version_id:
        reasons.append(f"pipeline -> {want.version}")
    if want.service_account and run.service_account != want.service_account:
        reasons.append(f"service account {run.service_account or 'none'} -> {want.service_account}")
    if want.pipeline_root and run.pipeline_root != want.pipeline_root:
        reasons.append(f"pipeline root {run.pipeline_root or 'none'} -> {want.pipeline_root}")
    for name in sorted({*run.parameters, *want.parameters}):
        if run.parameters.get(name) != want.parameters.get(name):
            reasons.append(f"parameter {name}")
    return tuple(reasons)


def begin_of(want: Wanted, *, busy: bool, now_utc: datetime) -> datetime:
    """Return the begin of a new schedule: just before its first start, or after the handover if an old run is live."""
    begin = want.first_start_utc - LEAD
    return max(begin, now_utc.astimezone(UTC) + HANDOVER) if busy else begin
