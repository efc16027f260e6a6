"""The connection to Kubeflow Pipelines 2.17: kfp's own client, made strict.

The convenience methods of `kfp.Client` print links to stdout, have no timeout, and cannot give a run a description or
a recurring run a namespace. So the generated v2beta1 APIs that it exposes (`client.runs`, `client.pipelines`, ...) are
called, all by `Connection.call`: with a timeout, with retries, and with JSON as the only answer that counts.

Signing in, the first that is there: CULLING_KFP_TOKEN; CULLING_KFP_COOKIES (a Dex session); a service account's token
in the file KF_PIPELINES_SA_TOKEN_PATH, or where a pod has it mounted (audience pipelines.kubeflow.org); nothing.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dataset_culling.errors import ClusterConflict, ClusterError, ClusterMissing, ConfigError
from dataset_culling.kubeflow.settings import IN_POD, KfpSettings
from dataset_culling.retry import TRANSIENT_STATUS, RetriesExhausted, Transient, call_with_retries, connection_trouble

Row = Mapping[str, Any]
"""A resource as the server sends it."""
Predicate = tuple[str, str, str]
"""Key, operation (EQUALS, NOT_EQUALS) and text of a filter."""
PAGE = 200
"""The server's longest page."""
POD_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")
HINTS = {
    401: "Sign in: CULLING_KFP_TOKEN, CULLING_KFP_COOKIES or a service account's token.",
    403: "Ask for the right in this namespace; manifests/base/roles.yaml names what is needed.",
    404: "Check --host and --namespace.",
}


class Connection:
    """kfp's client, whose calls get a timeout, retries and one kind of error. Safe to use from several threads."""

    def __init__(self, settings: KfpSettings) -> None:
        """Connect.

        Raises:
            ClusterError: If the server does not answer, refuses, or is something else than Kubeflow Pipelines.
            ConfigError: If kfp is not installed, or a needed namespace is missing.
        """
        self.settings = settings
        self.kfp = _connect(settings)
        health = self.call("answer as Kubeflow Pipelines does", self.kfp.healthzs.healthz_service_get_healthz)
        namespace = settings.namespace or self.kfp.get_user_namespace()
        if health.get("multi_user") and not namespace:
            mounted = IN_POD / "namespace"
            namespace = mounted.read_text(encoding="utf-8").strip() if mounted.is_file() else ""
            if not namespace:
                raise ConfigError(
                    f"{settings.host}: this Kubeflow has several users, so the namespace must be given. "
                    f"Pass --namespace, or set CULLING_KFP_NAMESPACE."
                )
        self.scope = {"namespace": namespace} if namespace else {}

    def call(
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

        def attempt(tries: int) -> Any:
            if find is not None and tries and (found := find()) is not None:
                return found
            try:
                return self._once(what, function, *arguments, **options)
            except ClusterConflict:
                if find is not None and (found := find()) is not None:
                    return found
                raise

        try:
            return call_with_retries(attempt, what=what, transient=_transient, retry_s=self.settings.retry_s)
        except RetriesExhausted as error:
            if find is not None and (found := find()) is not None:
                return found
            raise ClusterError(
                f"{self.settings.host}: could not {what} for {self.settings.retry_s:g} s: {error.cause}. Try again, "
                f"nothing is created twice; culling doctor --kfp checks the server."
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
            raise _PassingError(connection_trouble(error)) from None
        except ApiException as error:
            status, message = int(error.status or 0), _message(error)
            if status in TRANSIENT_STATUS or status >= 500:
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

    def rows(self, function: Callable[..., Any], items: str, *predicates: Predicate, **options: Any) -> Iterator[Row]:
        """List all pages of resources that fit the predicates; `items` is their key in the answer."""
        options |= {"filter": filter_of(*predicates)} if predicates else {}
        token = ""
        while True:
            page = self.call(f"list {items}", function, page_token=token, page_size=PAGE, **options)
            yield from page.get(items) or ()
            token = page.get("next_page_token") or ""
            if not token:
                return


def filter_of(*predicates: Predicate) -> str:
    """Write a filter as the server reads it."""
    listed = [{"operation": operation, "key": key, "string_value": text} for key, operation, text in predicates]
    return json.dumps({"predicates": listed})


class _PassingError(Exception):
    """A failure that may pass; the server asks for a pause of `wait_s`."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def _transient(error: Exception) -> Transient | None:
    return Transient(str(error), error.wait_s) if isinstance(error, _PassingError) else None


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
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # Connection reports a failure once

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


def _message(error: Any) -> str:
    try:
        answer = json.loads(error.body)
        text = answer.get("message") or answer.get("error") or ""
    except (ValueError, TypeError, AttributeError):
        text = error.body if isinstance(error.body, str) and "<" not in error.body else ""
    return one_line(text or error.reason or "no reason")


def _retry_after(headers: Any) -> float:
    try:
        return min(max(float((headers or {}).get("retry-after") or 0), 0.0), 60.0)
    except (TypeError, ValueError):
        return 0.0


def one_line(text: object) -> str:
    """Shorten a text to one line without its last full stop."""
    return " ".join(str(text).split())[:300].rstrip(".")
