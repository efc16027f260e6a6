"""A server on loopback that speaks Kubeflow Pipelines' v2beta1 API, for kfp's real client.

Strict where the real API server is (kubeflow/pipelines 2.17, backend/src/apiserver): an unknown field of a body is
refused, by the attribute maps of the published kfp-server-api models; so are missing names, a cron that robfig/cron
does not read, a concurrency outside 1 to 10, an experiment or a pipeline version that is not there, a parameter that
the pipeline does not have or that must be given. Names of experiments, pipelines and versions are unique: 409. Lists
come in pages of at most `page_size`, and of 200 whatever is asked for. Deleting a recurring run collects its live
runs unless they are orphaned; `killed` says which. `fail` makes chosen requests fail, before or after they took effect.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import yaml

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
ROOT = "/apis/v2beta1"
NESTED = {
    "pipeline_version_reference": api.V2beta1PipelineVersionReference,
    "runtime_config": api.V2beta1RuntimeConfig,
    "trigger": api.V2beta1Trigger,
    "cron_schedule": api.V2beta1CronSchedule,
}
SORTABLE = ("created_at", "display_name")


class Refused(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """Requests that fail: those whose 'METHOD path' matches, `times` times; `after`: when they took effect already."""

    pattern: str
    status: int
    times: int = 1
    after: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class KfpServer:
    """What the server knows; tests look into it and change it, as a person with the UI would."""

    token: str = ""
    multi_user: bool = False
    page_size: int = 200
    delay_s: float = 0.0
    experiments: dict[str, dict[str, Any]] = field(default_factory=dict)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: dict[str, dict[str, Any]] = field(default_factory=dict)
    recurring: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    on_get_run: Callable[[dict[str, Any]], None] = lambda run: None
    sign_in_page: bool = False
    most_at_once: int = 0
    url: str = ""
    _count: int = 0
    _at_once: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def fail(self, pattern: str, status: int = 503, *, times: int = 1, after: bool = False, **headers: str) -> None:
        """Let the next `times` requests that match `pattern` fail."""
        self.faults.append(Fault(pattern, status, times, after, headers))

    def changing(self) -> list[str]:
        """The requests so far that change something."""
        return [each for each in self.requests if not each.startswith("GET ")]

    def add_run(self, recurring_run_id: str, state: str = "RUNNING", name: str = "night") -> str:
        """A run, as the scheduler would have started it."""
        with self._lock:
            run = {
                **self._named("run_id", {"display_name": name}),
                "recurring_run_id": recurring_run_id,
                "state": state,
                "experiment_id": self.recurring.get(recurring_run_id, {}).get("experiment_id", ""),
                "storage_state": "AVAILABLE",
            }
            if state in ENDED:
                run["finished_at"] = run["created_at"]
            self.runs[run["run_id"]] = run
            return str(run["run_id"])

    def enabled(self) -> list[dict[str, Any]]:
        """Recurring runs that are on."""
        return [each for each in self.recurring.values() if each["mode"] == "ENABLE"]

    # --- what it does

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, media: str) -> Any:
        with self._lock:
            parts = path.removeprefix(ROOT).strip("/").split("/")
            kind, rest = parts[0], parts[1:]
            if path == f"{ROOT}/healthz":
                return {"multi_user": True} if self.multi_user else {}
            if method == "POST" and path == f"{ROOT}/pipelines/upload_version":
                return self._upload(query, body, media)
            tables = {
                "experiments": ("experiment_id", self.experiments, self._create_experiment),
                "pipelines": ("pipeline_id", self.pipelines, self._create_pipeline),
                "recurringruns": ("recurring_run_id", self.recurring, self._create_recurring),
                "runs": ("run_id", self.runs, self._create_run),
            }
            if kind not in tables:
                raise Refused(404, f"no such path: {path}")
            key, table, create = tables[kind]
            if not rest:
                return create(json.loads(body)) if method == "POST" else self._list(kind, table, query)
            if kind == "pipelines" and rest[1:] == ["versions"] and method == "GET":
                mine = {name: each for name, each in self.versions.items() if each["pipeline_id"] == rest[0]}
                return self._list("pipeline_versions", mine, query)
            name, _, verb = rest[0].partition(":")
            if name not in table or len(rest) > 1:
                raise Refused(404, f"{key} {name} not found")
            if method == "GET" and not verb:
                if kind == "runs":
                    self.on_get_run(table[name])
                return table[name]
            if kind == "recurringruns":
                return self._recurring(method, name, verb, query)
            raise Refused(501, f"{method} {path} is not spoken here")

    def _named(self, key: str, body: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        moment = datetime(2026, 11, 20, tzinfo=UTC) + timedelta(seconds=self._count)
        name = f"{key.removesuffix('_id').replace('_', '-')}-{self._count:05}"
        return {**body, key: name, "created_at": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def _unique(self, table: dict[str, dict[str, Any]], name: str, **same: str) -> None:
        for each in table.values():
            if each["display_name"] == name and all(each.get(key, "") == value for key, value in same.items()):
                raise Refused(409, f"Already exist: the name {name} already exists. Please specify a new name")

    def _namespace(self, body: dict[str, Any]) -> None:
        if self.multi_user and not body.get("namespace"):
            raise Refused(400, "Namespace cannot be empty in multi-user mode")

    def _create_experiment(self, body: dict[str, Any]) -> Any:
        check(body, api.V2beta1Experiment)
        self._namespace(body)
        if not body.get("display_name"):
            raise Refused(400, "Experiment name is empty. Please specify a valid experiment name")
        self._unique(self.experiments, body["display_name"], namespace=body.get("namespace", ""))
        made = {**self._named("experiment_id", body), "storage_state": "AVAILABLE"}
        self.experiments[made["experiment_id"]] = made
        return made

    def _create_pipeline(self, body: dict[str, Any]) -> Any:
        check(body, api.V2beta1Pipeline)
        if not body.get("display_name"):
            raise Refused(400, "Pipeline's name cannot be empty")
        self._unique(self.pipelines, body["display_name"], namespace=body.get("namespace", ""))
        made = self._named("pipeline_id", body)
        self.pipelines[made["pipeline_id"]] = made
        return made

    def _upload(self, query: dict[str, str], body: bytes, media: str) -> Any:
        unknown = set(query) - {"name", "display_name", "pipelineid", "description", "tags"}
        if unknown:
            raise Refused(400, f"unknown query {sorted(unknown)}")
        if query.get("pipelineid") not in self.pipelines:
            raise Refused(404, f"Pipeline {query.get('pipelineid')} not found")
        message = email.message_from_bytes(f"Content-Type: {media}\r\n\r\n".encode() + body, policy=email.policy.HTTP)
        files = [
            part
            for part in message.iter_parts()
            if part.get_param("name", header="content-disposition") == "uploadfile"
        ]
        if len(files) != 1:
            raise Refused(400, "Failed to read pipeline from form file")
        spec = next(each for each in yaml.safe_load_all(files[0].get_payload(decode=True)) if each)
        if "root" not in spec or "pipelineInfo" not in spec:
            raise Refused(400, "The input spec is not a valid pipeline spec")
        if not query.get("name"):
            raise Refused(400, "the version's name is empty")
        given = {"display_name": query.get("display_name") or query["name"], "name": query["name"]}
        self._unique(self.versions, given["display_name"], pipeline_id=query["pipelineid"])
        given |= {"pipeline_id": query["pipelineid"], "description": query.get("description", "")}
        made = self._named("pipeline_version_id", given)
        self.versions[made["pipeline_version_id"]] = made
        self.specs[made["pipeline_version_id"]] = spec
        return made

    def _check_job(self, body: dict[str, Any]) -> None:
        if not body.get("display_name"):
            raise Refused(400, "name is empty. Please specify a valid name")
        if body.get("experiment_id") not in self.experiments:
            raise Refused(404, f"Experiment {body.get('experiment_id')} not found")
        reference = body.get("pipeline_version_reference") or {}
        version = self.versions.get(reference.get("pipeline_version_id", ""))
        if version is None or version["pipeline_id"] != reference.get("pipeline_id"):
            raise Refused(404, f"PipelineVersion {reference} not found")
        inputs = self.specs[version["pipeline_version_id"]]["root"].get("inputDefinitions", {}).get("parameters", {})
        given = (body.get("runtime_config") or {}).get("parameters", {})
        if unknown := sorted(set(given) - set(inputs)):
            raise Refused(400, f"parameter {unknown[0]} is not part of the pipeline's inputs")
        needed = [name for name, each in inputs.items() if not each.get("isOptional") and "defaultValue" not in each]
        if missing := sorted(set(needed) - set(given)):
            raise Refused(400, f"parameter {missing[0]} is required but not provided")
        kinds = {"LIST": list, "STRUCT": dict, "STRING": str, "BOOLEAN": bool}
        for name, value in given.items():
            kind = inputs[name]["parameterType"]
            if not isinstance(value, kinds.get(kind, (int, float))):
                raise Refused(400, f"parameter {name} must be {kind}, got {value!r}")

    def _create_recurring(self, body: dict[str, Any]) -> Any:
        check(body, api.V2beta1RecurringRun)
        self._namespace(body)
        self._check_job(body)
        if not 1 <= int(body.get("max_concurrency", 0)) <= 10:
            raise Refused(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
        schedule = (body.get("trigger") or {}).get("cron_schedule")
        if schedule is None or not re.fullmatch(r"\S+( \S+){4,5}", schedule.get("cron", "")):
            raise Refused(400, "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)")
        made = self._named("recurring_run_id", body)
        made["mode"] = "ENABLE" if body.get("mode") == "ENABLE" else "DISABLE"
        made["status"] = f"{made['mode']}D"
        made.setdefault("service_account", "pipeline-runner")
        self.recurring[made["recurring_run_id"]] = made
        return made

    def _recurring(self, method: str, name: str, verb: str, query: dict[str, str]) -> Any:
        if method == "POST" and verb in ("enable", "disable"):
            self.recurring[name].update(mode=verb.upper(), status=f"{verb.upper()}D")
            return {}
        if method == "DELETE" and not verb:
            if query.get("propagation_policy") != "ORPHAN":
                for run in self.runs.values():
                    if run["recurring_run_id"] == name and run["state"] not in ENDED:
                        self.killed.append(run["run_id"])
            del self.recurring[name]
            return {}
        raise Refused(501, f"{method} :{verb} is not spoken here")

    def _create_run(self, body: dict[str, Any]) -> Any:
        check(body, api.V2beta1Run)
        self._check_job(body)
        made = {**self._named("run_id", body), "state": "PENDING", "storage_state": "AVAILABLE", "recurring_run_id": ""}
        made["run_details"] = {"task_details": []}
        self.runs[made["run_id"]] = made
        return made

    def _list(self, kind: str, table: dict[str, dict[str, Any]], query: dict[str, str]) -> Any:
        items = "recurringRuns" if kind == "recurringruns" else kind  # the proto's own spelling
        rows = [each for each in table.values() if keeps(each, query.get("filter", ""))]
        for key in ("namespace", "experiment_id"):
            if query.get(key) and kind in ("runs", "recurringruns", "experiments"):
                rows = [each for each in rows if each.get(key, query[key]) == query[key]]
        if (
            self.multi_user
            and kind != "pipeline_versions"
            and not query.get("namespace")
            and not query.get("experiment_id")
        ):
            raise Refused(400, "Invalid input error: a namespace is needed in multi-user mode")
        order = (query.get("sort_by") or "created_at").split()
        if order[0] not in SORTABLE or order[1:] not in ([], ["asc"], ["desc"]):
            raise Refused(400, f"Cannot sort on field {order[0]}")
        rows.sort(key=lambda each: each[order[0]], reverse=order[1:] == ["desc"])
        size = min(int(query.get("page_size") or 20), self.page_size, 200)
        begin = int(query.get("page_token") or 0)
        page: dict[str, Any] = {items: rows[begin : begin + size], "total_size": len(rows)}
        if begin + size < len(rows):
            page["next_page_token"] = str(begin + size)
        return page if rows else {}


def check(body: dict[str, Any], model: Any, where: str = "") -> None:
    """Refuse what the published model does not have, at every depth, as grpc-gateway does."""
    known = set(model.attribute_map.values())
    for key, value in body.items():
        if key not in known:
            raise Refused(400, f'unknown field "{where}{key}"')
        if key in NESTED and isinstance(value, dict):
            check(value, NESTED[key], f"{where}{key}.")


def keeps(row: dict[str, Any], text: str) -> bool:
    """Whether a row fits a filter: {"predicates": [{"operation", "key", "string_value"}]}."""
    for each in json.loads(text)["predicates"] if text else ():
        if set(each) - set(api.V2beta1Predicate.attribute_map):
            raise Refused(400, f"invalid filter: {sorted(each)}")
        same = row.get(each["key"], "") == each["string_value"]
        if each["operation"] not in ("EQUALS", "NOT_EQUALS"):
            raise Refused(400, f"invalid filter operation {each['operation']}")
        if same != (each["operation"] == "EQUALS"):
            return False
    return True


class Handler(BaseHTTPRequestHandler):
    """HTTP around `KfpServer.answer`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: KfpServer

    def log_message(self, *_: Any) -> None:
        """Nothing: tests look into `requests`."""

    def _serve(self) -> None:
        state, parts = self.state, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        line = f"{self.command} {parts.path}"
        with state._lock:
            state.requests.append(line)
            state._at_once += 1
            state.most_at_once = max(state.most_at_once, state._at_once)
            fault = next((each for each in state.faults if each.times and re.search(each.pattern, line)), None)
            if fault is not None:
                fault.times -= 1
        try:
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                raise Refused(401, "Unauthenticated: Request header error: there is no user identity header")
            if state.sign_in_page:
                return self._send(200, b"<html>Sign in</html>", "text/html")
            if fault is not None and not fault.after:
                return self._send(fault.status, b'{"message": "injected"}', "application/json", fault.headers)
            time.sleep(state.delay_s)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            answer = state.answer(self.command, parts.path, query, body, self.headers.get("Content-Type") or "")
            if fault is not None:
                return self._send(fault.status, b'{"message": "injected, too late"}', "application/json", fault.headers)
            self._send(200, json.dumps(answer).encode(), "application/json")
        except Refused as error:
            said = json.dumps({"error": str(error), "code": 0, "message": str(error), "details": []})
            self._send(error.status, said.encode(), "application/json")
        finally:
            with state._lock:
                state._at_once -= 1

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - named by http.server

    def _send(self, status: int, data: bytes, media: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": media, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def kfp_server(**options: Any) -> Iterator[KfpServer]:
    """A server on a free port of loopback, until the block ends."""
    state = KfpServer(**options)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"state": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
