"""Folders, prefixes and globs: the pictures and films below a root, sorted within each folder.

Left out: hidden names, what has no picture's or film's extension, the output root, and every folder that holds a
`.farm` (another run's output root). Links are not followed out of the root: a link to a picture or a folder elsewhere
is named as refused instead of vanishing; a folder linked from inside the root is listed once, where it lies.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from farm import storage
from farm.errors import ErrorKind, ItemError, ManifestError
from farm.kinds import CONTAINERS, PICTURE_EXTENSIONS, extension_of
from farm.manifest.prefixes import Level, iter_objects
from farm.manifest.sources import link_target, printable, reading_manifest
from farm.storage.urls import below

_TAKEN = PICTURE_EXTENSIONS | CONTAINERS.keys()
_EARLY = re.compile(r"(?<=[^/])/(?=[\x00-\x2d])")
"""before a name that sorts before `.farm`, but not at the root, which is whoever's asked for it"""
_FOLDERS_ASKED = 10_000
MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One picture below a root, or what stands in the way of it."""

    relative: str
    """below the root, with forward slashes"""
    bytes: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    """of an object store"""
    error: ItemError | None = None


class Choice(Protocol):
    """Which folders are searched and which files are taken; both by their path below the root."""

    def descend(self, folder: str) -> bool: ...

    def take(self, file: str) -> bool: ...


class Everything:
    """All pictures and films of a folder and of its folders; with `any_name` all files, whatever their names say."""

    def __init__(self, *, any_name: bool = False) -> None:
        self._any_name = any_name

    def descend(self, folder: str) -> bool:  # noqa: ARG002 (the protocol's)
        return True

    def take(self, file: str) -> bool:
        return self._any_name or extension_of(file) in _TAKEN


class Pattern:
    """What a glob names: ``*``, ``?`` and ``[...]`` within a name, ``**`` for any number of folders."""

    def __init__(self, pattern: str, *, any_name: bool = False) -> None:
        parts = [part for part in pattern.split("/") if part]
        self._parts = [None if part == "**" else re.compile(fnmatch.translate(part)) for part in parts]
        self._any_name = any_name

    def descend(self, folder: str) -> bool:
        return _matches(folder.split("/"), self._parts, leading=True)

    def take(self, file: str) -> bool:
        known = self._any_name or extension_of(file) in _TAKEN
        return known and _matches(file.split("/"), self._parts, leading=False)


def _matches(names: list[str], parts: list[re.Pattern[str] | None], *, leading: bool) -> bool:
    """Whether names match the pattern's parts; `leading`: whether something below them may."""
    if not parts:
        return not names and not leading
    if not names:
        return leading or not any(parts)
    head = parts[0]
    if head is None:
        return _matches(names, parts[1:], leading=leading) or _matches(names[1:], parts, leading=leading)
    return bool(head.match(names[0])) and _matches(names[1:], parts[1:], leading=leading)


def split_glob(url: str) -> tuple[str, str]:
    """(folder, pattern) of a glob: the folder is what comes before the first name with a wildcard in it."""
    start = url.find("://") + 3 if "://" in url else 0
    magic = MAGIC.search(url, start)
    if magic is None:
        raise ManifestError(f"manifest: {printable(url)}: is no glob; use *, ? or [...]")
    cut = url.rfind("/", 0, magic.start())
    return url[:cut] or "/", url[cut + 1 :]


def iter_found(root: str, out: str | None, choice: Choice) -> Iterator[Found]:
    """Pictures and films below a canonical `root`, without `out`. Raises ManifestError if it cannot be listed."""
    if out == root:
        raise ManifestError(f"manifest: {root}: is the output root too; choose another --out, such as {root}/farm-out")
    listed = _iter_remote(root, out, choice) if storage.is_remote(root) else _iter_local(root, out, choice)
    for found in listed:
        if not found.relative.isascii() and (error := _not_utf8(found.relative)):
            found = Found(relative=printable(found.relative), error=error)
        yield found


def _not_utf8(name: str) -> ItemError | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return ItemError(ErrorKind.UNSAFE_PATH, printable(name), "its name is not UTF-8", "rename the file")
    return None


