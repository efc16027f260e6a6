"""Kubeflow Pipelines as the fleet and `culling submit` use it: pipelines, runs, recurring runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dataset_culling.errors import ClusterMissing
from dataset_culling.kubeflow.compiled import CompiledPipeline
from dataset_culling.kubeflow.connection import Connection, Predicate, Row, filter_of
from dataset_culling.kubeflow.runs import ENDED, RecurringRun, Run, Version, read_recurring_run, read_run
from dataset_culling.kubeflow.settings import KfpSettings

NOT_ENDED = tuple(("state", "NOT_EQUALS", state) for state in ENDED)


class Cluster:
    """Kubeflow Pipelines. Safe to use from several threads; every method may raise a ClusterError."""

    def __init__(self, settings: KfpSettings) -> None:
        """Connect, as `Connection` does."""
        self.settings = settings
        self._connection = Connection(settings)
        self._call, self._rows, self._scope = self._connection.call, self._connection.rows, self._connection.scope
        self._kfp = self._connection.kfp

    # --- experiments and pipelines

    def experiment_id(self, name: str) -> str:
        """Return the experiment of that name, created if it is missing."""
        api = self._kfp.experiments

        def find() -> Row | None:
            lists = api.experiment_service_list_experiments
            return next(self._rows(lists, "experiments", _named(name), **self._scope), None)

        creates, body = api.experiment_service_create_experiment, {"display_name": name, **self._scope}
        made = find() or self._call(f"create the experiment {name}", creates, experiment=body, find=find)
        return str(made["experiment_id"])

    def find_version(self, pipeline: CompiledPipeline) -> Version:
        """Return the version with the very bytes of this file; its `id` is empty if it is not uploaded."""
        found = self._find_pipeline(pipeline.name)
        if found is None:
            return Version(pipeline.version)
        pipeline_id = str(found["pipeline_id"])
        row = self._find_version(pipeline_id, pipeline.version)
        return Version(pipeline.version, pipeline_id, str(row["pipeline_version_id"]) if row else "")

    def upload(self, pipeline: CompiledPipeline) -> Version:
        """Return the version with the very bytes of this file, uploaded if it is missing."""
        found = self.find_version(pipeline)
        if found.id:
            return found
        pipeline_id = found.pipeline_id
        if not pipeline_id:
            # Created empty and then given its version, so that the first version, too, has its digest for a name.
            made = self._call(
                f"create the pipeline {pipeline.name}",
                self._kfp.pipelines.pipeline_service_create_pipeline,
                pipeline={"display_name": pipeline.name, "name": pipeline.name, **self._scope},
                find=lambda: self._find_pipeline(pipeline.name),
            )
            pipeline_id = str(made["pipeline_id"])
        row = self._call(
            f"upload the pipeline version {pipeline.version}",
            self._kfp.pipeline_uploads.upload_pipeline_version,
            str(pipeline.path),
            name=pipeline.version,
            display_name=pipeline.version,
            pipelineid=pipeline_id,
            description=f"sha256 {pipeline.digest}",
            find=lambda: self._find_version(pipeline_id, pipeline.version),
        )
        return Version(pipeline.version, pipeline_id, str(row["pipeline_version_id"]))

    def _find_pipeline(self, name: str) -> Row | None:
        lists = self._kfp.pipelines.pipeline_service_list_pipelines
        return next(self._rows(lists, "pipelines", _named(name), **self._scope), None)

    def _find_version(self, pipeline_id: str, name: str) -> Row | None:
        lists = self._kfp.pipelines.pipeline_service_list_pipeline_versions
        return next(self._rows(lists, "pipeline_versions", _named(name), pipeline_id=pipeline_id), None)

    # --- recurring runs

    def recurring_runs(self, name: str = "") -> list[RecurringRun]:
        """List all of the namespace, or those of one name."""
        return [read_recurring_run(row) for row in self._recurring_rows(*([_named(name)] if name else ()))]

    def _recurring_rows(self, *predicates: Predicate) -> list[Row]:
        lists = self._kfp.recurring_runs.recurring_run_service_list_recurring_runs
        return list(self._rows(lists, "recurringRuns", *predicates, **self._scope))

    def create_recurring_run(
        self,
        name: str,
        description: str,
        version: Version,
        parameters: Mapping[str, Any],
        *,
        cron: str,
        begin_utc: datetime,
        enabled: bool,
        experiment_id: str,
        service_account: str = "",
        pipeline_root: str = "",
        is_it: Callable[[RecurringRun], bool],
    ) -> RecurringRun:
        """Create a recurring run: one run at a time, missed nights are not made up for.

        `is_it` recognises it among recurring runs of that name, should the server's answer get lost.
        """
        body = {
            **_job(name, description, version, parameters, experiment_id, service_account, pipeline_root),
            "max_concurrency": "1",
            "no_catchup": True,
            "mode": "ENABLE" if enabled else "DISABLE",
            "trigger": {"cron_schedule": {"cron": cron, "start_time": begin_utc.astimezone(UTC).isoformat()}},
            **self._scope,
        }

        def find() -> Row | None:
            return next((row for row in self._recurring_rows(_named(name)) if is_it(read_recurring_run(row))), None)

        creates = self._kfp.recurring_runs.recurring_run_service_create_recurring_run
        made = self._call(f"create the recurring run {name}", creates, recurring_run=body, find=find)
        return read_recurring_run(made)

    def enable(self, recurring_run_id: str) -> None:
        """Switch it on."""
        function = self._kfp.recurring_runs.recurring_run_service_enable_recurring_run
        self._call("enable a recurring run", function, recurring_run_id)

    def disable(self, recurring_run_id: str) -> None:
        """Switch it off; a live run of it goes on."""
        function = self._kfp.recurring_runs.recurring_run_service_disable_recurring_run
        self._call("disable a recurring run", function, recurring_run_id)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Remove it; its runs are orphaned, not collected.

        Servers before 2.17 do not know that policy and kill a live run with it (kubeflow/pipelines#7421): ask first.
        """
        function = self._kfp.recurring_runs.recurring_run_service_delete_recurring_run
        try:
            self._call("delete a recurring run", function, recurring_run_id, propagation_policy="ORPHAN")
        except ClusterMissing:  # deleted by another process
            pass

    # --- runs

    def runs(self, *predicates: Predicate, experiment_id: str = "") -> list[Run]:
        """List runs that fit all predicates."""
        return [read_run(row) for row in self._run_rows(*predicates, experiment_id=experiment_id)]

    def _run_rows(self, *predicates: Predicate, experiment_id: str = "") -> list[Row]:
        scope = {"experiment_id": experiment_id} if experiment_id else self._scope
        return list(self._rows(self._kfp.runs.run_service_list_runs, "runs", *predicates, **scope))

    def live_runs(self) -> list[Run]:
        """List those that have not ended."""
        return [run for run in self.runs(*NOT_ENDED) if run.is_live]

    def has_live_run(self, recurring_run_id: str) -> bool:
        """Tell whether a run of it has not ended."""
        return any(run.is_live for run in self.runs(("recurring_run_id", "EQUALS", recurring_run_id), *NOT_ENDED))

    def last_run(self, recurring_run_id: str) -> Run | None:
        """Return its newest run."""
        options: dict[str, Any] = {"page_size": 1, "sort_by": "created_at desc", **self._scope}
        of_it = filter_of(("recurring_run_id", "EQUALS", recurring_run_id))
        page = self._call("list runs", self._kfp.runs.run_service_list_runs, filter=of_it, **options)
        return next((read_run(row) for row in page.get("runs") or ()), None)

    def run(self, run_id: str) -> Run:
        """Return one run with its tasks."""
        return read_run(self._call("show a run", self._kfp.runs.run_service_get_run, run_id))

    def start_run(
        self,
        name: str,
        description: str,
        version: Version,
        parameters: Mapping[str, Any],
        *,
        experiment_id: str,
        service_account: str = "",
        pipeline_root: str = "",
    ) -> Run:
        """Start a run. `description` must be unique: the run is found by it if the server's answer gets lost."""
        body = _job(name, description, version, parameters, experiment_id, service_account, pipeline_root)

        def find() -> Row | None:
            same = self._run_rows(_named(name), experiment_id=experiment_id)
            return next((row for row in same if row.get("description") == description), None)

        return read_run(self._call(f"start the run {name}", self._kfp.runs.run_service_create_run, run=body, find=find))

    def run_link(self, run_id: str) -> str:
        """Return a run's address in the UI."""
        ui = (self.settings.ui_host or self.settings.host).rstrip("/")
        return f"{ui if '://' in ui else f'http://{ui}'}/#/runs/details/{run_id}"


def _named(name: str) -> Predicate:
    return ("display_name", "EQUALS", name)


def _job(
    name: str,
    description: str,
    version: Version,
    parameters: Mapping[str, Any],
    experiment_id: str,
    service_account: str,
    pipeline_root: str,
) -> dict[str, Any]:
    """Build what the bodies of runs and recurring runs share."""
    return {
        "display_name": name,
        "description": description,
        "experiment_id": experiment_id,
        "pipeline_version_reference": {"pipeline_id": version.pipeline_id, "pipeline_version_id": version.id},
        "runtime_config": {
            "parameters": dict(parameters),
            **({"pipeline_root": pipeline_root} if pipeline_root else {}),
        },
        **({"service_account": service_account} if service_account else {}),
    }
