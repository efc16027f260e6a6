"""Runs, recurring runs and pipeline versions, read from the JSON of the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dataset_culling.kubeflow.connection import Row, one_line

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
"""States that a run does not leave."""
UNKNOWN = "RUNTIME_STATE_UNSPECIFIED"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RecurringRun:
    """A recurring run on the server."""

    id: str
    name: str
    description: str
    enabled: bool
    cron: str
    max_concurrency: int
    no_catchup: bool
    version_id: str
    parameters: Mapping[str, Any] = field(repr=False)
    service_account: str = ""
    pipeline_root: str = ""
    created_utc: datetime = EPOCH


@dataclass(frozen=True, slots=True)
class Task:
    """A task of a run."""

    name: str
    state: str
    started_utc: datetime | None
    ended_utc: datetime | None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """A run on the server."""

    id: str
    name: str
    description: str
    state: str
    created_utc: datetime
    ended_utc: datetime | None
    recurring_run_id: str = ""
    pipeline_root: str = ""
    error: str = ""
    tasks: tuple[Task, ...] = ()

    @property
    def is_live(self) -> bool:
        """True until it has ended. An unknown state counts as live unless the run has an end."""
        return self.state not in ENDED and self.ended_utc is None


@dataclass(frozen=True, slots=True)
class Version:
    """A pipeline version; `id` is empty while it is not uploaded."""

    name: str
    pipeline_id: str = ""
    id: str = ""


def read_recurring_run(row: Row) -> RecurringRun:
    """Read a recurring run."""
    schedule = (row.get("trigger") or {}).get("cron_schedule") or {}
    runtime = row.get("runtime_config") or {}
    return RecurringRun(
        id=str(row.get("recurring_run_id")),
        name=row.get("display_name") or "",
        description=row.get("description") or "",
        enabled=row.get("mode") == "ENABLE" or row.get("status") == "ENABLED",
        cron=schedule.get("cron") or "",
        max_concurrency=int(row.get("max_concurrency") or 0),
        no_catchup=bool(row.get("no_catchup")),
        version_id=(row.get("pipeline_version_reference") or {}).get("pipeline_version_id") or "",
        parameters=dict(runtime.get("parameters") or {}),
        service_account=row.get("service_account") or "",
        pipeline_root=runtime.get("pipeline_root") or "",
        created_utc=_moment(row.get("created_at")) or EPOCH,
    )


def read_run(row: Row) -> Run:
    """Read a run, with its tasks where the server sends them."""
    tasks = (row.get("run_details") or {}).get("task_details") or ()
    return Run(
        id=str(row.get("run_id")),
        name=row.get("display_name") or "",
        description=row.get("description") or "",
        state=row.get("state") or UNKNOWN,
        created_utc=_moment(row.get("created_at")) or EPOCH,
        ended_utc=_moment(row.get("finished_at")),
        recurring_run_id=row.get("recurring_run_id") or "",
        pipeline_root=(row.get("runtime_config") or {}).get("pipeline_root") or "",
        error=one_line((row.get("error") or {}).get("message") or ""),
        tasks=tuple(
            Task(
                name=task.get("display_name") or "",
                state=task.get("state") or UNKNOWN,
                started_utc=_moment(task.get("start_time")),
                ended_utc=_moment(task.get("end_time")),
                error=one_line((task.get("error") or {}).get("message") or ""),
            )
            for task in tasks
        ),
    )


def _moment(text: str | None) -> datetime | None:
    """Parse a time; the server says 1970 where it means never."""
    moment = datetime.fromisoformat(text) if text else EPOCH
    return moment if moment.year > 1970 else None
