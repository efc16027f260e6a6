"""A bucket behind S3's protocol (Amazon S3, MinIO, SeaweedFS, Ceph) as an object store.

Every object is stored with its SHA-256 (x-amz-meta-sha256), which is compared when it is read whole; what other
programs stored is compared with its etag where that is an MD5. On the way up the server compares each request's body
with the Content-MD5 that is sent along.
"""

from __future__ import annotations

import datetime
import hashlib
import itertools
import math
import os
import re
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO

from minio.error import S3Error, ServerError

from dataset_culling.errors import CullingError, MissingObject, ObjectChanged, OutputError, StoreError
from dataset_culling.storage.base import ALWAYS, Condition, Stat, changed, check_key
from dataset_culling.storage.local import sha256_and_size, writing
from dataset_culling.storage.parallel import in_order
from dataset_culling.storage.retry import LOG
from dataset_culling.storage.s3_client import (
    BLOCK,
    ERRORS,
    Answer,
    BeyondEnd,
    BucketClient,
    Differs,
    UploadLost,
    is_refusal,
    no_bucket,
    parse_xml,
)
from dataset_culling.storage.settings import StoreSettings, load_settings

_MAX_PARTS = 10_000
_PAGE = 1000
_RANGE = 8 << 20
"""Size of a large object's parts on the way down, at least; they take no memory, but begin anew when they are cut."""
_RESTARTS = 3
"""So often is a whole transfer begun anew when the server has forgotten an upload, or the object was replaced."""
_SHA256 = "x-amz-meta-sha256"
_WRITE_ID = "x-amz-meta-write-id"
"""Tells whether an object is what this very call wrote, when the answer to an earlier try was lost on the way."""
_PART_BYTES = "x-amz-meta-part-bytes"
"""Of a stream, whose SHA-256 is known only when its upload is over: with it the etag can be computed again."""


