"""Where things lie below an output root: one name for each, by which writers, readers and lists find it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

INDEX = "dataset.json"
_FOLDERS: Mapping[str, str] = MappingProxyType({"image": "images"})
"""of roles whose folder is not called as they are"""


def role_folder(role: str) -> str:
    """The folder of a role's files in the form of a tree."""
    return _FOLDERS.get(role, role)


def tree_path(role: str, key: str, extension: str) -> str:
    """A member's file in the form of a tree."""
    return f"{role_folder(role)}/{key}.{extension}"


def tar_path(part: str) -> str:
    """A part's WebDataset shard."""
    return f"shards/{part}.tar"


def tar_member(role: str, key: str, extension: str) -> str:
    """A member's name in a shard: WebDataset ends a key at the first dot of the last component."""
    return f"{key}.{role}.{extension}"


def lmdb_folder(role: str, part: str) -> str:
    """A role's database of a part; basicsr wants the folder's name to end so."""
    return f"lmdb/{role}_{part}.lmdb"


def samples_path(part: str) -> str:
    """A part's table of samples."""
    return f"samples/{part}.parquet"


def sources_path(part: str) -> str:
    """A part's table of sources: the last file of a part, and the output of its item."""
    return f"sources/{part}.parquet"
