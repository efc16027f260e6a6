"""Single requests to a bucket, through minio-py: signed, tried again where that helps, their failures put into words.

Of minio's private methods two are used: `_execute`, one signed request, because the public methods take no conditions
and do multipart uploads in a way of their own; and `_build_headers`, to sign with the server's time where this
machine's clock is wrong.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from xml.etree import ElementTree

import certifi
import minio.time
import urllib3
from minio import Minio
from minio.credentials import Credentials, Provider
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from dataset_culling.errors import (
    AccessDenied,
    ConfigError,
    MissingObject,
    OutputError,
    StoreError,
    TransientStoreError,
)
from dataset_culling.storage.base import changed, corrupt, missing
from dataset_culling.storage.retry import LOG, Damaged, Passing, Verdict, persist
from dataset_culling.storage.settings import StoreSettings, find_keys, key_files, split_endpoint

Result = TypeVar("Result")

ERRORS = (MinioException, urllib3.exceptions.HTTPError, OSError)
"""What a request raises when it fails."""

_MISSING = {"NoSuchKey", "NoSuchVersion", "ResourceNotFound"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_PASSING = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException",
    "TooManyRequests", "ConditionalRequestConflict", "OperationAborted", "IncompleteBody",
}  # fmt: skip
_PASSING_STATUS = {408, 429, 500, 502, 503, 504}
_DAMAGED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"}
_SKEWED = "RequestTimeTooSkewed"
_SLICE = 128 * 1024
BLOCK = 1 << 20
"""So much of an answer is in memory at once, where it goes into a file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read whole."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    data: bytes

    @property
    def etag(self) -> str:
        """Without its quotes."""
        return self.headers.get("etag", "").strip('"')

    @property
    def total(self) -> int:
        """The object's size, whatever range was asked for."""
        content_range = self.headers.get("content-range", "")
        return int(content_range.rpartition("/")[2] if content_range else self.headers.get("content-length", "0"))


class Differs(Exception):
    """Bytes arrived that are not those that were stored."""

    def __init__(self, uri: str, expected: str, found: str) -> None:
        super().__init__(uri)
        self.uri, self.expected, self.found = uri, expected, found


class UploadLost(StoreError):
    """The server knows nothing of a multipart upload that it began."""


class BeyondEnd(StoreError):
    """A range that begins where the object has ended."""


