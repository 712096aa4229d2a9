"""What disks and stores say of many files, in as few requests as there can be.

On a store one page of a listing answers for up to a thousand objects. Each page starts where the next object that is
asked for must be, so that no page is read that holds none of them; where they lie too far apart for pages to pay, they
are asked for one by one.
"""

from __future__ import annotations

import os
import stat as stat_module
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.records import FileStat
from farm.storage import local, objects
from farm.storage.urls import is_remote, local_path, split_key

Answer = FileStat | ItemError
_AT_ONCE = 8
_TRIED_PAGES = 16
"""pages after which it is asked whether they pay"""
_FEW_A_PAGE = 4
_KEPT_S = 60.0
"""a page older than that is read again"""
_LAST_CHARACTER = "\U0010fffd"
"""sorts behind what keys are made of, and may stand in XML"""


class ManyStats:
    """Asks about files by the batch; the last page of a store is kept, since the next batch may begin on it."""

    def __init__(self) -> None:
        self._page = _Page("", "", [], more=True)

    def ask(
        self, urls: Sequence[str], *, on_link: Callable[[str], None] | None = None, confirm: bool = True
    ) -> list[Answer]:
        """The stat of each file, or the ItemError that says why there is none.

        `on_link` is called with each local path that is a link; an ItemError it raises is the answer. `confirm`: what
        no listing shows is asked for by itself before it is called missing.
        """
        remote = [at for at, url in enumerate(urls) if is_remote(url)]
        if not remote:
            return _ask_disk(urls, on_link)
        near = [at for at, url in enumerate(urls) if not is_remote(url)]
        answers: dict[int, Answer] = dict(zip(near, _ask_disk([urls[at] for at in near], on_link), strict=True))
        found = self._ask_stores({urls[at] for at in remote}, confirm=confirm)
        return [answers[at] if at in answers else found[url] for at, url in enumerate(urls)]

    def _ask_stores(self, urls: set[str], *, confirm: bool) -> dict[str, Answer]:
        buckets: dict[str, list[str]] = {}
        for url in urls:
            scheme, bucket, _ = split_key(url)
            buckets.setdefault(f"{scheme}://{bucket}/", []).append(url)
        found: dict[str, Answer] = {}
        for bucket, inside in buckets.items():
            seen: dict[str, Answer] = {}
            left = self._list(bucket, sorted(inside, key=str.encode), seen)
            found.update(seen)
            unseen = [url for url in inside if url not in found]
            alone = unseen if confirm else left
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="stat") as pool:
                found.update(zip(alone, pool.map(_ask_alone, alone), strict=True))
            found.update((url, _missing(url)) for url in unseen if url not in found)
        return found

    def _list(self, bucket: str, urls: list[str], found: dict[str, Answer]) -> list[str]:
        """Put what pages show into `found`; returns the URLs that no page was read for."""
        prefix = bucket + _common_folder(urls[0][len(bucket) :], urls[-1][len(bucket) :])
        pages, at = 0, 0
        while at < len(urls):
            if pages >= _TRIED_PAGES and len(found) < pages * _FEW_A_PAGE:
                return urls[at:]
            if not self._page.covers(urls[at], prefix):
                page = _read_page(bucket, prefix, urls[at])
                if page is None:
                    return urls[at:]
                self._page = page
                pages += 1
            while at < len(urls) and self._page.covers(urls[at], prefix):
                stat = self._page.stats.get(urls[at])
                if stat is not None:
                    found[urls[at]] = stat
                at += 1
        return []


class _Page:
    """A stretch of a listing: all objects with a prefix from one URL to another."""

    def __init__(self, prefix: str, first: str, stats: list[FileStat], *, more: bool) -> None:
        self.stats = {stat.url: stat for stat in stats}
        self._until_s = time.monotonic() + _KEPT_S
        self._prefix = prefix
        self._first = first.encode()
        self._last = None if not more else stats[-1].url.encode() if stats else self._first[:0]

    def covers(self, url: str, prefix: str) -> bool:
        """Whether an object of that name would be on the page."""
        if not prefix.startswith(self._prefix) or not self._prefix or time.monotonic() > self._until_s:
            return False
        return self._first <= url.encode() and (self._last is None or url.encode() <= self._last)


def _read_page(bucket: str, prefix: str, first: str) -> _Page | None:
    """The page that starts with `first`; None from a store that does not list as S3 does."""
    after = _before(first[len(bucket) :])
    try:
        stats, more = objects.list_page(prefix, after)
    except ItemError:  # who may read need not be allowed to list
        return None
    urls = [stat.url.encode() for stat in stats]
    page = _Page(prefix, first, stats, more=more)
    in_order = urls == sorted(urls) and all(url > (bucket + after).encode() for url in urls[:1])
    return page if in_order and page.covers(first, prefix) else None


def _common_folder(first: str, last: str) -> str:
    """What all keys between two begin with, up to a slash."""
    same = next((at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), len(first))
    return first[: first.rfind("/", 0, same) + 1]


def _before(key: str) -> str:
    """A text that sorts before `key` and behind nearly all that does."""
    code = ord(key[-1])
    if code <= ord(" "):
        return key[:-1]
    return key[:-1] + chr(0xD7FF if code == 0xE000 else code - 1) + _LAST_CHARACTER


def _missing(url: str) -> ItemError:
    return ItemError(ErrorKind.MISSING, url, "no such object", "check the manifest's URL")


def _ask_alone(url: str) -> Answer:
    try:
        path = local_path(url)
        return local.stat(path) if path else objects.stat(url)
    except ItemError as error:
        return error


def _ask_disk(urls: Iterable[str], on_link: Callable[[str], None] | None) -> list[Answer]:
    if failpoints.are_set():
        return [_checked(url, on_link) for url in urls]
    return list(_stats(urls, on_link))


def _stats(urls: Iterable[str], on_link: Callable[[str], None] | None) -> Iterator[Answer]:
    look = os.lstat if on_link else os.stat
    for url in urls:
        try:
            found = look(url)
        except (OSError, ValueError):
            found = None
        if found is not None and stat_module.S_ISREG(found.st_mode):
            yield FileStat(url=url, bytes=found.st_size, mtime_ns=found.st_mtime_ns)
        else:
            yield _checked(url, on_link)


def _checked(url: str, on_link: Callable[[str], None] | None) -> Answer:
    """The long way: links, what is no file, what is not there."""
    try:
        if on_link and os.path.islink(url):
            on_link(url)
        return local.stat(local_path(url) or Path(url))
    except ItemError as error:
        return error
