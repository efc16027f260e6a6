"""A bucket behind S3's protocol (Amazon S3, MinIO, SeaweedFS, Ceph) as an object store, on minio-py.

Each object is stored with its SHA-256 (x-amz-meta-sha256), which is compared when the object is read whole. Objects of
other programs are compared with their etag if that is an MD5. The server compares uploads with their Content-MD5.

minio-py's public methods have no conditional writes, no single parts of an upload and no correction of a wrong clock.
Therefore `Bucket`, its `http_client`, signs and retries all requests, and also sends the ones that minio-py lacks.
"""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import logging
import math
import os
import re
import shutil
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event, Lock
from typing import IO, Any, BinaryIO, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

import certifi
import minio.time
import urllib3
from minio import Minio
from minio.credentials import Credentials
from minio.helpers import BaseURL
from minio.signer import sign_v4_s3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError

from dataset_culling.errors import (
    ConfigError,
    CorruptObject,
    CullingError,
    MissingObject,
    ObjectChanged,
    OutputError,
    StoreError,
    TransientStoreError,
)
from dataset_culling.retry import RetriesExhausted, Stopped, Transient, call_with_retries, connection_trouble
from dataset_culling.storage.atomic import copy_and_hash, writing
from dataset_culling.storage.base import ALWAYS, Condition, Stat, check_key, corrupt
from dataset_culling.storage.s3_errors import BeyondEnd, Refused, UploadLost, one_line, parse_xml
from dataset_culling.storage.settings import StoreSettings, find_keys, load_settings, split_endpoint

Result = TypeVar("Result")
LOG = logging.getLogger(__name__)

_SLICE = 128 * 1024
"""Bytes given to a socket at once: its time limit is for one send, and a slow link takes minutes for a part."""
_RANGE = 8 << 20
"""Least bytes of one request on the way down."""
_REPEATS = 3
"""Tries after which damaged bytes, an object that keeps changing or a lost upload count as a failure."""
_SHA256 = "x-amz-meta-sha256"
_WRITE_ID = "x-amz-meta-write-id"
"""Identifies the call that wrote an object, for the case that the answer to an earlier try was lost."""

_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "POST": "write", "DELETE": "delete"}


