"""Error answers of S3 servers as errors of this package, each in one line."""

from __future__ import annotations

from contextlib import suppress
from xml.etree import ElementTree

import urllib3

from dataset_culling.errors import AccessDenied, CullingError, MissingObject, ObjectChanged, OutputError, StoreError
from dataset_culling.retry import TRANSIENT_STATUS
from dataset_culling.storage.base import corrupt, missing

_MISSING = {"NoSuchKey", "NoSuchVersion", "ResourceNotFound"}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_TRANSIENT = {
    "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "ThrottlingException",
    "TooManyRequests", "ConditionalRequestConflict", "OperationAborted", "IncompleteBody",
}  # fmt: skip
_DAMAGED = {"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"}


class UploadLost(StoreError):
    """The server has forgotten a multipart upload that it began."""


class BeyondEnd(StoreError):
    """A range begins at or after the object's end."""


class Refused(Exception):
    """An error as answer: HTTP status, the server's date, and S3's code and message where the answer has them."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        self.status, self.date = int(answer.status), str(answer.headers.get("Date", ""))
        self.code = self.message = ""
        with suppress(ElementTree.ParseError):
            tree = parse_xml(answer.data)
            self.code, self.message = tree.findtext("Code") or "", one_line(tree.findtext("Message") or "")

    @property
    def is_transient(self) -> bool:
        """True if the same request may succeed later."""
        return self.code in _TRANSIENT or self.status in TRANSIENT_STATUS

    @property
    def is_damaged(self) -> bool:
        """True if other bytes than ours arrived at the server."""
        return self.code in _DAMAGED

    @property
    def is_skewed(self) -> bool:
        """True if the clocks of both sides differ by too much."""
        return self.code == "RequestTimeTooSkewed"

    def explain(self, verb: str, uri: str, key_source: str) -> CullingError:
        """Return our error: `verb` is the action, as 'read'; `key_source` says where the keys came from."""
        code, status = self.code, self.status
        found = f"{code}: {self.message}".rstrip(".") if self.message else code or f"HTTP status {status}"
        if code == "NoSuchBucket":
            return MissingObject(f"{uri}: the bucket does not exist. Check its name, or make the bucket first.")
        if code == "NoSuchUpload":
            return UploadLost(f"{uri}: the server has forgotten the upload. Run it again.")
        if code == "InvalidRange" or status == 416:
            return BeyondEnd(f"{uri}: the range begins after the object's end.")
        if code == "PreconditionFailed" or status == 412:
            return ObjectChanged(f"{uri}: another object is there than was read. Read it again, then decide again.")
        if self.is_damaged:
            return corrupt(uri, expected="our bytes at the server", found=code)
        if status == 507 or code in _FULL:
            return OutputError(f"{uri}: expected to {verb}, found a full store ({found}). Free space there.")
        if self.is_skewed:
            return AccessDenied(f"{uri}: expected to {verb}, found {found}. Set the clocks, here or there.")
        if code in _DENIED or status in (401, 403):
            return AccessDenied(
                f"{uri}: expected to {verb} with the keys from {key_source}, found {found}. "
                f"Check the keys and their rights."
            )
        if code in _MISSING or status == 404:
            return missing(uri)
        return StoreError(f"{uri}: expected to {verb}, found {found} (status {status}). Check the server.")


def parse_xml(data: bytes) -> ElementTree.Element:
    """Parse an answer of S3 and drop its name spaces."""
    root = ElementTree.fromstring(data)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def one_line(text: object) -> str:
    """Return a text on one line, at most 200 characters."""
    return " ".join(str(text).split())[:200]
