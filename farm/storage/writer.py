"""Files being written: nothing is visible under the target's name before commit()."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from farm.storage import faults

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """An object that is complete under its own name."""

    url: str
    sha256: str
    bytes: int


class Writer(io.BufferedRandom):
    """A seekable file object. commit() makes it an object, complete and in one step; everything else (discard(),
    close(), leaving the context, an exception, being collected) leaves no trace of it."""

    def __init__(
        self,
        url: str,
        raw: io.FileIO,
        *,
        deliver: Callable[[io.FileIO, int, str], None],
        drop: Callable[[], None],
        place: str = "",
    ) -> None:
        """`deliver` makes the file the object, given its size in bytes and its sha256; `drop` removes its temporary
        name, if any. `place`: where the file lies until then, if that is on another disk; errors name it."""
        super().__init__(raw, _CHUNK_BYTES)  # pyright: ignore[reportArgumentType]
        self.url = url
        self._place = place or url
        self._file = raw
        self._deliver = deliver
        self._drop = drop

    def write(self, buffer: Any, /) -> int:
        nbytes = memoryview(buffer).nbytes
        with faults.writing(self._place, nbytes):
            return super().write(buffer)

    def flush(self) -> None:
        with faults.writing(self._place, self.tell()):
            super().flush()

    def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
        with faults.writing(self._place, self.tell()):  # it writes what is buffered
            return super().seek(target, whence)

    def commit(self) -> Published:
        """Publish what was written.

        Raises DiskError, CredentialsError, UnreachableError or ItemError; then nothing was published, save that a
        store may fail to say that it succeeded.
        """
        return self.commit_digest(self._digest())

    def commit_digest(self, sha256: str) -> Published:
        """commit() for who knows the sha256 of the whole content already."""
        try:
            self.flush()
            size = self.seek(0, os.SEEK_END)
            self._deliver(self._file, size, sha256)
        finally:
            self.discard()
        return Published(url=self.url, sha256=sha256, bytes=size)

    def discard(self) -> None:
        """Drop what was written. May be called again, and after commit()."""
        if not self._file.closed:
            self._file.close()  # not our own close(): it would flush, which fails on a full disk
            self._drop()

    def close(self) -> None:
        """discard(): only commit() publishes."""
        self.discard()

    def _digest(self) -> str:
        self.seek(0)
        digest = hashlib.sha256()
        chunk = memoryview(bytearray(_CHUNK_BYTES))
        with faults.writing(self._place, 0):
            while count := self.readinto(chunk):
                digest.update(chunk[:count])
        return digest.hexdigest()