class Bucket(urllib3.PoolManager):  # type: ignore[misc] # urllib3 is untyped here
    """Signed requests to one bucket, answered whole and retried; their failures are errors of this package."""

    def __init__(self, name: str, settings: StoreSettings) -> None:
        super().__init__(
            retries=urllib3.Retry(total=False, redirect=False),
            timeout=urllib3.Timeout(connect=min(settings.timeout_s, 30.0), read=settings.timeout_s),
            maxsize=64,
            ca_certs=settings.ca_file or certifi.where(),
        )
        self.name, self.settings = name, settings
        self.endpoint = settings.endpoint or f"https://s3.{settings.region}.amazonaws.com"
        host, secure = split_endpoint(self.endpoint)
        find_keys(settings)  # missing keys are an error at once
        self.minio = Minio(host, secure=secure, region=settings.region, http_client=self)
        self._urls, self._ahead, self._clock_set_s = BaseURL(self.endpoint, settings.region), timedelta(0), -math.inf

    def uri(self, key: str) -> str:
        """s3://bucket/key."""
        return f"s3://{self.name}/{key}"

    def ask(
        self, method: str, key: str, verb: str = "", *, query: Mapping[str, str] | None = None, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        """Send a request that minio-py has no public method for; key '' is the bucket; `options` as in `urlopen`."""
        url = self._urls.build(
            method=method,
            region=self.settings.region,
            bucket_name=self.name,
            object_name=key or None,
            query_params=dict(query or {}),
        )
        return self.urlopen(method, urlunsplit(url), verb=verb, **options)

    def urlopen(self, method: str, url: str, redirect: bool = False, **options: Any) -> urllib3.BaseHTTPResponse:
        """Send a request of minio-py or `ask`; redirects are not followed, as a signature is for one URL.

        Args:
            options: `headers`; `body`, bytes; `verb` for messages, as 'read'; `stop`, the event that ends waits;
                `retry_s`, seconds of retries. minio-py's others are ignored: answers are read whole.
        """
        verb = options.get("verb") or _VERBS[method]
        uri = self.uri(unquote(urlsplit(url).path + "/").removeprefix(f"/{self.name}/").strip("/"))
        damaged = itertools.count(1)

        def transient(error: Exception) -> Transient | None:
            if isinstance(error, Refused):
                again = error.is_transient
                if error.is_skewed:
                    again = self._set_clock(error.date)
                elif error.is_damaged:
                    again = next(damaged) < _REPEATS
                return Transient(error.code or f"HTTP status {error.status}") if again else None
            passes = isinstance(error, OSError | HTTPError) and not isinstance(error, SSLError | LocationValueError)
            return Transient(connection_trouble(error)) if passes else None

        try:
            return call_with_retries(
                lambda tries: self._once(method, url, options.get("headers") or {}, options.get("body") or b""),
                what=f"{verb} {uri}",
                transient=transient,
                retry_s=options.get("retry_s", self.settings.retry_s),
                stop=options.get("stop"),
            )
        except RetriesExhausted as end:
            raise TransientStoreError(
                f"{uri}: expected to {verb}, found {end}. Check that {self.endpoint} answers, then run it again; "
                f"CULLING_S3_RETRY_S sets the time limit."
            ) from None
        except Refused as error:
            if method == "HEAD" and not error.code:  # the answer to a HEAD has no body that names the reason
                self.urlopen("GET", url, headers={"Range": "bytes=0-0"})
            raise error.explain(verb, uri, find_keys(self.settings).source) from None
        except SSLError as error:
            raise StoreError(
                f"{self.endpoint}: this machine does not trust its certificate: {one_line(error)}. "
                f"Name the authority's file in CULLING_S3_CA_FILE."
            ) from None
        except LocationValueError as error:
            raise ConfigError(f"{self.endpoint}: not the address of an object store: {one_line(error)}.") from None

    def _once(self, method: str, url: str, given: Mapping[str, str], body: bytes) -> urllib3.BaseHTTPResponse:
        """Sign and send; raise Refused if the answer is an error."""
        keys, date = find_keys(self.settings), minio.time.utcnow() + self._ahead
        headers = {
            **given,
            "Host": urlsplit(url).netloc,
            "x-amz-date": minio.time.to_amz_date(date),
            # A large body is hashed once: its Content-MD5 is signed, which ties the body to the signature.
            "x-amz-content-sha256": "UNSIGNED-PAYLOAD" if len(body) > _SLICE else hashlib.sha256(body).hexdigest(),
        }
        if body:
            headers |= {"Content-Length": str(len(body)), "Content-MD5": base64.b64encode(_md5(body).digest()).decode()}
        if token := keys.session_token.get_secret_value():
            headers["X-Amz-Security-Token"] = token
        signed = sign_v4_s3(
            method=method,
            url=urlsplit(url),
            region=self.settings.region,
            headers=headers,
            credentials=Credentials(keys.access_key.get_secret_value(), keys.secret_key.get_secret_value()),
            content_sha256=headers["x-amz-content-sha256"],
            date=date,
        )
        slices = [memoryview(body)[start : start + _SLICE] for start in range(0, len(body), _SLICE)] or None
        answer = super().urlopen(method, url, body=slices, headers=signed, decode_content=False, redirect=False)
        # Completing an upload may fail after the status line was sent.
        if answer.status not in (200, 204, 206) or (method == "POST" and b"<Error" in answer.data[:200]):
            raise Refused(answer)
        return answer

    def _set_clock(self, server_date: str) -> bool:
        """Sign with the time of an answer's Date header from now on; return True if another try may succeed."""
        if not server_date:
            return False
        ahead = parsedate_to_datetime(server_date) - minio.time.utcnow()
        if abs((ahead - self._ahead).total_seconds()) > 30:
            LOG.warning("this machine's clock differs from the object store's by %.0f s", -ahead.total_seconds())
            self._ahead, self._clock_set_s = ahead, time.monotonic()
        return time.monotonic() - self._clock_set_s < 10  # other threads' requests were signed before it was set


class S3Store:
    """The bucket `bucket` of an object store; see `base.ObjectStore`.

    Args:
        bucket: The bucket, which must exist.
        settings: Endpoint, keys and limits; by default the environment's.

    Raises:
        ConfigError: If the environment names no keys, or a wrong endpoint.
    """

    def __init__(self, bucket: str, settings: StoreSettings | None = None) -> None:
        self._client = Bucket(bucket, settings if settings is not None else load_settings())
        self._minio, self._bucket = self._client.minio, bucket
        self._part_bytes = self._client.settings.part_mib << 20
        self._keeps_conditions: bool | None = None
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"S3Store({self._bucket!r} at {self._client.endpoint})"

    def uri(self, key: str) -> str:
        """s3://bucket/key."""
        return self._client.uri(key)

    def stat(self, key: str) -> Stat:
        """See `base.ObjectStore.stat`."""
        return self._stat(self._minio.stat_object(self._bucket, check_key(key)))

    def find(self, prefix: str = "") -> Iterator[Stat]:
        """See `base.ObjectStore.find`. Sends one request for every thousand objects.

        Raises:
            MissingObject: If the bucket does not exist.
        """
        found = None
        for found in self._minio.list_objects(self._bucket, prefix=prefix, recursive=True):
            if not found.object_name.endswith("/"):  # folder marks that web consoles leave
                yield self._stat(found)
        if found is None:  # some servers list a missing bucket as an empty one
            self._minio.bucket_exists(self._bucket)

    def folders(self, prefix: str) -> list[str]:
        """See `base.ObjectStore.folders`."""
        found = self._minio.list_objects(self._bucket, prefix=prefix)
        return sorted(one.object_name[len(prefix) :].rstrip("/") for one in found if one.is_dir)

    def get(self, key: str, to: Path) -> Stat:
        """See `base.ObjectStore.get`. Parts of a large object come in parallel, all of the same version."""
        with writing(to) as file:
            return _repeat(lambda: self._read(check_key(key), file), CorruptObject, ObjectChanged)

    def get_bytes(self, key: str) -> tuple[bytes, Stat]:
        """See `base.ObjectStore.get_bytes`."""
        buffer = io.BytesIO()
        stat = _repeat(lambda: self._read(check_key(key), buffer), CorruptObject, ObjectChanged)
        return buffer.getvalue(), stat

    def read_range(self, key: str, offset: int, length: int, *, etag: str = "") -> bytes:
        """See `base.ObjectStore.read_range`."""
        try:
            return bytes(self._range(check_key(key), offset, length, etag).data) if length > 0 else b""
        except BeyondEnd:
            return b""

    def put(self, key: str, source: Path, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put`. Large files go in parallel parts."""
        try:
            with source.open("rb") as file:
                before = os.fstat(file.fileno())
                stat = self._write(check_key(key), file, when)
                after = os.fstat(file.fileno())
        except OSError as error:
            raise OutputError(f"{source}: expected a file to store, found {error.strerror}. Check the path.") from None
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise OutputError(f"{source}: changed while it was stored as {stat.uri}. Store the finished file.")
        return stat

    def put_bytes(self, key: str, data: bytes, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_bytes`."""
        headers = _metadata(hashlib.sha256(data).hexdigest()) | self._conditions(check_key(key), when)
        try:
            etag = _etag(self._client.ask("PUT", key, headers=headers, body=data))
        except ObjectChanged:
            if not (etag := self._etag_of(key, headers[_WRITE_ID])):
                raise
        return Stat(key, len(data), etag, self.uri(key))

    def put_stream(self, key: str, stream: BinaryIO, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_stream`. The stream goes through a temporary file, to know its SHA-256 first."""
        with tempfile.TemporaryFile() as file:
            try:
                shutil.copyfileobj(stream, file, 1 << 20)
            except OSError as error:
                raise OutputError(
                    f"{tempfile.gettempdir()}: expected to hold a stream, found {error.strerror or error}. Free space."
                ) from error
            file.seek(0)
            return self._write(check_key(key), file, when)

    def delete(self, key: str) -> None:
        """See `base.ObjectStore.delete`."""
        with suppress(MissingObject):
            self._minio.remove_object(self._bucket, check_key(key))

    def sweep(self, prefix: str = "", *, older_than_s: float = 86400.0) -> int:
        """See `base.ObjectStore.sweep`: parts of unfinished uploads, which the server keeps and bills."""
        swept = 0
        query = {"uploads": "", "prefix": prefix, "max-uploads": "1000"}
        while True:
            tree = parse_xml(self._client.ask("GET", "", "list uploads", query=query).data)
            for upload in tree.iter("Upload"):
                key, upload_id = upload.findtext("Key") or "", upload.findtext("UploadId") or ""
                begun = datetime.fromisoformat(upload.findtext("Initiated") or "1970-01-01T00:00:00Z")
                if key.startswith(prefix) and time.time() - begun.timestamp() > older_than_s:
                    self._abort(key, upload_id)
                    swept += 1
            if tree.findtext("IsTruncated") != "true":
                return swept
            query["key-marker"] = tree.findtext("NextKeyMarker") or ""
            query["upload-id-marker"] = tree.findtext("NextUploadIdMarker") or ""

    def _stat(self, found: Any) -> Stat:
        """Convert minio-py's description of an object."""
        return Stat(found.object_name, found.size or 0, (found.etag or "").strip('"'), self.uri(found.object_name))

    def _range(
        self, key: str, offset: int, length: int, etag: str = "", stop: Event | None = None
    ) -> urllib3.BaseHTTPResponse:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"} | ({"If-Match": f'"{etag}"'} if etag else {})
        answer = self._client.ask("GET", key, headers=headers, stop=stop)
        if answer.status != 206 and (offset or _total(answer) > length):
            raise StoreError(f"{self.uri(key)}: the server ignores ranges of bytes. Use another server.")
        return answer

    def _read(self, key: str, file: IO[bytes]) -> Stat:
        """Copy an object into `file` and compare its checksum; the first part names the version of all others."""
        file.seek(0)
        file.truncate()
        try:
            answer = self._range(key, 0, self._part_bytes)
        except BeyondEnd:  # an empty object has no first byte
            answer = self._client.ask("GET", key)
        etag, size, first = _etag(answer), _total(answer), answer.data
        wanted, digest = str(answer.headers.get(_SHA256, "")), hashlib.sha256()
        if not wanted and re.fullmatch("[0-9a-f]{32}", etag) and "x-amz-server-side-encryption" not in answer.headers:
            wanted, digest = etag, _md5()

        range_bytes, seen = max(self._part_bytes, _RANGE), 0

        def read(start: int, stop: Event) -> bytes:
            return bytes(self._range(key, start, min(range_bytes, size - start), etag, stop).data)

        with closing(self._in_parallel(read, range(len(first), size, range_bytes))) as others:
            for data in itertools.chain([first], others):
                file.write(data)
                digest.update(data)
                seen += len(data)
        if seen != size:
            raise corrupt(self.uri(key), expected=f"{size} bytes", found=f"{seen}")
        if wanted and digest.hexdigest() != wanted:
            raise corrupt(self.uri(key), expected=f"{digest.name} {wanted[:12]}", found=digest.hexdigest()[:12])
        return Stat(key, size, etag, self.uri(key))

    def _in_parallel(self, work: Callable[[int, Event], Result], jobs: range) -> Generator[Result, None, None]:
        """Yield `work(job, stop)` in the order of the jobs, a few jobs ahead; the first failure stops all."""
        stop, failures = Event(), list[BaseException]()
        running: deque[Future[Result]] = deque()

        def guarded(job: int) -> Result:
            try:
                return work(job, stop)
            except BaseException as error:
                failures.append(error)
                stop.set()
                raise

        with ThreadPoolExecutor(self._client.settings.workers, thread_name_prefix="object-store") as pool:
            try:
                for job in jobs:
                    running.append(pool.submit(guarded, job))
                    if len(running) > self._client.settings.workers:
                        yield running.popleft().result()
                while running:
                    yield running.popleft().result()
            except Stopped:  # another job has failed
                raise failures[0] from None
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)

    def _write(self, key: str, file: IO[bytes], when: Condition) -> Stat:
        """Store an open file, which stands at its beginning."""
        if os.fstat(file.fileno()).st_size <= self._part_bytes:
            return self.put_bytes(key, file.read(), when=when)
        size, sha256 = copy_and_hash(file)
        etag = _repeat(lambda: self._write_parts(key, file, size, sha256, when), UploadLost)
        return Stat(key, size, etag, self.uri(key))

    def _write_parts(self, key: str, file: IO[bytes], size: int, sha256: str, when: Condition) -> str:
        """Upload parts, which stay invisible until the upload is complete; return the object's etag."""
        conditions = self._conditions(key, when)
        if conditions:
            self._check(key, when)  # before the bytes are sent in vain
        part_bytes, headers = max(self._part_bytes, -(-size // 10_000)), _metadata(sha256)
        begun = self._client.ask("POST", key, query={"uploads": ""}, headers=headers)
        upload_id = parse_xml(begun.data).findtext("UploadId") or ""

        def write(number: int, stop: Event) -> str:
            data = os.pread(file.fileno(), part_bytes, (number - 1) * part_bytes)
            query = {"partNumber": str(number), "uploadId": upload_id}
            return _etag(self._client.ask("PUT", key, query=query, body=data, stop=stop))

        try:
            etags = self._in_parallel(write, range(1, -(-size // part_bytes) + 1))
            listed = "".join(
                f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
                for number, etag in enumerate(etags, start=1)
            )
            return self._complete(key, upload_id, listed, conditions, headers[_WRITE_ID])
        except BaseException:
            self._abort(key, upload_id)
            raise

    def _complete(self, key: str, upload_id: str, listed: str, conditions: dict[str, str], write_id: str) -> str:
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        headers = {"Content-Type": "application/xml", **conditions}
        try:
            answer = self._client.ask("POST", key, query={"uploadId": upload_id}, headers=headers, body=body)
        except (ObjectChanged, UploadLost):  # the answer to an earlier try may have been lost
            if etag := self._etag_of(key, write_id):
                return etag
            raise
        return (parse_xml(answer.data).findtext("ETag") or _etag(answer)).strip('"')

    def _abort(self, key: str, upload_id: str) -> None:
        """Remove the parts; if that fails, `sweep` or the bucket's lifecycle rule removes them."""
        with suppress(CullingError):
            self._client.ask("DELETE", key, query={"uploadId": upload_id}, retry_s=0.0)

    def _etag_of(self, key: str, write_id: str) -> str:
        """Return the object's etag if the write `write_id` made it, else ''."""
        with suppress(CullingError):
            found = self._client.ask("HEAD", key)
            return _etag(found) if found.headers.get(_WRITE_ID) == write_id else ""
        return ""

    def _conditions(self, key: str, when: Condition) -> dict[str, str]:
        """Return a conditional write's headers; where the server ignores them, check the condition now instead."""
        if not when:
            return {}
        if not self._server_keeps_conditions(key):
            self._check(key, when)
            return {}
        return {"If-None-Match": "*"} if when.absent else {"If-Match": f'"{when.etag}"'}

    def _check(self, key: str, when: Condition) -> None:
        etag = ""
        with suppress(MissingObject):
            etag = self.stat(key).etag
        when.check(etag, self.uri(key))

    def _server_keeps_conditions(self, key: str) -> bool:
        """Test once if the server keeps conditions of writes, on an object beside `key`."""
        with self._lock:
            if self._keeps_conditions is None:
                probe, headers = f"{key}.probe-{uuid.uuid4().hex}", {"If-None-Match": "*"}
                self._client.ask("PUT", probe, body=b"1")
                try:
                    self._client.ask("PUT", probe, body=b"2", headers=headers)
                    self._keeps_conditions = False
                    LOG.warning("%s ignores conditional writes: of two writers at once, both may win.", self.uri(""))
                except ObjectChanged:
                    self._keeps_conditions = True
                with suppress(CullingError):
                    self.delete(probe)
            return self._keeps_conditions


def _repeat(work: Callable[[], Result], *again: type[CullingError]) -> Result:
    """Call `work` up to `_REPEATS` times while it raises one of `again`."""
    for _ in range(_REPEATS - 1):
        with suppress(*again):
            return work()
    return work()


def _metadata(sha256: str) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", _SHA256: sha256, _WRITE_ID: uuid.uuid4().hex}


def _etag(answer: urllib3.BaseHTTPResponse) -> str:
    return str(answer.headers.get("etag", "")).strip('"')


def _total(answer: urllib3.BaseHTTPResponse) -> int:
    """Return the object's size, for any range of it."""
    content_range = answer.headers.get("content-range", "")
    return int(content_range.rpartition("/")[2] if content_range else answer.headers.get("content-length", "0"))


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)
