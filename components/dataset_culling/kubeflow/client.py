"""Kubeflow Pipelines 2.17 through kfp's own client: thin, patient, and strict about what answers.

kfp's import takes seconds, so it happens when a cluster is reached. What its convenience methods cannot do (a request
timeout, quiet, no login page taken for an empty list) is why its generated v2beta1 API is called.

Signing in, the first that is there: CULLING_KFP_TOKEN; CULLING_KFP_COOKIES (a Dex session); a service account's token
in the file KF_PIPELINES_SA_TOKEN_PATH, or where a pod has it mounted (audience pipelines.kubeflow.org); nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataset_culling.errors import ClusterConflict, ClusterError, ClusterMissing, ConfigError

Result = TypeVar("Result")
PAGE = 200
"""The most that the server gives at once."""
IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
POD_HOST = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
"""States that a run does not leave."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.25, 8.0


class KfpSettings(BaseSettings):
    """The environment's say about Kubeflow Pipelines."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, case_sensitive=True, hide_input_in_errors=True
    )

    host: str = Field("", validation_alias=AliasChoices("KF_PIPELINES_ENDPOINT"), description="http(s)://host[:port].")
    ui_host: str = Field("", validation_alias="KF_PIPELINES_UI_ENDPOINT", description="The UI's address, for links.")
    namespace: str = Field("", validation_alias="CULLING_KFP_NAMESPACE", description="Namespace of the runs.")
    token: SecretStr = Field(SecretStr(""), validation_alias="CULLING_KFP_TOKEN")
    cookies: SecretStr = Field(SecretStr(""), validation_alias="CULLING_KFP_COOKIES")
    token_file: str = Field("", validation_alias="KF_PIPELINES_SA_TOKEN_PATH")
    ca_file: str = Field("", validation_alias=AliasChoices("CULLING_KFP_CA_FILE", "SSL_CERT_FILE"))
    retry_s: float = Field(60.0, ge=0, le=3600, validation_alias="CULLING_KFP_RETRY_S")
    timeout_s: float = Field(60.0, gt=0, le=3600, validation_alias="CULLING_KFP_TIMEOUT_S")
    workers: int = Field(8, ge=1, le=32, validation_alias="CULLING_KFP_WORKERS")


def kfp_settings(host: str = "", namespace: str = "") -> KfpSettings:
    """The environment's settings, options laid over them.

    Raises:
        ConfigError: If a value is wrong or no server is named; secrets are never repeated.
    """
    try:
        settings = KfpSettings()
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise ConfigError(f"environment: {problems}. Mend or unset the variable.") from None
    host = host or settings.host or (POD_HOST if IN_POD.is_dir() else "")
    if not host:
        raise ConfigError(
            "Kubeflow Pipelines: expected its address, found none. Pass --host http://localhost:8888 (after "
            "kubectl port-forward -n kubeflow svc/ml-pipeline 8888), or set KF_PIPELINES_ENDPOINT."
        )
    if not host.startswith(("http://", "https://")):
        raise ConfigError(f"--host {host}: expected http://HOST:PORT or https://HOST. Mend it.")
    return settings.model_copy(update={"host": host.rstrip("/"), "namespace": namespace or settings.namespace})


@dataclass(frozen=True, slots=True)
class RecurringSpec:
    """A recurring run to be made: one run at a time, no nights made up for."""

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
    """A recurring run as the server has it."""

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
    created_utc: datetime = datetime(1970, 1, 1, tzinfo=UTC)


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
    """A run as the server has it."""

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
        """Whether it has not ended. A state that the server does not know counts as live unless the run has an end."""
        return self.state not in ENDED and self.ended_utc is None


@dataclass(frozen=True, slots=True)
class Version:
    """A pipeline version; `id` is empty while it is not uploaded."""

    name: str
    pipeline_id: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class CompiledPipeline:
    """A compiled pipeline file."""

    path: Path
    name: str
    digest: str
    defaults: Mapping[str, Any] = field(repr=False)
    """Parameter -> default; None where it must be given."""
    tasks: Mapping[str, str] = field(repr=False)
    """Task's name -> the user's word for it."""

    @property
    def version(self) -> str:
        """What its version is called in KFP: equal bytes, one version."""
        return f"{self.name}-{self.digest[:16]}"


def read_compiled(path: Path) -> CompiledPipeline:
    """What must be known of a file that `culling compile` wrote.

    Raises:
        ConfigError: If it is missing or no compiled pipeline.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a compiled pipeline, found {error.strerror}. Run culling compile."
        ) from None
    try:
        spec = next(each for each in yaml.load_all(data, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) if each)
        inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        tasks = spec["root"]["dag"]["tasks"]
        return CompiledPipeline(
            path=path,
            name=str(spec["pipelineInfo"]["name"]),
            digest=hashlib.sha256(data).hexdigest(),
            defaults={name: entry.get("defaultValue") for name, entry in inputs.items()},
            tasks={name: str(entry.get("taskInfo", {}).get("name", name)) for name, entry in tasks.items()},
        )
    except (yaml.YAMLError, StopIteration, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path}: expected a pipeline that culling compile wrote, found {type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'nothing'}. Compile it again."
        ) from None


