"""Contents against digests that are known of them: everything is read, several files at a time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from farm import storage
from farm.errors import ItemError

_AT_ONCE = 8


def are_same(urls: Sequence[str], digests: Sequence[str]) -> list[bool]:
    """Whether the content of each file still has its sha256; not for what is missing or cannot be read."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="verify") as pool:
        return list(pool.map(_is_same, urls, digests))


def _is_same(url: str, digest: str) -> bool:
    try:
        return storage.sha256_of(url) == digest
    except ItemError:  # whoever works on the row says what is wrong
        return False
