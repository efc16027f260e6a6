"""Object storage behind one protocol: a folder or a bucket.

base.py      the protocol and its promises        uris.py      s3://bucket/key wherever a path works
local.py     a folder                             s3.py        a bucket (the only module that imports minio)
settings.py  endpoint and keys, from the environment           s3_errors.py S3's error codes as our errors
atomic.py    files that appear whole or not at all             transfer.py  folders of many small objects
scratch.py   half-finished work of a task
"""

from dataset_culling.storage.base import ALWAYS, IF_ABSENT, Condition, ObjectStore, Stat, if_unchanged
from dataset_culling.storage.local import LocalStore
from dataset_culling.storage.transfer import each, get_tree, put_tree
from dataset_culling.storage.uris import (
    fetch,
    is_remote,
    list_prefix,
    open_object,
    open_reader,
    open_store,
    put_file,
    read_range,
)

__all__ = [
    "ALWAYS", "IF_ABSENT", "Condition", "LocalStore", "ObjectStore", "Stat", "each", "fetch", "get_tree",
    "if_unchanged", "is_remote", "list_prefix", "open_object", "open_reader", "open_store", "put_file", "put_tree",
    "read_range",
]  # fmt: skip
