"""libvips as this room uses it: one thread, no caches, only the loaders we sniff, errors that are not swallowed."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import get_ident
from typing import BinaryIO, Protocol, cast

import pyvips
from pyvips import voperation

from farm.errors import FarmError
from farm.media.picture import Source

MESSAGE_BREAK = " | "
_NO_SUCH_PLACE = frozenset({errno.EINVAL, errno.EOVERFLOW})


def configure_vips() -> None:
    """Make libvips fit a worker that shares its node with others.

    One thread (N one-thread workers beat one N-thread worker; VIPS_CONCURRENCY overrides), no operation cache (nothing
    is ever asked twice), and none of the loaders that libvips itself calls unsafe for untrusted files.
    """
    if "VIPS_CONCURRENCY" not in os.environ:
        voperation.concurrency_set(1)
    pyvips.cache_set_max(0)
    pyvips.block_untrusted_set(True)


configure_vips()


class _Ear(logging.Handler):
    """Hears what libvips warns of; each thread what it says in that thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._listeners: dict[int, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        heard = self._listeners.get(get_ident())
        if heard is not None:
            heard.append(record.getMessage())

    @contextmanager
    def listening(self) -> Generator[list[str]]:
        heard = self._listeners[get_ident()] = []
        try:
            yield heard
        finally:
            del self._listeners[get_ident()]


_EAR = _Ear()
logging.getLogger("pyvips").addHandler(_EAR)


def warnings_heard() -> AbstractContextManager[list[str]]:
    """What libvips warns of in this thread while the block runs: some it says only when an image is let go.

    Does not nest.
    """
    return _EAR.listening()


def errors_left() -> list[str]:
    """Errors that libvips noted without failing, of this thread's pictures or another's; forgotten when told."""
    return str(pyvips.Error("").detail).splitlines()


def let_threads_end() -> None:
    """Wait until libvips' threads, which live for 15 s without work, are gone; for who is about to fork.

    A forked child has none of them but counts on them, and would wait for ever: libvips cannot be told. Gives up after
    20 s, for a thread that works then.
    """
    end = time.monotonic() + 20.0
    while any(name == "libvips worker" for name in _thread_names()) and time.monotonic() < end:
        time.sleep(0.05)


def _thread_names() -> Iterator[str]:
    for path in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            yield path.read_text().strip()


class Buffer(Protocol):
    """The C memory that libvips lends to a callback."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice) -> bytes: ...
    def __setitem__(self, part: slice, data: bytes) -> None: ...


class ReadFile(Protocol):
    """What libvips needs of a file that it reads."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


class WriteFile(ReadFile, Protocol):
    """What libvips needs of a file that it writes; TIFF reads back and seeks, the other formats only write."""

    def write(self, data: bytes, /) -> int: ...


class FileBridge:
    """Callbacks of libvips on one file object.

    An exception cannot cross C code: pyvips would print it and read on. So it is kept here, libvips is told -1, and
    whoever started the operation raises it again (`reraise`).
    """

    def __init__(self, file: ReadFile) -> None:
        self.file = file
        self.error: BaseException | None = None

    def reraise(self) -> None:
        """Raise what a callback met, if any did."""
        if self.error is not None:
            raise self.error

    def _guard(self, act: Callable[[], int]) -> int:
        if self.error is not None:
            return -1
        try:
            return act()
        except BaseException as error:  # kept for reraise(); C code cannot carry it
            self.error = error
            return -1

    def read(self, buffer: Buffer) -> int:
        def act() -> int:
            data = self.file.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)

        return self._guard(act)

    def seek(self, offset: int, whence: int) -> int:
        """As of any file; -1 for places that no file has, which damaged pictures name: no error of the file."""

        def act() -> int:
            try:
                return self.file.seek(offset, whence)
            except (ValueError, OverflowError):
                return -1
            except OSError as error:
                if error.errno in _NO_SUCH_PLACE:
                    return -1
                raise

        return self._guard(act)

    def source(self) -> pyvips.Source:
        """This file as a libvips source. Keep it as long as its image: pyvips does not, and C would call a ghost."""
        source = pyvips.SourceCustom()
        source.signal_connect("read", self.read)
        source.signal_connect("seek", self.seek)
        return source


class TargetBridge(FileBridge):
    """Callbacks of libvips on a file object that it writes."""

    def __init__(self, file: WriteFile) -> None:
        super().__init__(file)
        self._sink = file

    def write(self, buffer: Buffer) -> int:
        def act() -> int:
            self._sink.write(buffer[:])
            return len(buffer)

        return self._guard(act)

    def target(self) -> pyvips.Target:
        """This file as a libvips target."""
        target = pyvips.TargetCustom()
        target.signal_connect("write", self.write)
        target.signal_connect("read", self.read)
        target.signal_connect("seek", self.seek)
        return target


class _Everywhere:
    """A file in which every place can be sought: where no file reaches there is nothing, as behind the end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        try:
            return self._file.seek(offset, whence)
        except (ValueError, OverflowError):
            if offset < 0:
                raise
        except OSError as error:
            if error.errno not in _NO_SUCH_PLACE or offset < 0:
                raise
        return self._file.seek(0, os.SEEK_END)


class OpenSource:
    """A picture source as libvips and as a plain file. Lives as long as the images made from it."""

    def __init__(self, source: Source) -> None:
        self._file = BytesIO(source) if isinstance(source, bytes) else source
        self._bridge = None if isinstance(source, bytes) else FileBridge(source)
        self._bytes = source if isinstance(source, bytes) else b""
        self._lent: list[pyvips.Source] = []

    def vips(self) -> pyvips.Source:
        """A fresh libvips source from the start of the file."""
        self._file.seek(0)
        source = self._bridge.source() if self._bridge else pyvips.Source.new_from_memory(self._bytes)
        self._lent.append(source)
        return source

    def file(self) -> BinaryIO:
        """The file from its start, for reading a few bytes here and there, wherever a header says they are."""
        self._file.seek(0)
        return cast(BinaryIO, _Everywhere(self._file))

    def reraise(self) -> None:
        """Raise what reading the file met below libvips."""
        if self._bridge is not None:
            self._bridge.reraise()


@contextmanager
def translated(translate: Callable[[str], FarmError], *files: FileBridge | OpenSource) -> Generator[None, None, None]:
    """Turn a libvips error into ours; an error of a file object below it comes first and as it was.

    Args:
        translate: from libvips' messages, joined by `MESSAGE_BREAK`, to the error that is raised. The first is the
            call's own; the others come from a list that all threads share: each starts with who said it, one of ours
            may be missing and a stranger's may stand there.
    """
    try:
        yield
    except pyvips.Error as error:
        for file in files:
            file.reraise()
        lines = (error.message, *str(error.detail).splitlines())
        raise translate(MESSAGE_BREAK.join(line.strip() for line in lines if line.strip())) from error
    for file in files:
        file.reraise()
