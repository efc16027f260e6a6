"""Kubeflow Pipelines 2.17 through kfp's own client.

The convenience methods of `kfp.Client` print links to stdout, have no timeout, and cannot give a run a description or
a recurring run a namespace. So the generated v2beta1 APIs that it exposes (`client.runs`, `client.pipelines`, ...) are
called, all by `Cluster._call`: with a timeout, with retries, and with JSON as the only answer that counts.

Signing in, the first that is there: CULLING_KFP_TOKEN; CULLING_KFP_COOKIES (a Dex session); a service account's token
in the file KF_PIPELINES_SA_TOKEN_PATH, or where a pod has it mounted (audience pipelines.kubeflow.org); nothing.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tenacity

from dataset_culling.errors import ClusterConflict, ClusterError, ClusterMissing, ConfigError
from dataset_culling.kubeflow.compiled import CompiledPipeline
from dataset_culling.kubeflow.settings import IN_POD, KfpSettings

Row = Mapping[str, Any]
"""A resource as the server sends it."""
PAGE = 200
"""The server's longest page."""
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
"""States that a run does not leave."""
NOT_ENDED = tuple(("state", "NOT_EQUALS", state) for state in ENDED)
UNKNOWN = "RUNTIME_STATE_UNSPECIFIED"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HINTS = {
    401: "Sign in: CULLING_KFP_TOKEN, CULLING_KFP_COOKIES or a service account's token.",
    403: "Ask for the right in this namespace; manifests/base/roles.yaml names what is needed.",
    404: "Check --host and --namespace.",
}


@dataclass(frozen=True, slots=True)
class RecurringSpec:
    """A recurring run to be created: one run at a time, missed nights are not made up for."""

    name: str
    description: str
    experiment_id: str
    pipeline_id: str
    version_id: str
    cron: str
    begin_utc: datetime
    parameters: Mapping[str, Any] = field(repr=False)
    service_account: str = ""
    pipeline_root: str = ""
    enabled: bool = True


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
        """Whether it has not ended. An unknown state counts as live unless the run has an end."""
        return self.state not in ENDED and self.ended_utc is None


@dataclass(frozen=True, slots=True)
class Version:
    """A pipeline version; `id` is empty while it is not uploaded."""

    name: str
    pipeline_id: str = ""
    id: str = ""


