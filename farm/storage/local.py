"""Local disks. Publishing is: write under a temporary name, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat as stat_module
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.records import FileStat
from farm.storage import faults
from farm.storage.writer import Writer

_COPY_BYTES = 4 << 20


def stat(path: Path) -> FileStat:
    """Size and time of a regular file. Raises ItemError(missing, forbidden, unsupported, ...)."""
    url = str(path)
    with faults.reading(url):
        failpoints.hit("storage.stat", url)
        found = os.stat(path)
        if stat_module.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, "folder", url)
    if not stat_module.S_ISREG(found.st_mode):
        raise ItemError(ErrorKind.UNSUPPORTED, url, "not a regular file", "name a file")
    return FileStat(url=url, bytes=found.st_size, mtime_ns=found.st_mtime_ns)


def list_files(root: Path) -> Iterator[FileStat]:
    """Every file below `root`, names sorted within each folder, a folder's files where its name sorts.

    Links to files are listed, links to folders are not followed (they may lead out, or round in a circle); a broken
    link is listed with 0 bytes, so that it fails as a row instead of vanishing.
    """
    stack = [_scan(str(root))]  # not recursion: a tree may be deeper than Python's stack
    while stack:
        for entry in stack[-1]:
            if entry.is_dir(follow_symlinks=False):
                stack.append(_scan(entry.path))
                break
            if (found := _entry_stat(entry)) is not None:
                yield found
        else:
            stack.pop()


def list_folders(root: Path) -> list[str]:
    """Names of the folders in `root`, sorted, without links. Raises ItemError(missing, forbidden)."""
    return [entry.name for entry in _scan(str(root)) if entry.is_dir(follow_symlinks=False)]


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    with faults.reading(folder):
        failpoints.hit("storage.list", folder)
        with os.scandir(folder) as found:
            return iter(sorted(found, key=lambda entry: entry.name))


def _entry_stat(entry: os.DirEntry[str]) -> FileStat | None:
    try:
        found = entry.stat()
    except OSError:
        return FileStat(url=entry.path, bytes=0)
    if not stat_module.S_ISREG(found.st_mode):
        return None
    return FileStat(url=entry.path, bytes=found.st_size, mtime_ns=found.st_mtime_ns)


def read_bytes(path: Path, max_bytes: int | None) -> bytes:
    """The whole file. Raises ItemError, too_large above `max_bytes`, changed_during_read where it was written to."""
    url = str(path)
    size = stat(path).bytes
    if max_bytes is not None and size > max_bytes:
        raise too_large(url, size, max_bytes)
    with faults.reading(url), path.open("rb") as file:
        failpoints.hit("storage.read", url)
        before = os.fstat(file.fileno())
        # What says that it is empty is: files of /proc say so and hold anything, or refuse to be read.
        data = file.read() if before.st_size else b""
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != after.st_size:
        raise ItemError(
            ErrorKind.CHANGED_DURING_READ, url, "written to while it was read", "run again when it is whole"
        )
    return data


def too_large(url: str, size: int, max_bytes: int) -> ItemError:
    """The error for an object of `size` bytes where `max_bytes` are allowed."""
    return ItemError(ErrorKind.TOO_LARGE, url, f"{size} bytes (limit {max_bytes})", "leave it out or raise the limit")


def open_read(path: Path) -> BinaryIO:
    """A plain buffered file. Raises ItemError."""
    stat(path)
    with faults.reading(str(path)):
        failpoints.hit("storage.read", str(path))
        return path.open("rb")


def open_write(target: Path, *, attempt: str, staging: Path | None) -> Writer:
    """A temporary file in `staging`, or beside the target where that is None, renamed on commit."""
    folder = staging or target.parent
    temp = folder / (f".farm-{attempt}-{uuid.uuid4().hex}.tmp" if staging is None else uuid.uuid4().hex)
    with faults.writing(str(target), 0):
        failpoints.hit("storage.open_write", str(target))
        make_folder(folder)
        # Not tempfile: its files are readable by their owner only, and so would every output be.
        descriptor = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    return Writer(
        str(target),
        io.FileIO(descriptor, "r+b"),
        deliver=lambda file, size, _sha256: _deliver(file, size, temp, target),
        drop=lambda: _drop(temp),
    )


def _deliver(file: io.FileIO, size: int, temp: Path, target: Path) -> None:
    with faults.writing(str(target), size):
        _fsync(file.fileno(), target)
        make_folder(target.parent)
        failpoints.hit("storage.publish.before", str(target))
        try:
            os.rename(temp, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _deliver_across(temp, target)
        failpoints.hit("storage.publish.after", str(target))
        sync_folder(target.parent)


def _deliver_across(temp: Path, target: Path) -> None:
    """Another file system is mounted below the root: the only rename left is one inside it."""
    near = target.parent / f".farm-{temp.name}.tmp"
    try:
        with temp.open("rb") as source, near.open("xb") as sink:
            shutil.copyfileobj(source, sink, _COPY_BYTES)
            sink.flush()
            _fsync(sink.fileno(), target)
        os.rename(near, target)
    except BaseException:
        _drop(near)
        raise


def _drop(temp: Path) -> None:
    with contextlib.suppress(OSError):  # after a rename it is gone; otherwise clear_staging takes it away
        temp.unlink()


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, durably. Raises OSError."""
    missing = [folder, *folder.parents]
    while missing and missing[-1].is_dir():
        missing.pop()
    while missing:
        made = missing.pop()
        made.mkdir(exist_ok=True)
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync(descriptor: int, target: Path) -> None:
    failpoints.hit("storage.fsync.before", str(target))
    os.fsync(descriptor)
    failpoints.hit("storage.fsync.after", str(target))


def delete(path: Path) -> None:
    """Remove a file; one that is not there is as good."""
    with faults.writing(str(path), 0):
        failpoints.hit("storage.delete", str(path))
        path.unlink(missing_ok=True)


def delete_tree(path: Path) -> None:
    """Remove a folder and all below it; one that is not there is as good."""
    with faults.writing(str(path), 0):
        failpoints.hit("storage.delete", str(path))
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