class BucketClient:
    """Requests to one bucket.

    Args:
        bucket: Its name.
        settings: Endpoint, keys and patience.

    Raises:
        ConfigError: If there are no keys, or the endpoint is wrong.
    """

    def __init__(self, bucket: str, settings: StoreSettings) -> None:
        self.bucket, self.settings = bucket, settings
        self.endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
        host, secure = split_endpoint(self.endpoint)
        self._keys = _Keys(settings)
        self.minio = _Client(
            host,
            secure=secure,
            region=settings.region,
            credentials=self._keys,
            http_client=_Pool(
                retries=urllib3.Retry(total=False, redirect=False),
                timeout=urllib3.Timeout(connect=min(settings.timeout_s, 30.0), read=settings.timeout_s),
                maxsize=64,
                ca_certs=settings.ca_file or certifi.where(),
            ),
        )

    def uri(self, key: str) -> str:
        """s3://bucket/key."""
        return f"s3://{self.bucket}/{key}"

    def once(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        sink: Callable[[bytes], None] | None = None,
    ) -> Answer:
        """One signed request, its answer read whole; with `sink`, handed to that in blocks, and `data` stays empty.

        Raises:
            Exception: One of ERRORS, for `persist` to judge; and what `sink` raises.
        """
        given = {"Content-Type": "application/octet-stream"} if method in ("PUT", "POST") else {}
        if body:  # SeaweedFS 4.48 compares a body with this, but not with the SHA-256 that is signed along
            given["Content-MD5"] = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        response = self.minio._execute(
            method,
            self.bucket,
            key or None,
            body=body,
            headers={**given, **(headers or {})},
            query_params=dict(query or {}),
            preload_content=False,
        )
        try:
            data = b""
            if sink is None:
                data = response.read(decode_content=False)
            else:
                for block in response.stream(BLOCK, decode_content=False):
                    sink(block)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        if method == "POST" and b"<Error" in data[:200]:  # completing may fail after the status line was sent
            tree = parse_xml(data)
            raise S3Error(response, tree.findtext("Code"), tree.findtext("Message"), key, None, None, self.bucket, key)
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)

    def persist(
        self, work: Callable[[int], Result], verb: str, key: str, *, stop: threading.Event | None = None
    ) -> Result:
        """Call `work` with the number of earlier tries until it succeeds, patience ends, or it fails for good.

        Args:
            work: What to do, mostly one request.
            verb: What it does to the object, for messages.
            key: The object.
            stop: Ends the waiting between tries.

        Raises:
            StoreError: The kind that fits, in one line.
        """
        return persist(
            work,
            what=f"{verb} {self.uri(key)}",
            judge=lambda error: self._judge(error, verb, self.uri(key)),
            errors=(*ERRORS, Differs),
            give_up=lambda cause, tries, spent_s: self.gave_up(verb, key, cause, tries, spent_s),
            retry_s=self.settings.retry_s,
            stop=stop,
        )

    def ask(
        self,
        method: str,
        key: str,
        verb: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """`once`, persistently."""
        return self.persist(
            lambda tries: self.once(method, key, headers=headers, query=query, body=body), verb, key, stop=stop
        )

    def gave_up(self, verb: str, key: str, cause: str, tries: int, spent_s: float) -> TransientStoreError:
        """The error at the end of patience."""
        return TransientStoreError(
            f"{self.uri(key)}: expected to {verb}, found {cause} in {tries} tries and {spent_s:.0f} s. Check that "
            f"{self.endpoint} answers, then run it again; CULLING_S3_RETRY_S says how long to go on."
        )

    def _judge(self, error: Exception, verb: str, uri: str) -> Verdict:
        """What a failed request means: an error for good, a trouble that may pass, or damaged bytes."""
        if isinstance(error, Differs):
            return Damaged(corrupt(error.uri, expected=error.expected, found=error.found))
        if isinstance(error, S3Error):
            return self._judge_code(error, verb, uri)
        if isinstance(error, (ServerError, InvalidResponseError)):
            status = int(getattr(error, "status_code", 0) or getattr(error, "_code", 0))
            return self._judge_status(status, "", "", verb, uri)
        if isinstance(error, urllib3.exceptions.SSLError):
            return StoreError(
                f"{self.endpoint}: expected a certificate that this machine trusts, found {_one_line(error)}. "
                f"Name the authority's file in CULLING_S3_CA_FILE."
            )
        if isinstance(error, urllib3.exceptions.LocationValueError):
            return ConfigError(f"{self.endpoint}: expected an address of an object store, found {_one_line(error)}.")
        return Passing(_trouble(error))

    def _judge_code(self, error: S3Error, verb: str, uri: str) -> Verdict:
        code, message, status = str(error.code), _one_line(error.message or ""), int(error.response.status)
        if code == _SKEWED:
            if self.minio.set_clock(error.response.headers.get("Date", "")):
                return Passing("a clock that is wrong here; signing with the server's time")
            return AccessDenied(f"{uri}: expected to {verb}, found {code}: {message} Set the clocks, here or there.")
        if code == "InvalidRange":
            return BeyondEnd(f"{uri}: expected bytes there, found the object's end.")
        if code == "NoSuchBucket":
            return no_bucket(uri)
        if code == "NoSuchUpload":
            return UploadLost("a server that has forgotten the upload")
        if code in _DAMAGED:
            return Damaged(corrupt(uri, expected="our bytes at the server", found=code))
        return self._judge_status(status, code, message, verb, uri)

    def _judge_status(self, status: int, code: str, message: str, verb: str, uri: str) -> Verdict:
        found = f"{code}: {message}".rstrip(".") if message else code or f"HTTP status {status}"
        if status == 412 or code == "PreconditionFailed":
            return changed(uri)
        if code in _PASSING or status in _PASSING_STATUS:
            return Passing(code or f"HTTP status {status}")
        if status == 507 or code in _FULL:
            return OutputError(f"{uri}: expected to {verb}, found a full store ({found}). Free space there.")
        if code in _DENIED or status in (401, 403):
            return AccessDenied(
                f"{uri}: expected to {verb} with the keys from {self._keys.source}, found {found}. "
                f"Check the keys, and that they may {verb} there."
            )
        if code in _MISSING or status == 404:
            return missing(uri)
        return StoreError(f"{uri}: expected to {verb}, found {found} (status {status}). Check the server.")


class _Keys(Provider):  # type: ignore[misc] # minio is untyped here
    """The keys, read again when a mounted secret or the AWS file changes."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._files = key_files(settings)
        self._stamp: tuple[int, ...] | None = None
        self._credentials: Any = None
        self.source = ""
        self.retrieve()

    def retrieve(self) -> Any:
        """The keys for one request, in minio's own shape."""
        now = tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in self._files)
        if now != self._stamp:
            keys = find_keys(self._settings)
            self._credentials = Credentials(
                keys.access_key.get_secret_value(),
                keys.secret_key.get_secret_value(),
                session_token=keys.session_token.get_secret_value() or None,
            )
            self._stamp, self.source = now, keys.source
        return self._credentials