class Cluster:
    """Kubeflow Pipelines. Safe to use from several threads."""

    def __init__(self, settings: KfpSettings) -> None:
        """Connect.

        Raises:
            ClusterError: If the server does not answer, refuses, or is something else than Kubeflow Pipelines.
            ConfigError: If kfp is not installed, or a needed namespace is missing.
        """
        self.settings = settings
        self._kfp = _connect(settings)
        health = self._call("answer as Kubeflow Pipelines does", self._kfp.healthzs.healthz_service_get_healthz)
        namespace = settings.namespace or self._kfp.get_user_namespace()
        if health.get("multi_user") and not namespace:
            mounted = IN_POD / "namespace"
            namespace = mounted.read_text(encoding="utf-8").strip() if mounted.is_file() else ""
            if not namespace:
                raise ConfigError(
                    f"{settings.host}: this Kubeflow has several users, so the namespace must be given. "
                    f"Pass --namespace, or set CULLING_KFP_NAMESPACE."
                )
        self.settings = settings.model_copy(update={"namespace": namespace})
        self._scope = {"namespace": namespace} if namespace else {}

    # --- calls

    def _call(
        self,
        what: str,
        function: Callable[..., Any],
        *arguments: Any,
        find: Callable[[], Row | None] | None = None,
        **options: Any,
    ) -> Any:
        """Call one of kfp's generated APIs, again while the server is busy or away.

        Args:
            what: What the server is asked to do, for errors.
            function: A method such as `client.runs.run_service_get_run`.
            arguments: Its positional arguments.
            find: For a creation, looks for what an earlier attempt created although its answer was lost.
            options: Its named arguments.

        Returns:
            The answer's JSON, or what `find` found.

        Raises:
            ClusterConflict: If it exists already and `find` does not find it.
            ClusterError: If the server refuses, or fails for `settings.retry_s`.
        """
        tries = 0

        def attempt() -> Any:
            nonlocal tries
            tries += 1
            if find is not None and tries > 1 and (found := find()) is not None:
                return found
            try:
                return self._once(what, function, *arguments, **options)
            except ClusterConflict:
                if find is not None and (found := find()) is not None:
                    return found
                raise

        try:
            return _retrying(self.settings.retry_s)(attempt)
        except _PassingError as error:
            if find is not None and (found := find()) is not None:
                return found
            raise ClusterError(
                f"{self.settings.host}: could not {what} for {self.settings.retry_s:g} s: {error}. Try again, nothing "
                f"is created twice; culling doctor --kfp checks the server."
            ) from None

    def _once(self, what: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        import urllib3
        from kfp_server_api import ApiException

        host, timeout_s = self.settings.host, self.settings.timeout_s
        timeouts = (min(10.0, timeout_s), timeout_s)  # to connect, to read
        try:
            # Without preloading kfp builds no objects of the answer, which for a thousand cameras takes longer than all
            # the rest of a plan.
            response = function(*arguments, **options, _preload_content=False, _request_timeout=timeouts)
            data, media = response.data, response.headers.get("content-type", "")
        except urllib3.exceptions.LocationValueError as error:
            raise ConfigError(f"--host {host}: expected http://HOST:PORT, found {error}.") from None
        except urllib3.exceptions.HTTPError as error:
            raise _PassingError(_one_line(getattr(error, "reason", None) or error)) from None
        except ApiException as error:
            status, message = int(error.status or 0), _message(error)
            if status == 429 or status >= 500:
                raise _PassingError(f"{status} {message}", _retry_after(error.headers)) from None
            if status == 409:
                raise ClusterConflict(f"{host}: could not {what}: {message}.") from None
            kind = ClusterMissing if status == 404 else ClusterError
            hint = HINTS.get(status, "Fix what it names.")
            raise kind(f"{host}: could not {what}: {status} {message}. {hint}") from None
        if "json" not in media:
            raise ClusterError(
                f"{host}: expected JSON of Kubeflow Pipelines, found {media or 'no type'}, perhaps a sign-in page. "
                f"Set CULLING_KFP_TOKEN or CULLING_KFP_COOKIES, and check --host."
            )
        return json.loads(data)

    def _rows(self, what: str, function: Callable[..., Any], items: str, **options: Any) -> Iterator[Row]:
        """List all pages."""
        token = ""
        while True:
            page = self._call(what, function, page_token=token, page_size=PAGE, **options)
            yield from page.get(items) or ()
            token = page.get("next_page_token") or ""
            if not token:
                return

    # --- experiments and pipelines

    def experiment_id(self, name: str) -> str:
        """Return the experiment of that name, created if it is missing."""
        api, by_name = self._kfp.experiments, _filter(("display_name", "EQUALS", name))

        def find() -> Row | None:
            lists = api.experiment_service_list_experiments
            return next(self._rows("list experiments", lists, "experiments", filter=by_name, **self._scope), None)

        made = find() or self._call(
            f"create the experiment {name}",
            api.experiment_service_create_experiment,
            experiment={"display_name": name, **self._scope},
            find=find,
        )
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
            body = {"display_name": pipeline.name, "name": pipeline.name, **self._scope}
            made = self._call(
                f"create the pipeline {pipeline.name}",
                self._kfp.pipelines.pipeline_service_create_pipeline,
                pipeline=body,
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
        by_name, lists = _filter(("display_name", "EQUALS", name)), self._kfp.pipelines.pipeline_service_list_pipelines
        return next(self._rows("list pipelines", lists, "pipelines", filter=by_name, **self._scope), None)

    def _find_version(self, pipeline_id: str, name: str) -> Row | None:
        lists = self._kfp.pipelines.pipeline_service_list_pipeline_versions
        options = {"pipeline_id": pipeline_id, "filter": _filter(("display_name", "EQUALS", name))}
        return next(self._rows("list pipeline versions", lists, "pipeline_versions", **options), None)

    # --- recurring runs

    def recurring_runs(self, name: str = "") -> list[RecurringRun]:
        """List all of the namespace, or those of one name."""
        options = {"filter": _filter(("display_name", "EQUALS", name))} if name else {}
        lists = self._kfp.recurring_runs.recurring_run_service_list_recurring_runs
        rows = self._rows("list recurring runs", lists, "recurringRuns", **options, **self._scope)
        return [_recurring_run(row) for row in rows]

    def create_recurring_run(self, spec: RecurringSpec, is_it: Callable[[RecurringRun], bool]) -> RecurringRun:
        """Create one.

        Args:
            spec: What it is to be.
            is_it: Recognises the one, among recurring runs of that name, should the server's answer get lost.
        """
        body = {
            "display_name": spec.name,
            "description": spec.description,
            "experiment_id": spec.experiment_id,
            **_job(spec.pipeline_id, spec.version_id, spec.parameters, spec.service_account, spec.pipeline_root),
            "max_concurrency": "1",
            "no_catchup": True,
            "mode": "ENABLE" if spec.enabled else "DISABLE",
            "trigger": {"cron_schedule": {"cron": spec.cron, "start_time": spec.begin_utc.astimezone(UTC).isoformat()}},
            **self._scope,
        }
        api = self._kfp.recurring_runs

        def find() -> Row | None:
            options = {"filter": _filter(("display_name", "EQUALS", spec.name)), **self._scope}
            rows = self._rows(
                "list recurring runs", api.recurring_run_service_list_recurring_runs, "recurringRuns", **options
            )
            return next((row for row in rows if is_it(_recurring_run(row))), None)

        what = f"create the recurring run {spec.name}"
        creates = api.recurring_run_service_create_recurring_run
        return _recurring_run(self._call(what, creates, recurring_run=body, find=find))

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

    def runs(self, *predicates: tuple[str, str, str], newest: int = 0, experiment_id: str = "") -> list[Run]:
        """List runs that fit all predicates (key, operation, text); at most `newest`, newest first, if it is given."""
        return [_run(row) for row in self._run_rows(*predicates, newest=newest, experiment_id=experiment_id)]

    def _run_rows(self, *predicates: tuple[str, str, str], newest: int = 0, experiment_id: str = "") -> list[Row]:
        options: dict[str, Any] = {"filter": _filter(*predicates)} if predicates else {}
        options |= {"experiment_id": experiment_id} if experiment_id else self._scope
        function = self._kfp.runs.run_service_list_runs
        if newest:
            page = self._call("list runs", function, page_size=newest, sort_by="created_at desc", **options)
            return list(page.get("runs") or ())
        return list(self._rows("list runs", function, "runs", **options))

    def live_runs(self) -> list[Run]:
        """List those that have not ended."""
        return [run for run in self.runs(*NOT_ENDED) if run.is_live]

    def has_live_run(self, recurring_run_id: str) -> bool:
        """Tell whether a run of it has not ended."""
        return any(run.is_live for run in self.runs(("recurring_run_id", "EQUALS", recurring_run_id), *NOT_ENDED))

    def last_run(self, recurring_run_id: str) -> Run | None:
        """Return its newest run."""
        return next(iter(self.runs(("recurring_run_id", "EQUALS", recurring_run_id), newest=1)), None)

    def run(self, run_id: str) -> Run:
        """Return one run with its tasks."""
        return _run(self._call("show a run", self._kfp.runs.run_service_get_run, run_id))

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
        body = {
            "display_name": name,
            "description": description,
            "experiment_id": experiment_id,
            **_job(version.pipeline_id, version.id, parameters, service_account, pipeline_root),
        }

        def find() -> Row | None:
            same = self._run_rows(("display_name", "EQUALS", name), experiment_id=experiment_id)
            return next((row for row in same if row.get("description") == description), None)

        return _run(self._call(f"start the run {name}", self._kfp.runs.run_service_create_run, run=body, find=find))

    def run_link(self, run_id: str) -> str:
        """Return a run's address in the UI."""
        ui = (self.settings.ui_host or self.settings.host).rstrip("/")
        return f"{ui if '://' in ui else f'http://{ui}'}/#/runs/details/{run_id}"


class _PassingError(Exception):
    """A failure that may pass; the server asks for a pause of `wait_s`."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _retrying(limit_s: float) -> tenacity.Retrying:
    """Build the retry policy: exponential backoff with full jitter, no attempt after `limit_s` seconds."""
    backoff = tenacity.wait_random_exponential(multiplier=0.25, max=8.0)

    def wait_s(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        return max(backoff(state), error.wait_s if isinstance(error, _PassingError) else 0.0)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(_PassingError),
        stop=tenacity.stop_before_delay(limit_s),
        wait=wait_s,
        reraise=True,
    )


def _connect(settings: KfpSettings) -> Any:
    """Build kfp's client; it asks the server for nothing yet."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kfp.client
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Kubeflow: the package 'kfp' is missing (no module {str(error.name).partition('.')[0]}). "
            f"Install it: pip install 'dataset-culling[kubeflow]'."
        ) from None
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # Cluster reports a failure once

    class Client(kfp.client.Client):  # type: ignore[misc] # kfp is untyped
        """kfp's client without its start-up check, which retries with tracebacks and writes into the home folder."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            del sleep_duration
            return SimpleNamespace(multi_user=False)

    options: dict[str, Any] = {"host": settings.host}
    token_file = settings.token_file or (str(POD_TOKEN) if POD_TOKEN.is_file() else "")
    if settings.token.get_secret_value():
        options["existing_token"] = settings.token.get_secret_value()
    elif settings.cookies.get_secret_value():
        options["cookies"] = settings.cookies.get_secret_value()
    elif token_file:
        if not Path(token_file).is_file():
            raise ConfigError(
                f"KF_PIPELINES_SA_TOKEN_PATH: the file {token_file} is missing. "
                f"Mount the service account's token, or unset the variable."
            )
        options["credentials"] = kfp.client.ServiceAccountTokenVolumeCredentials(path=token_file)
    if settings.ca_file:
        options["ssl_ca_cert"] = settings.ca_file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Client(**options, namespace=settings.namespace or "kubeflow", ui_host=settings.ui_host or None)


def _filter(*predicates: tuple[str, str, str]) -> str:
    listed = [{"operation": operation, "key": key, "string_value": text} for key, operation, text in predicates]
    return json.dumps({"predicates": listed})


def _job(
    pipeline_id: str, version_id: str, parameters: Mapping[str, Any], service_account: str, pipeline_root: str
) -> dict[str, Any]:
    """Build what the bodies of runs and recurring runs share."""
    root = {"pipeline_root": pipeline_root} if pipeline_root else {}
    account = {"service_account": service_account} if service_account else {}
    return {
        "pipeline_version_reference": {"pipeline_id": pipeline_id, "pipeline_version_id": version_id},
        "runtime_config": {"parameters": dict(parameters), **root},
        **account,
    }


def _recurring_run(row: Row) -> RecurringRun:
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


def _run(row: Row) -> Run:
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
        error=_one_line((row.get("error") or {}).get("message") or ""),
        tasks=tuple(
            Task(
                name=task.get("display_name") or "",
                state=task.get("state") or UNKNOWN,
                started_utc=_moment(task.get("start_time")),
                ended_utc=_moment(task.get("end_time")),
                error=_one_line((task.get("error") or {}).get("message") or ""),
            )
            for task in tasks
        ),
    )


def _moment(text: str | None) -> datetime | None:
    """Parse a time; the server says 1970 where it means never."""
    moment = datetime.fromisoformat(text) if text else EPOCH
    return moment if moment.year > 1970 else None


def _message(error: Any) -> str:
    try:
        said = json.loads(error.body)
        text = said.get("message") or said.get("error") or ""
    except (ValueError, TypeError, AttributeError):
        text = error.body if isinstance(error.body, str) and "<" not in error.body else ""
    return _one_line(text or error.reason or "no reason")


def _retry_after(headers: Any) -> float:
    try:
        return min(max(float((headers or {}).get("retry-after") or 0), 0.0), 60.0)
    except (TypeError, ValueError):
        return 0.0


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300].rstrip(".")
