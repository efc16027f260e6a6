"""A bucket behind S3's protocol (Amazon S3, MinIO, SeaweedFS, Ceph) as an object store, spoken to by minio-py.

The only module that imports minio. Of minio's private methods it uses two: `_execute`, one signed request, because the
public methods take no conditions and do multipart uploads in their own way; and `_build_headers`, to sign with the
server's time where this machine's clock is wrong.

Every object is stored with its SHA-256 (x-amz-meta-sha256), which is compared when it is read whole; what other
programs stored is compared with its etag where that is an MD5. On the way up the server compares each request's body
with the digest that is signed along (plain http) or sent along as Content-MD5 (https).
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
import os
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from xml.etree import ElementTree

import certifi
import urllib3
from minio import Minio
from minio.credentials import Credentials, Provider
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError
from minio.time import to_amz_date

from dataset_culling.errors import (
    AccessDenied,
    ConfigError,
    CullingError,
    MissingObject,
    ObjectChanged,
    OutputError,
    StoreError,
    TransientStoreError,
)
from dataset_culling.storage.base import ALWAYS, Condition, Stat, changed, check_key, corrupt, missing
from dataset_culling.storage.local import sha256_and_size, writing
from dataset_culling.storage.retry import LOG, Damaged, Gone, Passing, Verdict, persist
from dataset_culling.storage.settings import StoreSettings, find_keys, key_files, load_settings, split_endpoint

Result = TypeVar("Result")

_MISSING = {"NoSuchKey", "NoSuchVersion", "ResourceNotFound"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_PASSING = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException",
    "TooManyRequests", "ConditionalRequestConflict", "OperationAborted", "IncompleteBody",
}  # fmt: skip
_DAMAGED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"}
_SKEWED = "RequestTimeTooSkewed"
_ERRORS = (MinioException, urllib3.exceptions.HTTPError, OSError)

_SLICE = 128 * 1024
_MAX_PARTS = 10_000
_RESTARTS = 3
"""So often is a whole transfer begun anew when the server has forgotten an upload, or the object was replaced."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A response, read whole. `total` is the object's size, whatever range was asked for."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    data: bytes

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "").strip('"')

    @property
    def total(self) -> int:
        content_range = self.headers.get("content-range", "")
        return int(content_range.rpartition("/")[2] if content_range else self.headers.get("content-length", "0"))


