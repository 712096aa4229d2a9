"""An object store's prefix, listed by several requests at a time, in the order of one listing.

A store gives one page of a listing after the other. Folders (common prefixes) are what lets several listings run at
once: they are found level by level until there are enough of them, then each is listed to its end by a thread of its
own, a bounded number of pages ahead of who reads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from queue import SimpleQueue

from farm import storage
from farm.records import FileStat

_LISTINGS_AT_ONCE = 8
_PAGE = 1000
"""objects that a store gives at a time"""
_PAGES_AHEAD = 8
"""of each listing; 8 listings of 8 pages are 64 000 objects, about 30 MB"""
_DEPTH = 6
"""levels that are searched for folders"""
Level = list[FileStat | str]


def iter_objects(root: str, descend: Callable[[str, Level], bool]) -> Generator[FileStat]:
    """Every object below `root`, sorted by key, in bounded memory.

    `descend` is asked for each folder that is found on the way, a URL with a slash at the end, with the first of what
    lies directly in it where that is known; what it denies may still be listed. Raises what the listing raises.
    """
    whole = storage.list_prefix(root.rstrip("/") + "/")
    first = list(islice(whole, _PAGE))
    more = next(whole, None)
    if more is None:  # one page was enough
        yield from (found for found in first if isinstance(found, FileStat))
        return
    yield from _merged(_tokens(root.rstrip("/") + "/", descend, _DEPTH))


def _tokens(folder: str, descend: Callable[[str, Level], bool], depth: int) -> Iterator[FileStat | str]:
    """Objects and folders that together are all of `folder`, in order; few folders are opened to find more of them."""
    level = storage.list_prefix(folder, level=True)
    first = list(islice(level, _PAGE))
    if not descend(folder, first):
        return
    is_few = sum(isinstance(found, str) for found in first) < _LISTINGS_AT_ONCE
    for found in chain(first, level):
        if isinstance(found, FileStat):
            yield found
        elif descend(found, []):
            yield from _tokens(found, descend, depth - 1) if is_few and depth else iter((found,))


def _merged(tokens: Iterator[FileStat | str]) -> Generator[FileStat]:
    """What lies in the folders among the tokens, in place of them."""
    ahead: deque[FileStat | _Listing] = deque()
    listings = 0
    pool = ThreadPoolExecutor(_LISTINGS_AT_ONCE, thread_name_prefix="list")
    try:
        while True:
            while listings < _LISTINGS_AT_ONCE and len(ahead) < _PAGE and (token := next(tokens, None)) is not None:
                if isinstance(token, str):
                    listing = _Listing(token)
                    pool.submit(listing.run)
                    ahead.append(listing)
                    listings += 1
                else:
                    ahead.append(token)
            if not ahead:
                return
            head = ahead.popleft()
            if isinstance(head, FileStat):
                yield head
                continue
            yield from head
            listings -= 1
    finally:
        for one in ahead:
            if isinstance(one, _Listing):
                one.stop()
        pool.shutdown(wait=False, cancel_futures=True)


class _Listing:
    """One listing that a thread reads to its end, at most `_PAGES_AHEAD` pages before who iterates over it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._pages: SimpleQueue[list[FileStat] | BaseException] = SimpleQueue()
        self._room = threading.Semaphore(_PAGES_AHEAD)
        self._stopped = threading.Event()

    def run(self) -> None:
        """In a thread of its own."""
        try:
            found = storage.list_prefix(self._folder)
            while page := [one for one in islice(found, _PAGE) if isinstance(one, FileStat)]:
                self._room.acquire()
                if self._stopped.is_set():
                    return
                self._pages.put(page)
            self._pages.put([])
        except BaseException as error:  # whoever reads the listing raises it
            self._pages.put(error)

    def __iter__(self) -> Generator[FileStat]:
        try:
            while page := self._pages.get():
                if isinstance(page, BaseException):
                    raise page
                self._room.release()
                yield from page
        finally:
            self.stop()

    def stop(self) -> None:
        """Let the thread end although nobody reads on."""
        self._stopped.set()
        self._room.release()