def _iter_remote(root: str, out: str | None, choice: Choice) -> Iterator[Found]:
    outputs = _OutputRoots(root)

    def descend(folder: str, level: Level) -> bool:
        relative = folder[len(root) + 1 : -1]
        if not relative:
            return True
        if relative.endswith("/.farm"):
            outputs.add(relative.removesuffix(".farm"))
        is_output = f"{folder}.farm/" in level or (out is not None and below(folder, out))
        return not is_output and not storage.name(folder).startswith(".") and choice.descend(relative)

    for stat in reading_manifest(root, iter_objects(root, descend)):
        relative = stat.url[len(root) + 1 :]
        hidden, _, _ = f"/{relative}".partition("/.")
        if f"/{relative}".startswith(hidden + "/.farm/") and hidden:
            outputs.add(hidden[1:] + "/")
        if len(hidden) <= len(relative) or (out is not None and below(stat.url, out)):
            continue
        if choice.take(relative) and not outputs.hold(relative):
            yield Found(relative=relative, bytes=stat.bytes, mtime_ns=stat.mtime_ns, etag=stat.etag)


class _OutputRoots:
    """Folders of a store that hold a `.farm`. What sorts behind that name has been preceded by it in the listing; for
    what sorts before it the store is asked, once a folder."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: set[str] = set()
        self._asked: dict[str, bool] = {}

    def add(self, folder: str) -> None:
        """A folder, below the root and with a slash at its end, is one."""
        self._known.add(folder)

    def hold(self, relative: str) -> bool:
        """Whether a file lies in one."""
        if any(relative.startswith(folder) for folder in self._known):
            return True
        folders = (relative[: early.start()] + "/" for early in _EARLY.finditer(relative))
        return any(self._asks(folder) for folder in folders)

    def _asks(self, folder: str) -> bool:
        if folder not in self._asked:
            if len(self._asked) >= _FOLDERS_ASKED:
                self._asked.clear()
            place = f"{self._root}/{folder}.farm/"
            self._asked[folder] = next(iter(reading_manifest(self._root, storage.list_prefix(place))), None) is not None
        return self._asked[folder]


def _iter_local(root: str, out: str | None, choice: Choice) -> Iterator[Found]:
    """Depth first by an explicit stack: a tree may be deeper than Python's own."""
    try:
        top = _entries(root)
    except OSError as error:
        raise ManifestError(f"manifest: {root}: cannot be listed ({error.strerror}); check the path") from error
    stack = [("", iter(top))]
    while stack:
        prefix, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
            continue
        relative = prefix + entry.name
        if entry.is_symlink():
            yield from _linked(entry, relative, root, choice)
        elif entry.is_dir(follow_symlinks=False):
            if entry.path == out or not choice.descend(relative):
                continue
            try:
                inner = _entries(entry.path)
            except OSError as error:
                yield Found(relative=relative, error=_unreadable(entry.path, error))
                continue
            if not os.path.isdir(f"{entry.path}/.farm"):
                stack.append((relative + "/", iter(inner)))
        elif choice.take(relative) and entry.is_file(follow_symlinks=False):
            yield _found(entry, relative)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _found(entry: os.DirEntry[str], relative: str) -> Found:
    """Without a size for a file that went away meanwhile: it ends as missing."""
    try:
        stat = entry.stat()
    except OSError:
        return Found(relative=relative)
    return Found(relative=relative, bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _linked(entry: os.DirEntry[str], relative: str, root: str, choice: Choice) -> Iterator[Found]:
    """A link that stays below the root is taken if it is a file; one that leaves it is refused, if it would matter."""
    target = link_target(entry.path, root)
    is_folder = os.path.isdir(entry.path)
    if not (choice.descend(relative) if is_folder else choice.take(relative)):
        return
    if target is not None:
        found = f"is a link out of {root} to {target}"
        error = ItemError(ErrorKind.UNSAFE_PATH, printable(entry.path), found, "name that file or folder itself")
        yield Found(relative=relative, error=error)
    elif not is_folder:
        yield _found(entry, relative)


def _unreadable(path: str, error: OSError) -> ItemError:
    return ItemError(
        ErrorKind.FORBIDDEN,
        printable(path),
        f"the folder cannot be listed ({error.strerror})",
        "allow this user to read it",
    )