class S3Store:
    """The bucket `bucket` of the object store that the environment names; see `base.ObjectStore`.

    Args:
        bucket: The bucket, which must exist.
        settings: Where and with which keys; by default the environment's.

    Raises:
        ConfigError: If the environment names no keys, or a wrong endpoint.
    """

    def __init__(self, bucket: str, settings: StoreSettings | None = None) -> None:
        self._client = BucketClient(bucket, settings if settings is not None else load_settings())
        self._part_bytes = self._client.settings.part_mib << 20
        self._workers = self._client.settings.workers
        self._keeps_conditions: bool | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"S3Store({self._client.bucket!r} at {self._client.endpoint})"

    def uri(self, key: str) -> str:
        """s3://bucket/key."""
        return self._client.uri(key)

    def stat(self, key: str) -> Stat:
        """See `base.ObjectStore.stat`."""
        return self._stat(key, self._head(key))

    def find(self, prefix: str = "") -> Iterator[Stat]:
        """See `base.ObjectStore.find`. One request for every thousand objects.

        Raises:
            MissingObject: If there is no such bucket.
        """
        page = self._page(prefix, "")
        if not page and not self._client.persist(
            lambda tries: self._client.minio.bucket_exists(self._client.bucket), "list", prefix
        ):
            raise no_bucket(self.uri(""))  # some servers list a bucket that is not there as an empty one
        while page:
            for found in page:
                if not found.object_name.endswith("/"):  # folder marks that web consoles leave
                    etag = (found.etag or "").strip('"')
                    yield Stat(found.object_name, found.size or 0, etag, self.uri(found.object_name))
            page = self._page(prefix, page[-1].object_name) if len(page) == _PAGE else []

    def folders(self, prefix: str) -> list[str]:
        """See `base.ObjectStore.folders`."""

        def work(tries: int) -> list[str]:
            found = self._client.minio.list_objects(self._client.bucket, prefix=prefix)
            return sorted(one.object_name[len(prefix) :].rstrip("/") for one in found if one.is_dir)

        return self._client.persist(work, "list", prefix)

    def get(self, key: str, to: Path) -> Stat:
        """See `base.ObjectStore.get`. Parts of a large object come in parallel, all of one and the same version."""
        check_key(key)
        for restarts in itertools.count():
            try:
                return self._client.persist(lambda tries: self._get_once(key, to), "read", key)
            except ObjectChanged:
                if restarts == _RESTARTS:
                    raise
        raise AssertionError("unreachable")

    def get_bytes(self, key: str) -> tuple[bytes, Stat]:
        """See `base.ObjectStore.get_bytes`."""
        check_key(key)

        def work(tries: int) -> tuple[bytes, Stat]:
            answer = self._client.once("GET", key)
            Checksum(self.uri(key), answer).of(answer.data)
            return answer.data, self._stat(key, answer)

        return self._client.persist(work, "read", key)

    def read_range(self, key: str, offset: int, length: int, *, etag: str = "") -> bytes:
        """See `base.ObjectStore.read_range`."""
        check_key(key)
        try:
            return self._range(key, offset, length, etag).data if length > 0 else b""
        except BeyondEnd:
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
                part_bytes = max(self._part_bytes, -(-size // _MAX_PARTS))
                reads = [
                    partial(os.pread, file.fileno(), min(part_bytes, size - offset), offset)
                    for offset in range(0, size, part_bytes)
                ]
                etag = self._put_parts_again(key, reads, {_SHA256: sha256}, when)
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
        write_id = uuid.uuid4().hex
        headers = {_SHA256: hashlib.sha256(data).hexdigest(), _WRITE_ID: write_id, **self._conditions(key, when)}

        def work(tries: int) -> str:
            try:
                return self._client.once("PUT", key, body=data, headers=headers).etag
            except S3Error as error:
                if tries and is_refusal(error) and (ours := self._ours(key, write_id)):
                    return ours
                raise

        return Stat(key, len(data), self._client.persist(work, "write", key), self.uri(key))

    def put_stream(self, key: str, stream: BinaryIO, *, when: Condition = ALWAYS) -> Stat:
        """See `base.ObjectStore.put_stream`. If the server forgets the upload, that is the end: no second reading."""
        check_key(key)
        first = _read_exactly(stream, self._part_bytes)
        if len(first) < self._part_bytes:
            return self.put_bytes(key, first, when=when)
        sizes = stream_parts(self._part_bytes)
        size = next(sizes)

        def blocks() -> Iterator[Callable[[], bytes]]:
            nonlocal size
            yield partial(bytes, first)
            while block := _read_exactly(stream, next(sizes)):
                size += len(block)
                yield partial(bytes, block)

        try:
            etag = self._put_parts(key, blocks(), {_PART_BYTES: str(self._part_bytes)}, when)
        except UploadLost as lost:
            raise self._client.gave_up("write", key, str(lost), 1, 0.0) from None
        return Stat(key, size, etag, self.uri(key))

    def delete(self, key: str) -> None:
        """See `base.ObjectStore.delete`."""
        with suppress(MissingObject):
            self._client.ask("DELETE", check_key(key), "delete")

    def sweep(self, prefix: str = "", *, older_than_s: float = 86400.0) -> int:
        """See `base.ObjectStore.sweep`: parts of uploads that nobody completed; the server keeps and bills them."""
        swept = 0
        marker: dict[str, str] = {}
        while True:
            query = {"uploads": "", "prefix": prefix, "max-uploads": str(_PAGE), **marker}
            tree = parse_xml(self._client.ask("GET", "", "list uploads", query=query).data)
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

    def _stat(self, key: str, answer: Answer) -> Stat:
        return Stat(key, answer.total, answer.etag, self.uri(key))

    def _head(self, key: str) -> Answer:
        def work(tries: int) -> Answer:
            try:
                return self._client.once("HEAD", check_key(key))
            except S3Error:
                # The answer to a HEAD has no body, so none of these tells a wrong key from a wrong clock.
                return self._client.once("GET", key, headers={"Range": "bytes=0-0"})

        return self._client.persist(work, "read", key)

    def _page(self, prefix: str, after: str) -> list[Any]:
        def work(tries: int) -> list[Any]:
            found = self._client.minio.list_objects(
                self._client.bucket, prefix=prefix, recursive=True, start_after=after or None
            )
            return list(itertools.islice(found, _PAGE))

        return self._client.persist(work, "list", prefix)

    def _range(self, key: str, offset: int, length: int, etag: str = "", stop: threading.Event | None = None) -> Answer:
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        if etag:
            headers["If-Match"] = f'"{etag}"'
        answer = self._client.ask("GET", key, "read", headers=headers, stop=stop)
        if answer.status != 206 and (offset or answer.total > length):
            raise self._ignores_ranges(key)
        return answer

    def _ignores_ranges(self, key: str) -> StoreError:
        return StoreError(f"{self.uri(key)}: expected a range of bytes, found that the server gives only the whole.")

    def _get_once(self, key: str, to: Path) -> Stat:
        """The whole object into `to`; one try of it, though of single parts as many as patience allows."""
        try:
            first = self._range(key, 0, self._part_bytes)
        except BeyondEnd:  # an empty object has no first byte
            first = self._client.once("GET", key)
        stat, checksum = self._stat(key, first), Checksum(self.uri(key), first)
        if stat.size == len(first.data):
            checksum.of(first.data)
            with writing(to) as file:
                file.write(first.data)
            return stat
        with writing(to) as file, closing(self._parts(key, stat, first.data, file)) as parts:
            for start, length in parts:
                for data in _blocks(file, start, length):
                    checksum.update(data)
            checksum.compare()
        return stat

    def _parts(self, key: str, stat: Stat, first: bytes, file: IO[bytes]) -> Generator[tuple[int, int], None, None]:
        """All of a large object into `file`, by several requests at once, every one for the same version.

        Each writes what it gets where it belongs, so that no part is ever in memory as a whole.

        Yields:
            (start, length) of the parts, in order, as soon as they are there.
        """
        file.write(first)
        file.flush()
        yield 0, len(first)
        stop = threading.Event()
        starts = range(len(first), stat.size, max(self._part_bytes, _RANGE))
        jobs = (partial(self._get_part, key, stat, start, file.fileno(), stop) for start in starts)
        try:
            with closing(in_order(jobs, self._workers, stop)) as lengths:
                yield from zip(starts, lengths, strict=True)
        except _DiskError as trouble:
            raise trouble.error from None

    def _get_part(self, key: str, stat: Stat, start: int, handle: int, stop: threading.Event) -> int:
        """One part of a large object to its place in an open file; its length."""
        length = min(max(self._part_bytes, _RANGE), stat.size - start)
        headers = {"Range": f"bytes={start}-{start + length - 1}", "If-Match": f'"{stat.etag}"'}

        def work(tries: int) -> int:
            at = start

            def write(block: bytes) -> None:
                nonlocal at
                if at + len(block) > start + length:
                    raise self._ignores_ranges(key)
                try:
                    at += _write_all(handle, block, at)
                except OSError as error:  # of this disk: no trouble of the network, and none that passes
                    raise _DiskError(error) from None

            self._client.once("GET", key, headers=headers, sink=write)
            if at != start + length:
                raise Differs(self.uri(key), f"{length} bytes", str(at - start))
            return length

        return self._client.persist(work, "read", key, stop=stop)

    # --- writing ------------------------------------------------------------------------------------------------------

    def _put_parts_again(self, key: str, reads: list[partial[bytes]], metadata: dict[str, str], when: Condition) -> str:
        """`_put_parts`, begun anew where the server has forgotten the upload, as some do that were killed."""
        for restarts in itertools.count():
            try:
                return self._put_parts(key, reads, metadata, when)
            except UploadLost as lost:
                if restarts == _RESTARTS:
                    raise self._client.gave_up("write", key, str(lost), restarts + 1, 0.0) from None
        raise AssertionError("unreachable")

    def _put_parts(
        self, key: str, reads: Iterable[Callable[[], bytes]], metadata: dict[str, str], when: Condition
    ) -> str:
        """A multipart upload: nothing of it can be seen until it is complete. The object's etag."""
        conditions = self._conditions(key, when)
        if conditions:
            self._refuse_early(key, when)  # before the bytes are sent for nothing
        write_id = uuid.uuid4().hex
        begun = self._client.ask("POST", key, "write", query={"uploads": ""}, headers={**metadata, _WRITE_ID: write_id})
        upload_id = parse_xml(begun.data).findtext("UploadId") or ""
        stop = threading.Event()
        jobs = (
            partial(self._put_part, key, {"partNumber": str(number), "uploadId": upload_id}, read, stop)
            for number, read in enumerate(reads, start=1)
        )
        try:
            with closing(in_order(jobs, self._workers, stop)) as etags:
                listed = "".join(
                    f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
                    for number, etag in enumerate(etags, start=1)
                )
            return self._complete(key, upload_id, listed, conditions, write_id)
        except BaseException:
            self._abort(key, upload_id)
            raise

    def _put_part(self, key: str, query: dict[str, str], read: Callable[[], bytes], stop: threading.Event) -> str:
        return self._client.ask("PUT", key, "write", query=query, body=read(), stop=stop).etag

    def _complete(self, key: str, upload_id: str, listed: str, conditions: dict[str, str], write_id: str) -> str:
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        headers = {"Content-Type": "application/xml", **conditions}

        def work(tries: int) -> str:
            try:
                answer = self._client.once("POST", key, query={"uploadId": upload_id}, headers=headers, body=body)
            except S3Error as error:
                done = is_refusal(error) or error.code == "NoSuchUpload"
                if tries and done and (ours := self._ours(key, write_id)):
                    return ours
                raise
            return (parse_xml(answer.data).findtext("ETag") or answer.etag).strip('"')

        return self._client.persist(work, "write", key)

    def _abort(self, key: str, upload_id: str) -> None:
        """Give the parts back. Where that fails too, `sweep` or the bucket's lifecycle rule will."""
        with suppress(*ERRORS, CullingError):
            self._client.once("DELETE", key, query={"uploadId": upload_id})

    def _ours(self, key: str, write_id: str) -> str:
        """The etag of the object if it is what the write `write_id` made, else nothing."""
        try:
            found = self._client.once("HEAD", key)
        except (S3Error, ServerError):
            return ""
        return found.etag if found.headers.get(_WRITE_ID) == write_id else ""

    # --- conditions ---------------------------------------------------------------------------------------------------

    def _conditions(self, key: str, when: Condition) -> dict[str, str]:
        """The headers of a conditional write; none where the server would ignore them, and then it is asked before."""
        if not when:
            return {}
        if not self._server_keeps_conditions(key):
            self._refuse_early(key, when)
            return {}
        return {"If-None-Match": "*"} if when.absent else {"If-Match": f'"{when.etag}"'}

    def _refuse_early(self, key: str, when: Condition) -> None:
        try:
            found = self._head(key).etag
        except MissingObject:
            found = ""
        if when.absent and found:
            raise changed(self.uri(key), "one that is there already")
        if when.etag and found != when.etag:
            raise changed(self.uri(key), f"etag {found} instead of {when.etag}" if found else "none")

    def _server_keeps_conditions(self, key: str) -> bool:
        """Whether the server refuses to overwrite when it is asked to; tried once, on an object beside `key`."""
        with self._lock:
            if self._keeps_conditions is None:
                probe = f"{key}.probe-{uuid.uuid4().hex}"
                self._client.ask("PUT", probe, "write", body=b"1")
                try:
                    self._client.ask("PUT", probe, "write", body=b"2", headers={"If-None-Match": "*"})
                    self._keeps_conditions = False
                    LOG.warning(
                        "%s ignores conditional writes: two runs that promote a model at the same moment may overwrite "
                        "each other's choice. Use a newer server.",
                        self._client.endpoint,
                    )
                except ObjectChanged:
                    self._keeps_conditions = True
                with suppress(CullingError):
                    self.delete(probe)
            return self._keeps_conditions


class _DiskError(Exception):
    """This machine's disk does not take what came."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class Checksum:
    """What an object's bytes must hash to, as the answer to a request for it says: its SHA-256, or an etag of MD5s.

    Where there is neither (other programs' multipart uploads, encrypted objects), only the length is compared.
    """

    def __init__(self, uri: str, answer: Answer) -> None:
        self._uri, self._size, self._seen = uri, answer.total, 0
        self._wanted, self._parts = answer.headers.get(_SHA256, ""), b""
        self._hash: Any = None
        self._sizes: Iterator[int] = iter(())
        self._left: float = math.inf
        if self._wanted:
            self._hash = hashlib.sha256()
        elif "x-amz-server-side-encryption" not in answer.headers:
            if re.fullmatch("[0-9a-f]{32}", answer.etag):
                self._wanted, self._hash = answer.etag, _md5()
            elif part_bytes := int(answer.headers.get(_PART_BYTES, "0")):
                self._wanted, self._hash = answer.etag.partition("-")[0], _md5()
                self._sizes = stream_parts(part_bytes)
                self._left = next(self._sizes)

    def update(self, data: bytes) -> None:
        """The next bytes of the object."""
        self._seen += len(data)
        view = memoryview(data)
        while len(view) > self._left:
            self._hash.update(view[: int(self._left)])
            view = view[int(self._left) :]
            self._end_part()
        self._left -= len(view)
        if self._hash is not None:
            self._hash.update(view)

    def compare(self) -> None:
        """Raises Differs if the bytes are not those that were stored."""
        if self._seen != self._size:
            raise Differs(self._uri, f"{self._size} bytes", f"{self._seen}")
        if self._hash is None:
            return
        if self._left < math.inf:
            self._end_part()
            self._hash = _md5(self._parts)
        if (found := self._hash.hexdigest()) != self._wanted:
            raise Differs(self._uri, f"{self._hash.name} {self._wanted[:12]}", found[:12])

    def of(self, data: bytes) -> None:
        """`update` and `compare` of an object that has come whole."""
        self.update(data)
        self.compare()

    def _end_part(self) -> None:
        self._parts += self._hash.digest()
        self._hash, self._left = _md5(), next(self._sizes)


def stream_parts(part_bytes: int) -> Iterator[int]:
    """The sizes of a stream's parts: ever larger, as nobody knows how many will come, and 10,000 are allowed."""
    for number in itertools.count():
        yield part_bytes << min(number // 1000, 9)


def _write_all(handle: int, data: bytes, offset: int) -> int:
    """Write all of `data` at `offset`; how much that is. The kernel may take less at a time."""
    view = memoryview(data)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written
    return len(data)


def _blocks(file: IO[bytes], start: int, length: int) -> Iterator[bytes]:
    """What lies at a place of a file that is being written, block by block."""
    for at in range(start, start + length, BLOCK):
        yield os.pread(file.fileno(), min(BLOCK, start + length - at), at)


def _md5(data: bytes = b"") -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, or all that is left; a pipe gives less at a time."""
    blocks: list[bytes] = []
    while size and (block := stream.read(size)):
        blocks.append(block)
        size -= len(block)
    return b"".join(blocks)
