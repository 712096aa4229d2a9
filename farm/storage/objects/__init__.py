"""Object stores through the S3 API: the same verbs as `farm.storage.local`."""

from __future__ import annotations

from farm.storage.objects.capability import probe
from farm.storage.objects.client import warm_up
from farm.storage.objects.delete import delete, delete_tree
from farm.storage.objects.read import (
    list_files,
    list_page,
    list_prefix,
    open_read,
    read_bytes,
    read_small,
    stat,
)
from farm.storage.objects.stream import open_stream
from farm.storage.objects.upload import Label, open_write, publish
from farm.storage.objects.uploads import abort_announced

__all__ = [
    "Label",
    "abort_announced",
    "delete",
    "delete_tree",
    "list_files",
    "list_page",
    "list_prefix",
    "open_read",
    "open_stream",
    "open_write",
    "probe",
    "publish",
    "read_bytes",
    "read_small",
    "stat",
    "warm_up",
]