class S3Store:
    """The bucket `bucket` of the object store that the environment names; see `base.ObjectStore`.

    Args:
        bucket: The bucket, which must exist.
        settings: Where and with which keys; by default the environment's.

    Raises:
        ConfigError: If the environment names no keys, or a wrong endpoint.
    """

    def __init__(self, bucket: str, settings: StoreSettings | None = None) -> None:
        self.bucket = bucket
        self.settings = settings if settings is not None else load_settings()
        self.endpoint = self.settings.endpoint or f"https://s3.{self.settings.region}.amazonaws.com"
        host, secure = split_endpoint(self.endpoint)
        self._keys = _Keys(self.settings)
        self._client = _Client(
            host,
            secure=secure,
            region=self.settings.region,
            credentials=self._keys,
            http_client=_Pool(
                retries=urllib3.Retry(total=False, redirect=False),
                timeout=urllib3.Timeout(connect=min(self.settings.timeout_s, 30.0), read=self.settings.timeout_s),
                maxsize=64,
                ca_certs=self.settings.ca_file or certifi.where(),
            ),
        )
        self._part_bytes = self.settings.part_mib << 20
        self._keeps_conditions: bool | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Store({self.bucket!r} at {self.endpoint})"

    def uri(self, key: str) -> str:
        """s3://bucket/key."""
        return f"s3://{self.bucket}/{key}"

    def stat(self, key: str) -> Stat:
        """See `base.ObjectStore.stat`."""
        return self._stat(key, self._head(key))

    def find(self, prefix: str = "") -> Iterator[Stat]:
        """See `base.ObjectStore.find`. One request for every thousand objects.

        Raises:
            MissingObject: If there is no such bucket.
        """
        last, page_size = "", 1000
        while True:
            page = self._persist(
                lambda tries, after=last: list(  # type: ignore[misc] # the default binds this round's value
                    itertools.islice(
                        self._client.list_objects(self.bucket, prefix=prefix, recursive=True, start_after=after),
                        page_size,
                    )
                ),
                "list",
                prefix,
            )
            for found in page:
                if not found.object_name.endswith("/"):  # folder marks that web consoles leave
                    etag = (found.etag or "").strip('"')
                    yield Stat(found.object_name, found.size or 0, etag, self.uri(found.object_name))
            if len(page) < page_size:
                break
            last = page[-1].object_name
        if not last and not page:
            self._check_bucket()

    def get(self, key: str, to: Path) -> Stat:
        """See `base.ObjectStore.get`. Parts of a large object come in parallel, all of one and the same version."""
        for restarts in itertools.count():
            try:
                return self._persist(lambda tries: self._get_once(key, to), "read", key)
            except ObjectChanged:
                if restarts == _RESTARTS:
                    raise
        raise AssertionError("unreachable")

    def get_bytes(self, key: str) -> tuple[bytes, Stat]:
        """See `base.ObjectStore.get_bytes`."""

        def work(tries: int) -> tuple[bytes, Stat]:
            answer = self._execute("GET", key)
            self._compare(key, answer, answer.data, hashlib.sha256(answer.data).hexdigest())
            return answer.data, self._stat(key, answer)

        return self._persist(work, "read", key)

    def read_range(self, key: str, offset: int, length: int, *, etag: str = "") -> bytes:
        """See `base.ObjectStore.read_range`."""
        if length <= 0:
            return b""
        try:
            return self._range(key, offset, length, etag=etag).data
        except _BeyondEnd:
            return b""

    def put(self, key: str, source: Path, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put`. Large files go in parallel parts."""
        check_key(key)
        try:
            with source.open("rb") as file:
                before = os.fstat(file.fileno())
                if before.st_size <= self._part_bytes:
                    return self.put_bytes(key, file.read(), when=when)
                size, sha256 = sha256_and_size(file)
                handle = file.fileno()

                def parts() -> Iterator[Callable[[], bytes]]:
                    for offset in range(0, size, part_bytes):
                        yield lambda at=offset: os.pread(handle, min(part_bytes, size - at), at)  # type: ignore[misc]

                part_bytes = max(self._part_bytes, -(-size // _MAX_PARTS))
                for restarts in itertools.count():
                    try:
                        etag = self._put_parts(key, parts(), {"x-amz-meta-sha256": sha256}, when)
                        break
                    except _UploadLost as lost:
                        if restarts == _RESTARTS:
                            raise self._gave_up("write", key)(str(lost), restarts + 1, 0.0) from None
                after = os.fstat(file.fileno())
        except OSError as error:
            raise OutputError(f"{source}: expected a file to store, found {error.strerror}. Check the path.") from None
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise OutputError(
                f"{source}: expected a finished file to store, found one that changed meanwhile, so {self.uri(key)} "
                f"is of no use. Store it again when it is finished."
            )
        return Stat(key, size, etag, self.uri(key))

    def put_bytes(self, key: str, data: bytes, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_bytes`."""
        check_key(key)
        metadata = {"x-amz-meta-sha256": hashlib.sha256(data).hexdigest()}
        conditions = self._conditions(key, when)
        if when:
            metadata["x-amz-meta-write-id"] = uuid.uuid4().hex

        def work(tries: int) -> str:
            try:
                return self._execute("PUT", key, body=data, headers={**metadata, **conditions}).etag
            except S3Error as error:
                # The answer of an earlier try was lost, but its write may stand: then this refusal is our own doing.
                if tries and _is_refusal(error) and (ours := self._ours(key, metadata.get("x-amz-meta-write-id"))):
                    return ours
                raise

        return Stat(key, len(data), self._persist(work, "write", key), self.uri(key))

    def put_stream(self, key: str, stream: BinaryIO, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_stream`. If the server forgets the upload, that is the end: no second reading."""
        check_key(key)
        first = _read_exactly(stream, self._part_bytes)
        if len(first) < self._part_bytes:
            return self.put_bytes(key, first, when=when)
        size = 0

        def parts() -> Iterator[Callable[[], bytes]]:
            nonlocal size
            data = first
            for number in itertools.count():
                size += len(data)
                yield lambda block=data: block  # type: ignore[misc]
                # Ever larger parts, as nobody knows how many will come: 10,000 of them hold 5 TiB at least.
                data = _read_exactly(stream, self._part_bytes << min(number // 1000, 9))
                if not data:
                    return

        try:
            etag = self._put_parts(key, parts(), {}, when)
        except _UploadLost as lost:
            raise self._gave_up("write", key)(str(lost), 1, 0.0) from None
        return Stat(key, size, etag, self.uri(key))

    def delete(self, key: str) -> None:
        """See `base.ObjectStore.delete`."""
        check_key(key)
        with suppress(MissingObject):
            self._persist(lambda tries: self._execute("DELETE", key), "delete", key)

    def sweep(self, prefix: str = "", *, older_than_s: float = 86400.0) -> int:
        """See `base.ObjectStore.sweep`: parts of uploads that nobody completed; the server keeps and bills them."""
        swept = 0
        marker: dict[str, str] = {}
        while True:
            query = {"uploads": "", "prefix": prefix, "max-uploads": "1000", **marker}
            answer = self._persist(
                lambda tries, query=query: self._execute("GET", "", query=query),  # type: ignore[misc]
                "list uploads",
                prefix,
            )
            tree = _xml(answer.data)
            for upload in tree.iter("Upload"):
                key, upload_id = upload.findtext("Key") or "", upload.findtext("UploadId") or ""
                begun = datetime.datetime.fromisoformat(upload.findtext("Initiated") or "1970-01-01T00:00:00Z")
                if key.startswith(prefix) and time.time() - begun.timestamp() > older_than_s:
                    self._abort(key, upload_id)
                    swept += 1
            if tree.findtext("IsTruncated") != "true":
                return swept
            marker = {
                "key-marker": tree.findtext("NextKeyMarker") or "",
                "upload-id-marker": tree.findtext("NextUploadIdMarker") or "",
            }

    # --- reading ------------------------------------------------------------------------------------------------------

    def _head(self, key: str) -> _Answer:
        def work(tries: int) -> _Answer:
            try:
                return self._execute("HEAD", check_key(key))
            except S3Error:
                # The answer to a HEAD has no body, so none of these tells a wrong key from a wrong clock.
                return self._execute("GET", key, headers={"Range": "bytes=0-0"})

        return self._persist(work, "read", key)

    def _stat(self, key: str, answer: _Answer) -> Stat:
        return Stat(key, answer.total, answer.etag, self.uri(key))

    def _range(self, key: str, offset: int, length: int, *, etag: str, stop: threading.Event | None = None) -> _Answer:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if etag:
            headers["If-Match"] = f'"{etag}"'

        def work(tries: int) -> _Answer:
            answer = self._execute("GET", check_key(key), headers=headers)
            if answer.status != 206 and (offset or answer.total > length):
                raise StoreError(f"{self.uri(key)}: expected a range of bytes, found the server ignores ranges.")
            return answer

        return self._persist(work, "read", key, stop=stop)

    def _get_once(self, key: str, to: Path) -> Stat:
        """The whole object into `to`; one try, but of single parts as many as patience allows."""
        try:
            first = self._range(key, 0, self._part_bytes, etag="")
        except _BeyondEnd:  # an empty object has no first byte
            first = self._execute("GET", key)
        stat = self._stat(key, first)
        sha256, written = hashlib.sha256(first.data), len(first.data)
        with writing(to) as file:
            file.write(first.data)
            with closing(self._rest(key, stat, written)) as rest:
                for data in rest:
                    sha256.update(data)
                    file.write(data)
                    written += len(data)
            if written != stat.size:
                raise _Differs(self.uri(key), f"{stat.size} bytes", f"{written}")
            self._compare(key, first, first.data if written == len(first.data) else None, sha256.hexdigest())
        return stat

    def _rest(self, key: str, stat: Stat, start: int) -> Generator[bytes, None, None]:
        """What follows the first part, in order, with several requests ahead of the reader."""
        if start >= stat.size:
            return
        stop = threading.Event()
        jobs = (
            lambda at=offset: self._range(key, at, self._part_bytes, etag=stat.etag, stop=stop).data  # type: ignore[misc]
            for offset in range(start, stat.size, self._part_bytes)
        )
        yield from _in_order(jobs, self.settings.workers, stop)

    def _compare(self, key: str, answer: _Answer, whole: bytes | None, sha256: str) -> None:
        """Compare an object's bytes with the digest it was stored with; `whole` is None where only the hash is left."""
        if wanted := answer.headers.get("x-amz-meta-sha256", ""):
            if wanted != sha256:
                raise _Differs(self.uri(key), f"sha256 {wanted[:12]}", sha256[:12])
        elif whole is not None and len(answer.etag) == 32 and "x-amz-server-side-encryption" not in answer.headers:
            md5 = hashlib.md5(whole, usedforsecurity=False).hexdigest()
            if md5 != answer.etag.lower():
                raise _Differs(self.uri(key), f"md5 {answer.etag[:12]}", md5[:12])

    # --- writing ------------------------------------------------------------------------------------------------------

    def _put_parts(
        self, key: str, parts: Iterable[Callable[[], bytes]], metadata: dict[str, str], when: Condition
    ) -> str:
        """A multipart upload: nothing of it can be seen until it is complete. The object's etag."""
        write_id = uuid.uuid4().hex
        conditions = self._conditions(key, when)
        if when:
            self._refuse_early(key, when)
        begun = self._persist(
            lambda tries: self._execute(
                "POST", key, query={"uploads": ""}, headers={**metadata, "x-amz-meta-write-id": write_id}
            ),
            "write",
            key,
        )
        upload_id = _xml(begun.data).findtext("UploadId") or ""
        stop = threading.Event()
        jobs = (
            lambda number=number, read=read: self._put_part(key, upload_id, number, read, stop)  # type: ignore[misc]
            for number, read in enumerate(parts, start=1)
        )
        try:
            etags = list(_in_order(jobs, self.settings.workers, stop))
            listed = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
                for number, etag in enumerate(etags, start=1)
            )
            body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()

            def complete(tries: int) -> str:
                try:
                    answer = self._execute("POST", key, query={"uploadId": upload_id}, headers=conditions, body=body)
                except S3Error as error:
                    refused = _is_refusal(error) or error.code == "NoSuchUpload"
                    if tries and refused and (ours := self._ours(key, write_id)):
                        return ours
                    raise
                return (_xml(answer.data).findtext("ETag") or answer.etag).strip('"')

            return self._persist(complete, "write", key)
        except BaseException:
            self._abort(key, upload_id)
            raise

    def _put_part(self, key: str, upload_id: str, number: int, read: Callable[[], bytes], stop: threading.Event) -> str:
        query = {"partNumber": str(number), "uploadId": upload_id}
        data = read()
        return self._persist(
            lambda tries: self._execute("PUT", key, query=query, body=data).etag, "write", key, stop=stop
        )

    def _abort(self, key: str, upload_id: str) -> None:
        """Give the parts back. Where that fails too, `sweep` or the bucket's lifecycle rule will."""
        with suppress(*_ERRORS, CullingError):
            self._execute("DELETE", key, query={"uploadId": upload_id})

    def _conditions(self, key: str, when: Condition) -> dict[str, str]:
        """The headers of a conditional write. Where the server ignores them, the condition is asked beforehand."""
        if not when:
            return {}
        if not self._server_keeps_conditions(key):
            self._refuse_early(key, when)
            return {}
        return {"If-None-Match": "*"} if when.absent else {"If-Match": f'"{when.etag}"'}

    def _refuse_early(self, key: str, when: Condition) -> None:
        """Before the bytes are sent for nothing."""
        try:
            found = self._head(key)
        except MissingObject:
            found = None
        if when.absent and found:
            raise changed(self.uri(key), "one that is there already")
        if when.etag and (found is None or found.etag != when.etag):
            raise changed(self.uri(key), f"etag {found.etag} instead of {when.etag}" if found else "none")

    def _server_keeps_conditions(self, key: str) -> bool:
        """Whether the server refuses to overwrite when it is asked to; tried once, on an object beside `key`."""
        with self._lock:
            if self._keeps_conditions is None:
                probe, headers = f"{key}.probe-{uuid.uuid4().hex}", {"If-None-Match": "*"}
                self._persist(lambda tries: self._execute("PUT", probe, body=b"1"), "write", probe)
                try:
                    self._persist(lambda tries: self._execute("PUT", probe, body=b"2", headers=headers), "write", probe)
                    self._keeps_conditions = False
                    LOG.warning(
                        "%s ignores conditional writes: two runs that promote at the same moment may overwrite each "
                        "other. Use a newer server.",
                        self.endpoint,
                    )
                except ObjectChanged:
                    self._keeps_conditions = True
                with suppress(CullingError):
                    self.delete(probe)
            return self._keeps_conditions

    def _ours(self, key: str, write_id: str | None) -> str:
        """The etag of the object, if it is the one that the write `write_id` made; else nothing."""
        if write_id is None:
            return ""
        try:
            found = self._execute("HEAD", key)
        except (S3Error, ServerError):
            return ""
        return found.etag if found.headers.get("x-amz-meta-write-id") == write_id else ""

    def _check_bucket(self) -> None:
        """Some servers list a bucket that is not there as an empty one."""
        if not self._persist(lambda tries: self._client.bucket_exists(self.bucket), "list", ""):
            raise _no_bucket(self.uri(""))

    # --- one request, and what its failure means ----------------------------------------------------------------------

    def _execute(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> _Answer:
        """One signed request, its answer read whole. Raises what minio and urllib3 raise."""
        given = {"Content-Type": "application/octet-stream"} if method in ("PUT", "POST") else {}
        if method == "POST" and body:
            given["Content-Type"] = "application/xml"
        response = self._client._execute(
            method,
            self.bucket,
            key or None,
            body=body,
            headers={**given, **(headers or {})},
            query_params=dict(query or {}),
            preload_content=False,
        )
        try:
            data: bytes = response.read(decode_content=False)
        except BaseException:
            response.close()
            raise
        response.release_conn()
        answer = _Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, data)
        if method == "POST" and b"<Error>" in data[:200]:  # completing may fail after the status line was sent
            tree = _xml(data)
            raise S3Error(response, tree.findtext("Code"), tree.findtext("Message"), key, None, None, self.bucket, key)
        return answer

    def _persist(
        self, work: Callable[[int], Result], verb: str, key: str, *, stop: threading.Event | None = None
    ) -> Result:
        return persist(
            work,
            judge=lambda error: self._judge(error, verb, self.uri(key)),
            errors=(*_ERRORS, _Differs),
            give_up=self._gave_up(verb, key),
            retry_s=self.settings.retry_s,
            stop=stop,
        )

    def _gave_up(self, verb: str, key: str) -> Callable[[str, int, float], CullingError]:
        def error(cause: str, tries: int, spent_s: float) -> CullingError:
            return TransientStoreError(
                f"{self.uri(key)}: expected to {verb}, found {cause} in {tries} tries and {spent_s:.0f} s. Check that "
                f"{self.endpoint} answers, then run it again; CULLING_S3_RETRY_S says how long to go on."
            )

        return error

    def _judge(self, error: Exception, verb: str, uri: str) -> Verdict:
        """What a failed request means: an error for good, a trouble that may pass, or damaged bytes."""
        if isinstance(error, _Differs):
            return Damaged(corrupt(error.uri, expected=error.expected, found=error.found))
        if isinstance(error, S3Error):
            return self._judge_answer(error, verb, uri)
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

    def _judge_answer(self, error: S3Error, verb: str, uri: str) -> Verdict:
        code, message = str(error.code), _one_line(error.message or "")
        status = int(error.response.status)
        if code == _SKEWED and self._client.set_clock(error.response.headers.get("Date", "")):
            return Passing("a clock that is wrong here; signing with the server's time")
        if code == _SKEWED:
            return AccessDenied(
                f"{uri}: expected to {verb}, found {code}: {message} Set this machine's clock, or the server's."
            )
        if code == "InvalidRange":
            return _BeyondEnd(f"{uri}: expected bytes there, found the object's end.")
        if code == "NoSuchBucket":
            return _no_bucket(uri)
        if code == "NoSuchUpload":
            return _UploadLost("a server that has forgotten the upload")
        if code in _DAMAGED:
            return Damaged(corrupt(uri, expected="our bytes at the server", found=code))
        return self._judge_status(status, code, message, verb, uri)

    def _judge_status(self, status: int, code: str, message: str, verb: str, uri: str) -> Verdict:
        found = f"{code}: {message}" if message else code or f"HTTP status {status}"
        if status == 412 or code == "PreconditionFailed":
            return changed(uri)
        if code in _PASSING or status in (408, 429, 500, 502, 503, 504):
            return Passing(code or f"HTTP status {status}", 0.0)
        if status == 507 or code in _FULL:
            return OutputError(f"{uri}: expected to {verb}, found a full store ({found}). Free space there.")
        if code in _DENIED or status in (401, 403):
            return AccessDenied(
                f"{uri}: expected to {verb} with the keys from {self._keys.source}, found {found.rstrip('.')}. "
                f"Check the keys, and that they may {verb} there."
            )
        if code in _MISSING or status == 404:
            return missing(uri)
        return StoreError(f"{uri}: expected to {verb}, found {found} (status {status}). Check the server.")


class _Differs(Exception):
    """Bytes arrived that are not those that were stored."""

    def __init__(self, uri: str, expected: str, found: str) -> None:
        super().__init__(uri)
        self.uri, self.expected, self.found = uri, expected, found


class _UploadLost(StoreError):
    """The server knows nothing of a multipart upload that it began."""


class _BeyondEnd(StoreError):
    """A range that begins where the object has ended."""


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
        if self._stamp is None or self._stamp != (now := self._read_stamp()):
            now = self._read_stamp()
            keys = find_keys(self._settings)
            self._credentials = Credentials(
                keys.access_key.get_secret_value(),
                keys.secret_key.get_secret_value(),
                session_token=keys.session_token.get_secret_value() or None,
            )
            self._stamp, self.source = now, keys.source
        return self._credentials

    def _read_stamp(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns if file.is_file() else 0 for file in self._files)


class _Client(Minio):  # type: ignore[misc] # minio is untyped here
    """minio's client, signing with the server's time once that has proved to differ from this machine's."""

    _ahead = datetime.timedelta(0)
    _set_at_s = -math.inf

    def set_clock(self, server_date: str) -> bool:
        """Believe a response's Date header from now on; whether that is worth another try."""
        if not server_date:
            return False
        ahead = parsedate_to_datetime(server_date) - datetime.datetime.now(datetime.UTC)
        if abs((ahead - self._ahead).total_seconds()) > 30:
            LOG.warning("this machine's clock is %.0f s off the object store's", -ahead.total_seconds())
            self._ahead, self._set_at_s = ahead, time.monotonic()
        return time.monotonic() - self._set_at_s < 10  # other threads' requests were signed before it was set

    def _build_headers(self, *args: Any, **kwargs: Any) -> Any:
        headers, date = super()._build_headers(*args, **kwargs)
        headers["x-amz-date"] = to_amz_date(date + self._ahead)
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


def _in_order(
    jobs: Iterable[Callable[[], Result]], workers: int, stop: threading.Event
) -> Generator[Result, None, None]:
    """The jobs' results in order, `workers` of them at once, two held back; the first failure ends them all."""
    jobs = iter(jobs)
    with ThreadPoolExecutor(workers, thread_name_prefix="object-store") as pool:
        waiting: list[Future[Result]] = []
        try:
            while True:
                waiting += [pool.submit(job) for job in itertools.islice(jobs, workers + 2 - len(waiting))]
                if not waiting:
                    return
                # Whichever failed first, not the first in order: the others only wait for the same.
                for done in waiting:
                    if done.done() and (error := done.exception()) is not None and not isinstance(error, Gone):
                        raise error
                yield waiting.pop(0).result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, or all that is left; a pipe gives less at a time."""
    blocks, left = [], size
    while left and (block := stream.read(left)):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)


def _is_refusal(error: S3Error) -> bool:
    return bool(error.code == "PreconditionFailed" or error.response.status == 412)


def _no_bucket(uri: str) -> MissingObject:
    return MissingObject(
        f"{uri}: expected a bucket, found none of that name. Check the name, or make the bucket first."
    )


def _xml(data: bytes) -> ElementTree.Element:
    """S3's answers without their name spaces."""
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise InvalidResponseError(502, "text/xml", f"no XML ({error})") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _trouble(error: Exception) -> str:
    """A failed connection in a few words; urllib3's own name the whole pool."""
    kind = type(error).__name__
    words = {
        "NewConnectionError": "no connection",
        "NameResolutionError": "no such host",
        "ConnectTimeoutError": "no connection in time",
        "ReadTimeoutError": "no answer in time",
        "ProtocolError": "a broken connection",
        "IncompleteRead": "a broken connection",
        "ConnectionResetError": "a broken connection",
    }
    return words.get(kind, f"{kind} ({_one_line(error)})")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:200]