class _Client(Minio):  # type: ignore[misc] # minio is untyped here
    """minio's client, signing with the server's time once that has proved to differ from this machine's."""

    _ahead = datetime.timedelta(0)
    _set_at_s = -math.inf

    def set_clock(self, server_date: str) -> bool:
        """Believe a response's Date header from now on; whether that is worth another try."""
        if not server_date:
            return False
        ahead = parsedate_to_datetime(server_date) - minio.time.utcnow()
        if abs((ahead - self._ahead).total_seconds()) > 30:
            LOG.warning("this machine's clock is %.0f s off the object store's", -ahead.total_seconds())
            self._ahead, self._set_at_s = ahead, time.monotonic()
        return time.monotonic() - self._set_at_s < 10  # other threads' requests were signed before it was set

    def _build_headers(self, host: str, headers: Any = None, body: bytes | None = None, creds: Any = None) -> Any:
        # A large body is hashed once, not twice: its Content-MD5 is signed, which ties the body to the signature.
        large = creds is not None and body is not None and len(body) > _SLICE and "Content-MD5" in (headers or {})
        headers, date = super()._build_headers(host, headers, None if large else body, creds)
        if large and body is not None:
            headers |= {"Content-Length": str(len(body)), "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
        headers["x-amz-date"] = minio.time.to_amz_date(date + self._ahead)
        return headers, date + self._ahead


class _Pool(urllib3.PoolManager):  # type: ignore[misc] # urllib3 is untyped here
    """Sends large bodies in slices: a socket's time limit is for one send, and a slow link takes minutes for a part."""

    def urlopen(self, method: str, url: str, redirect: bool = True, **kw: Any) -> Any:
        """See urllib3."""
        body = kw.get("body")
        if isinstance(body, bytes) and len(body) > _SLICE:
            view = memoryview(body)
            kw["body"] = [view[start : start + _SLICE] for start in range(0, len(view), _SLICE)]
        return super().urlopen(method, url, redirect=redirect, **kw)


def is_refusal(error: S3Error) -> bool:
    """Whether a condition did not hold."""
    return bool(error.code == "PreconditionFailed" or error.response.status == 412)


def no_bucket(uri: str) -> MissingObject:
    """The error for a bucket that is not there."""
    return MissingObject(
        f"{uri}: expected a bucket, found none of that name. Check the name, or make the bucket first."
    )


def parse_xml(data: bytes) -> ElementTree.Element:
    """One of S3's answers, without its name spaces."""
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InvalidResponseError(502, "text/xml", f"no XML ({error})") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


_TROUBLES = {
    "NewConnectionError": "no connection",
    "NameResolutionError": "no such host",
    "ConnectTimeoutError": "no connection in time",
    "ReadTimeoutError": "no answer in time",
    "ProtocolError": "a broken connection",
    "IncompleteRead": "a broken connection",
    "ConnectionResetError": "a broken connection",
}


def _trouble(error: Exception) -> str:
    """A failed connection in a few words; urllib3's own name the whole pool."""
    kind = type(error).__name__
    return _TROUBLES.get(kind, f"{kind} ({_one_line(error)})")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]