class Cluster:
    """Kubeflow Pipelines. Safe to use from several threads."""

    def __init__(self, settings: KfpSettings) -> None:
        """Reach it.

        Raises:
            ClusterError: If it does not answer, refuses, or is not Kubeflow Pipelines.
            ConfigError: If kfp is not installed.
        """
        self.settings = settings
        self._random = random.Random(0)  # spreads retries of several threads; decides nothing
        client = _connect(settings, self._call)
        if not settings.namespace and (namespace := client.get_user_namespace()):
            self.settings = settings.model_copy(update={"namespace": namespace})
        import kfp_server_api as api

        # The same generated APIs that kfp's client holds, on its connection: it shows all but `..._with_http_info`.
        connection = client.runs.api_client
        self._connection = connection
        self._experiments = api.ExperimentServiceApi(connection)
        self._pipelines = api.PipelineServiceApi(connection)
        self._uploads = api.PipelineUploadServiceApi(connection)
        self._recurring_runs = api.RecurringRunServiceApi(connection)
        self._runs = api.RunServiceApi(connection)

    def _call(self, what: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call one of kfp's generated `..._with_http_info`; wait out what passes.

        Raises:
            ClusterConflict: If the server says that there is one already.
            ClusterError: If it refuses, or does not answer for as long as patience lasts.
        """
        deadline, delay = time.monotonic() + self.settings.retry_s, FIRST_DELAY_S
        while True:
            try:
                return self._once(what, function, *arguments, **options)
            except _PassingError as error:
                wait = max(error.wait_s, delay * (0.75 + 0.5 * self._random.random()))
                if time.monotonic() + wait > deadline:
                    raise ClusterError(
                        f"{self.settings.host}: expected it to {what}, found {error} for {self.settings.retry_s:g} s. "
                        f"Try again; culling doctor --kfp looks at the server."
                    ) from None
                time.sleep(wait)
                delay = min(delay * 2, LONGEST_DELAY_S)

    def _once(self, what: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        import urllib3
        from kfp_server_api import ApiException

        try:
            timeout = (min(10.0, self.settings.timeout_s), self.settings.timeout_s)
            data, _, headers = function(*arguments, **options, _request_timeout=timeout)
        except urllib3.exceptions.LocationValueError as error:
            raise ConfigError(f"--host {self.settings.host}: expected http://HOST:PORT, found {error}.") from None
        except urllib3.exceptions.HTTPError as error:
            raise _PassingError(_reason(error)) from None
        except ApiException as error:
            status, said = int(error.status or 0), _message(error)
            if status == 429 or status >= 500:
                raise _PassingError(f"{status} {said}", _retry_after(error.headers)) from None
            if status == 409:
                raise ClusterConflict(
                    f"{self.settings.host}: expected it to {what}, found one already: {said}."
                ) from None
            hint = {
                401: "Sign in: CULLING_KFP_TOKEN, CULLING_KFP_COOKIES or a service account's token.",
                403: "Ask for the right in this namespace; manifests/base/roles.yaml names what is needed.",
                404: "Check --host and --namespace.",
            }.get(status, "Mend what it names.")
            kind = ClusterMissing if status == 404 else ClusterError
            raise kind(f"{self.settings.host}: expected it to {what}, found {status} {said}. {hint}") from None
        media = str(headers.get("content-type") or headers.get("Content-Type") or "") if headers else ""
        if "json" not in media:
            raise ClusterError(
                f"{self.settings.host}: expected JSON of Kubeflow Pipelines, found {media or 'no type'}: sign in? "
                f"Set CULLING_KFP_TOKEN or CULLING_KFP_COOKIES, and check --host."
            )
        return data

    def _make(self, what: str, function: Callable[..., Any], find: Callable[[], Result | None], **options: Any) -> Any:
        """Create something once: after an answer that got lost, and on a conflict, look for it before trying again.

        Returns:
            What `function` or `find` gave.
        """
        deadline, delay = time.monotonic() + self.settings.retry_s, FIRST_DELAY_S
        while True:
            try:
                return self._once(what, function, **options)
            except ClusterConflict:
                if (found := find()) is not None:
                    return found
                raise
            except _PassingError as error:
                wait = max(error.wait_s, delay * (0.75 + 0.5 * self._random.random()))
                time.sleep(min(wait, max(deadline - time.monotonic(), 0)))
                if (found := find()) is not None:
                    return found
                if time.monotonic() >= deadline:
                    raise ClusterError(
                        f"{self.settings.host}: expected it to {what}, found {error} for {self.settings.retry_s:g} s. "
                        f"Try again; nothing is made twice."
                    ) from None
                delay = min(delay * 2, LONGEST_DELAY_S)

    def _pages(self, what: str, function: Callable[..., Any], items: str, **options: Any) -> Iterator[Any]:
        token = ""
        while True:
            page = self._call(what, function, page_token=token, page_size=PAGE, **options)
            yield from getattr(page, items) or ()
            token = page.next_page_token or ""
            if not token:
                return

    def _scope(self) -> dict[str, str]:
        return {"namespace": self.settings.namespace} if self.settings.namespace else {}

    # --- experiments and pipelines

    def experiment_id(self, name: str) -> str:
        """The experiment of that name, made if there is none."""
        api = self._experiments

        def find() -> str | None:
            pages = self._pages(
                "list experiments",
                api.experiment_service_list_experiments_with_http_info,
                "experiments",
                filter=_filter(("display_name", "EQUALS", name)),
                **self._scope(),
            )
            return next((str(each.experiment_id) for each in pages), None)

        if (found := find()) is not None:
            return found
        from kfp_server_api import V2beta1Experiment

        body = V2beta1Experiment(display_name=name, **self._scope())
        what = f"make the experiment {name}"
        made = self._make(what, api.experiment_service_create_experiment_with_http_info, find, experiment=body)
        return made if isinstance(made, str) else str(made.experiment_id)

    def find_version(self, pipeline: CompiledPipeline) -> Version:
        """The version with the very bytes of this file; its `id` is empty if it is not uploaded."""
        pipeline_id = self._pipeline_id(pipeline.name)
        if not pipeline_id:
            return Version(pipeline.version)
        pages = self._pages(
            "list pipeline versions",
            self._pipelines.pipeline_service_list_pipeline_versions_with_http_info,
            "pipeline_versions",
            pipeline_id=pipeline_id,
            filter=_filter(("display_name", "EQUALS", pipeline.version)),
        )
        found = next((str(each.pipeline_version_id) for each in pages), "")
        return Version(pipeline.version, pipeline_id, found)

    def upload(self, pipeline: CompiledPipeline) -> Version:
        """The version with the very bytes of this file, uploaded if it is not there."""
        found = self.find_version(pipeline)
        if found.id:
            return found
        if not found.pipeline_id:
            # Made empty and then given its version, so that the first version, too, has its digest for a name.
            from kfp_server_api import V2beta1Pipeline

            body = V2beta1Pipeline(display_name=pipeline.name, name=pipeline.name, **self._scope())
            made = self._make(
                f"make the pipeline {pipeline.name}",
                self._pipelines.pipeline_service_create_pipeline_with_http_info,
                lambda: self._pipeline_id(pipeline.name) or None,
                pipeline=body,
            )
            found = Version(pipeline.version, made if isinstance(made, str) else str(made.pipeline_id))

        def uploaded() -> Version | None:
            there = self.find_version(pipeline)
            return there if there.id else None

        version = self._make(
            f"take the pipeline version {pipeline.version}",
            lambda **options: self._uploads.upload_pipeline_version_with_http_info(str(pipeline.path), **options),
            uploaded,
            name=pipeline.version,
            display_name=pipeline.version,
            pipelineid=found.pipeline_id,
            description=f"sha256 {pipeline.digest}",
        )
        if isinstance(version, Version):
            return version
        return Version(pipeline.version, found.pipeline_id, str(version.pipeline_version_id))

    def _pipeline_id(self, name: str) -> str:
        pages = self._pages(
            "list pipelines",
            self._pipelines.pipeline_service_list_pipelines_with_http_info,
            "pipelines",
            filter=_filter(("display_name", "EQUALS", name)),
            **self._scope(),
        )
        return next((str(each.pipeline_id) for each in pages), "")

    # --- recurring runs

    def recurring_runs(self, name: str = "") -> list[RecurringRun]:
        """All of the namespace, or those of one name."""
        options = {"filter": _filter(("display_name", "EQUALS", name))} if name else {}
        found: list[RecurringRun] = []
        token = ""
        while True:
            page = self._call(
                "list recurring runs",
                self._recurring_run_rows,
                page_token=token,
                page_size=PAGE,
                **options,
                **self._scope(),
            )
            found += [_recurring_run_row(row) for row in page.get("recurringRuns") or ()]
            token = page.get("next_page_token") or ""
            if not token:
                return found

    def _recurring_run_rows(self, _request_timeout: Any, **query: Any) -> Any:
        """kfp's listing with its rows left as JSON: to make its objects of a thousand takes half of a whole plan."""
        return self._connection.call_api(
            "/apis/v2beta1/recurringruns",
            "GET",
            query_params=[(key, value) for key, value in query.items() if value],
            header_params={"Accept": "application/json"},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=False,
            _request_timeout=_request_timeout,
        )

    def create_recurring_run(self, spec: RecurringSpec, is_it: Callable[[RecurringRun], bool]) -> RecurringRun:
        """Make one.

        Args:
            spec: What it is to be.
            is_it: Whether a recurring run of that name is the one, should the server's answer get lost.
        """
        import kfp_server_api as api

        body = api.V2beta1RecurringRun(
            display_name=spec.name,
            description=spec.description,
            experiment_id=spec.experiment_id,
            pipeline_version_reference=api.V2beta1PipelineVersionReference(
                pipeline_id=spec.pipeline_id, pipeline_version_id=spec.version_id
            ),
            runtime_config=api.V2beta1RuntimeConfig(
                parameters=dict(spec.parameters), pipeline_root=spec.pipeline_root or None
            ),
            service_account=spec.service_account or None,
            max_concurrency="1",
            no_catchup=True,
            mode=api.RecurringRunMode.ENABLE if spec.enabled else api.RecurringRunMode.DISABLE,
            trigger=api.V2beta1Trigger(
                cron_schedule=api.V2beta1CronSchedule(cron=spec.cron, start_time=spec.begin_utc.astimezone(UTC))
            ),
            **self._scope(),
        )
        made = self._make(
            f"make the recurring run {spec.name}",
            self._recurring_runs.recurring_run_service_create_recurring_run_with_http_info,
            lambda: next((run for run in self.recurring_runs(spec.name) if is_it(run)), None),
            recurring_run=body,
        )
        return made if isinstance(made, RecurringRun) else _recurring_run(made)

    def enable(self, recurring_run_id: str) -> None:
        """Switch it on."""
        self._call(
            "enable a recurring run",
            self._recurring_runs.recurring_run_service_enable_recurring_run_with_http_info,
            recurring_run_id,
        )

    def disable(self, recurring_run_id: str) -> None:
        """Switch it off; a live run of it goes on."""
        self._call(
            "disable a recurring run",
            self._recurring_runs.recurring_run_service_disable_recurring_run_with_http_info,
            recurring_run_id,
        )

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Remove it; its runs are orphaned, not collected.

        Servers before 2.17 do not know that policy and kill a live run with it (kubeflow/pipelines#7421): ask first.
        """
        api = self._recurring_runs
        try:
            self._call(
                "delete a recurring run",
                api.recurring_run_service_delete_recurring_run_with_http_info,
                recurring_run_id,
                propagation_policy="ORPHAN",
            )
        except ClusterMissing:  # somebody else did
            pass

    # --- runs

    def runs(self, *predicates: tuple[str, str, str], newest: int = 0, experiment_id: str = "") -> list[Run]:
        """Runs that fit all predicates (key, operation, text); at most `newest`, newest first, if it is given."""
        options: dict[str, Any] = {"filter": _filter(*predicates)} if predicates else {}
        options |= {"experiment_id": experiment_id} if experiment_id else self._scope()
        function = self._runs.run_service_list_runs_with_http_info
        if newest:
            page = self._call("list runs", function, page_size=newest, sort_by="created_at desc", **options)
            return [_run(each) for each in page.runs or ()]
        return [_run(each) for each in self._pages("list runs", function, "runs", **options)]

    def live_runs(self) -> list[Run]:
        """Those that have not ended."""
        return [run for run in self.runs(*_NOT_ENDED) if run.is_live]

    def has_live_run(self, recurring_run_id: str) -> bool:
        """Whether a run of it has not ended."""
        found = self.runs(("recurring_run_id", "EQUALS", recurring_run_id), *_NOT_ENDED)
        return any(run.is_live for run in found)

    def last_run(self, recurring_run_id: str) -> Run | None:
        """Its newest run."""
        return next(iter(self.runs(("recurring_run_id", "EQUALS", recurring_run_id), newest=1)), None)

    def run(self, run_id: str) -> Run:
        """One run with its tasks."""
        return _run(self._call("show a run", self._runs.run_service_get_run_with_http_info, run_id))

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
        """Start a run. `description` must be this start's own, as it is found by it should the answer get lost."""
        import kfp_server_api as api

        body = api.V2beta1Run(
            display_name=name,
            description=description,
            experiment_id=experiment_id,
            pipeline_version_reference=api.V2beta1PipelineVersionReference(
                pipeline_id=version.pipeline_id, pipeline_version_id=version.id
            ),
            runtime_config=api.V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=pipeline_root or None),
            service_account=service_account or None,
        )

        def find() -> Run | None:
            same = self.runs(("display_name", "EQUALS", name), experiment_id=experiment_id)
            return next((run for run in same if run.description == description), None)

        function = self._runs.run_service_create_run_with_http_info
        made = self._make(f"start the run {name}", function, find, run=body)
        return made if isinstance(made, Run) else _run(made)

    def run_link(self, run_id: str) -> str:
        """Where a browser shows it."""
        ui = (self.settings.ui_host or self.settings.host).rstrip("/")
        ui = ui if "://" in ui else f"http://{ui}"
        return f"{ui}/#/runs/details/{run_id}"


_NOT_ENDED = tuple(("state", "NOT_EQUALS", state) for state in ENDED)


class _PassingError(Exception):
    """May be better in a moment."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


_connecting = threading.Lock()


def _connect(settings: KfpSettings, call: Callable[..., Any]) -> Any:
    """kfp's client, after the server has said that it is well."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kfp.client
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"Kubeflow: expected the package 'kfp', found no module {str(error.name).partition('.')[0]}. "
            f"Install it: pip install 'dataset-culling[kubeflow]'."
        ) from None
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # we say what could not be reached, once

    class Client(kfp.client.Client):  # type: ignore[misc] # kfp is untyped
        """kfp's, without two habits: minutes of tracebacks where nobody answers, and writing into the home folder."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            del sleep_duration
            return call(
                "answer as Kubeflow Pipelines does", self._healthz_api.healthz_service_get_healthz_with_http_info
            )

        def set_user_namespace(self, namespace: str) -> None:
            self._context_setting["namespace"] = namespace

    options: dict[str, Any] = {"host": settings.host}
    token_file = settings.token_file or (str(POD_TOKEN) if POD_TOKEN.is_file() else "")
    if settings.token.get_secret_value():
        options["existing_token"] = settings.token.get_secret_value()
    elif settings.cookies.get_secret_value():
        options["cookies"] = settings.cookies.get_secret_value()
    elif token_file:
        if not Path(token_file).is_file():
            raise ConfigError(
                f"KF_PIPELINES_SA_TOKEN_PATH: expected a token in {token_file}, found no such file. "
                f"Mount the service account's token, or unset it."
            )
        options["credentials"] = kfp.client.ServiceAccountTokenVolumeCredentials(path=token_file)
    if settings.ca_file:
        options["ssl_ca_cert"] = settings.ca_file
    with _connecting, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = Client(**options, namespace=settings.namespace or "kubeflow", ui_host=settings.ui_host or None)
    if client.get_kfp_healthz().multi_user and not client.get_user_namespace():
        raise ConfigError(
            f"{settings.host}: expected a namespace, as this Kubeflow has several users, found none. "
            f"Pass --namespace, or set CULLING_KFP_NAMESPACE."
        )
    return client


def _filter(*predicates: tuple[str, str, str]) -> str:
    listed = [{"operation": operation, "key": key, "string_value": text} for key, operation, text in predicates]
    return json.dumps({"predicates": listed})


def _recurring_run(found: Any) -> RecurringRun:
    reference, runtime = found.pipeline_version_reference, found.runtime_config
    schedule = found.trigger.cron_schedule if found.trigger is not None else None
    return RecurringRun(
        id=str(found.recurring_run_id),
        name=found.display_name or "",
        description=found.description or "",
        enabled=found.mode == "ENABLE" or found.status == "ENABLED",
        cron=(schedule.cron or "") if schedule is not None else "",
        max_concurrency=int(found.max_concurrency or 0),
        no_catchup=bool(found.no_catchup),
        version_id=(reference.pipeline_version_id or "") if reference is not None else "",
        parameters=dict((runtime.parameters or {}) if runtime is not None else {}),
        service_account=found.service_account or "",
        pipeline_root=(runtime.pipeline_root or "") if runtime is not None else "",
        created_utc=found.created_at or datetime(1970, 1, 1, tzinfo=UTC),
    )


def _recurring_run_row(row: Mapping[str, Any]) -> RecurringRun:
    """As `_recurring_run`, of the JSON."""
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
        created_utc=datetime.fromisoformat(row.get("created_at") or "1970-01-01T00:00:00Z"),
    )


def _run(found: Any) -> Run:
    details = found.run_details.task_details if found.run_details is not None else None
    runtime = found.runtime_config
    return Run(
        id=str(found.run_id),
        name=found.display_name or "",
        description=found.description or "",
        state=found.state or "RUNTIME_STATE_UNSPECIFIED",
        created_utc=found.created_at or datetime(1970, 1, 1, tzinfo=UTC),
        ended_utc=_real(found.finished_at),
        recurring_run_id=found.recurring_run_id or "",
        pipeline_root=(runtime.pipeline_root or "") if runtime is not None else "",
        error=_one_line((found.error.message if found.error is not None else "") or ""),
        tasks=tuple(
            Task(
                name=each.display_name or "",
                state=each.state or "RUNTIME_STATE_UNSPECIFIED",
                started_utc=_real(each.start_time),
                ended_utc=_real(each.end_time),
                error=_one_line((each.error.message if each.error is not None else "") or ""),
            )
            for each in details or ()
        ),
    )


def _real(moment: datetime | None) -> datetime | None:
    """The server says 1970 where it means never."""
    return moment if moment is not None and moment.year > 1970 else None


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


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None) or error
    return _one_line(inner)


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:300].rstrip(".")
