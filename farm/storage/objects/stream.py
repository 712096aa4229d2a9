"""Writing an object from its beginning to its end without keeping it: what is full goes up while the rest is made."""

from __future__ import annotations

import hashlib
import io
from contextlib import AbstractContextManager
from typing import Any

from farm import failpoints
from farm.errors import DiskError
from farm.storage.objects.client import target
from farm.storage.objects.upload import MAX_PARTS, PART_BYTES, Label, Multipart, put
from farm.storage.writer import Published


class Stream(io.RawIOBase):
    """A file object that can only be appended to; like a Writer, it becomes the object on commit() and only then.

    Holds about six parts in memory at most: a write waits while four are under way.
    """

    def __init__(self, url: str, *, key: str, staging: str | None) -> None:
        super().__init__()
        self.url = url
        self._target = target(url)
        self._key = key
        self._staging = staging
        self._held = bytearray()
        self._size = 0
        self._digest = hashlib.sha256()
        self._parts: Multipart | None = None

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, buffer: Any, /) -> int:
        """All of it, always. Raises the store's errors, also those of parts that were written before."""
        view = memoryview(buffer).cast("B")
        self._digest.update(view)
        self._size += len(view)
        for start in range(0, len(view), PART_BYTES):
            self._held += view[start : start + PART_BYTES]
            while len(self._held) > (2 * PART_BYTES if self._parts is None else PART_BYTES):
                self._send(PART_BYTES)
        return len(view)

    def faults(self) -> AbstractContextManager[None]:
        """Inside, what the store raises becomes one of our errors."""
        return self._target.faults(self._size)

    def _send(self, length: int) -> None:
        with self.faults():
            if self._parts is None:
                self._parts = Multipart(self._target, Label(key=self._key), self._staging)
            if self._parts.count == MAX_PARTS:
                raise DiskError(f"{self.url}: over {MAX_PARTS} parts of {PART_BYTES} bytes; split it")
            self._parts.send(bytes(self._held[:length]))
            del self._held[:length]

    def commit(self) -> Published:
        """Make what was written the object. Raises the store's errors; then nothing was published, save that a store
        may fail to say that it succeeded."""
        sha256 = self._digest.hexdigest()
        try:
            with self.faults():
                failpoints.hit("storage.publish.before", self.url)
                if self._parts is None:
                    put(self._target, bytes(self._held), Label(key=self._key, sha256=sha256), self._staging)
                else:
                    while self._held:
                        self._send(PART_BYTES)
                    self._parts.complete()
                failpoints.hit("storage.publish.after", self.url)
        finally:
            self.discard()
        return Published(url=self.url, sha256=sha256, bytes=self._size)

    def discard(self) -> None:
        """Drop what was written. May be called again, and after commit()."""
        if self._parts is not None:
            self._parts.abort()
            self._parts = None
        self._held.clear()

    def close(self) -> None:
        """discard(): only commit() publishes."""
        self.discard()
        super().close()


def open_stream(url: str, *, key: str, staging: str | None) -> Stream:
    """A stream that becomes `url` on commit."""
    made = Stream(url, key=key, staging=staging)
    with made.faults():
        failpoints.hit("storage.open_write", url)
    return made
