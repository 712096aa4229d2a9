"""Where a row's source lies, and which sources are refused: a manifest is data, and may be hostile.

A source is a path below the root, an absolute path, or a file://, s3:// or cos:// URL. Refused are other schemes, `..`,
NUL, what is not UTF-8, what names no file, and what leaves the root through a symbolic link. Names are otherwise taken
byte for byte: spaces, %, #, ?, newlines, leading dashes and both Unicode forms mean themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar
from urllib.parse import unquote

from farm import storage
from farm.errors import DiskError, ErrorKind, ItemError, ManifestError, UsageError, without_credentials
from farm.storage.urls import below

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_STORES = ("s3", "cos")
_FOLDERS_KEPT = 10_000
_SHOWN = 1000
T = TypeVar("T")


def canonical(url: str) -> str:
    """What a person named, as the rows have it: absolute, no slash at the end, the links of its folder resolved.

    A folder's own link is resolved too; a file keeps its name. Raises ManifestError for schemes that are not read.
    """
    scheme = _SCHEME.match(url)
    if scheme and scheme[1].lower() in _STORES:
        return f"{scheme[1].lower()}://{url[scheme.end() :].rstrip('/')}"
    if scheme and scheme[1].lower() != "file":
        raise ManifestError(
            f"manifest: {printable(url)}: scheme {scheme[1]!r} is not read; use a path, s3:// or cos://"
        )
    try:
        path = os.path.abspath(str(storage.local_path(url)))
        is_folder = os.path.isdir(path)
        folder = os.path.realpath(path if is_folder else os.path.dirname(path))
        if not is_utf8(folder):
            raise ManifestError(f"manifest: {printable(url)}: its folder's name is not UTF-8; rename it")
        return folder if is_folder else os.path.join(folder, os.path.basename(path))
    except ValueError as error:
        raise ManifestError(f"manifest: {printable(url)}: is not a path ({error}); check it") from error


def printable(text: str) -> str:
    """`text` on one line, without credentials in URLs, with control characters and what is not Unicode escaped, cut at
    1000 characters."""
    kept = without_credentials(text[:_SHOWN])
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in kept)
    return shown + ("..." if len(text) > _SHOWN else "")


def link_target(path: str, root: str) -> str | None:
    """Where a link below `root` leads if it leads out of it, else None; for what is no link, None."""
    if not os.path.islink(path):
        return None
    target = os.path.realpath(path)
    return None if below(target, root) else target


def reading_manifest(url: str, values: Iterable[T]) -> Iterator[T]:
    """`values`, read from the manifest itself: what fails there fails the run and not a row.

    Raises DiskError where the storage failed, ManifestError where there is nothing to be read.
    """
    try:
        yield from values
    except ItemError as error:
        kind = DiskError if error.kind.retryable else ManifestError
        raise kind(f"manifest: {printable(url)}: {error.found}; {error.advice}") from error


class Plain(Enum):
    """What somebody else has found in the text of a source, so that its rules need not be asked again."""

    NO = auto()
    """nothing is known"""
    RELATIVE = auto()
    """a path of plain segments"""
    ABSOLUTE = auto()
    """the same after a slash"""
    OBJECT = auto()
    """the same after s3://BUCKET/ or cos://BUCKET/"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Folder:
    """A local folder that sources name, by its path with a slash at the end."""

    real: str
    """the same with its links resolved"""
    inside: bool
    """whether it is the root or lies below it"""
    is_there: bool
    """what is not there holds no link"""


class SourceRules:
    """Resolves the sources of one manifest against its root."""

    def __init__(self, root: str) -> None:
        self.root = canonical(root)
        self._remote = storage.is_remote(self.root)
        self._below = self.root.rstrip("/") + "/"
        self._folders: dict[str, _Folder] = {}

    def resolve(self, source: str, plain: Plain = Plain.NO) -> tuple[str, str]:
        """(URL, path below the root) of a source.

        Sources outside the root get `_file/PATH`, `_s3/BUCKET/KEY` or `_cos/BUCKET/KEY` as their path: stable, and
        never the same for two of them. Raises ItemError(unsafe_path).
        """
        if plain is not Plain.NO:
            return self._resolve_plain(source, plain)
        check_text(source)
        scheme = _SCHEME.match(source)
        if scheme is None:
            return self._path(source)
        rest = source[scheme.end() :]
        if scheme[1].lower() in _STORES:
            return self._object(scheme[1].lower(), rest, source)
        if scheme[1].lower() != "file":
            raise _unsafe(source, f"scheme {scheme[1]!r} is not read", "use a path, s3:// or cos://")
        host, slash, path = rest.partition("/")
        if not slash or host not in ("", "localhost"):
            raise _unsafe(source, "names another machine", "write file:///PATH")
        path = "/" + unquote(path, errors="surrogateescape")
        check_text(path)
        return self._path(path)

    def _resolve_plain(self, source: str, plain: Plain) -> tuple[str, str]:
        if plain is Plain.OBJECT:
            inside = source.startswith(self._below)
            return source, source[len(self._below) :] if inside else f"_{source.replace('://', '/', 1)}"
        if plain is Plain.ABSOLUTE:
            return self._local(source, source)
        url = self._below + source
        return (url, source) if self._remote else self._local(url, source)

    def _path(self, source: str) -> tuple[str, str]:
        if source.startswith("/"):
            return self._local(source, source)
        segments = [segment for segment in source.split("/") if segment != "."]
        relative = "/".join(segment for segment in segments if segment)
        if self._remote:  # an empty segment is part of an object's key
            return f"{self.root}/{'/'.join(segments)}", relative
        return self._local(self._below + relative, source)

    def _local(self, path: str, source: str) -> tuple[str, str]:
        """A local path with the links of its folder resolved; the file itself may be a link that stays inside."""
        name_at = path.rfind("/") + 1
        folder = self._folders.get(path[:name_at]) or self._folder(path[:name_at])
        url = folder.real + path[name_at:]
        if not folder.inside:
            if not self._remote and below(path, self.root):
                found = f"leads out of {self.root} to {folder.real.rstrip('/')} through a link"
                raise _unsafe(source, found, "name that folder itself")
            return url, f"_file{url}"
        if folder.is_there:
            self.check_link(url, source)
        return url, url[len(self._below) :]

    def _folder(self, path: str) -> _Folder:
        """What is known of a folder, found out once: a manifest names few folders many times."""
        if len(self._folders) >= _FOLDERS_KEPT:
            self._folders.clear()
        real = os.path.realpath(path)
        found = self._folders[path] = _Folder(
            real=real.rstrip("/") + "/",
            inside=not self._remote and below(real, self.root),
            is_there=os.path.isdir(real),
        )
        return found

    def check_link(self, url: str, source: str | None = None) -> None:
        """Raise ItemError(unsafe_path) for a local path inside the root that is a link out of it."""
        target = None if self._remote or not below(url, self.root) else link_target(url, self.root)
        if target is not None:
            raise _unsafe(source or url, f"is a link out of {self.root} to {target}", "name that file itself")

    def _object(self, scheme: str, rest: str, source: str) -> tuple[str, str]:
        bucket, _, key = rest.partition("/")
        if not _BUCKET.fullmatch(bucket) or not key:
            raise _unsafe(source, "is not BUCKET/KEY", f"write {scheme}://BUCKET/KEY, without credentials")
        try:
            storage.split_key(f"{scheme}://{rest}")
        except UsageError as error:
            raise _unsafe(source, f"{bucket} is no bucket there", "correct its name") from error
        url = f"{scheme}://{rest}"
        inside = self._remote and below(url, self.root)
        path = url[len(self.root) + 1 :] if inside else f"_{scheme}/{rest}"
        return url, "/".join(segment for segment in path.split("/") if segment not in ("", "."))


def check_text(source: str) -> None:
    """Raise ItemError(unsafe_path) for what no scheme may hold."""
    found = ""
    if "\0" in source:
        found = "holds a NUL"
    elif not is_utf8(source):
        found = "is not UTF-8"
    elif ".." in source and ".." in source.split("/"):
        found = "holds `..`"
    elif source.rpartition("/")[2] in ("", "."):
        found = "names no file"
    elif source.count("://") > 1 or ("://" in source and not _SCHEME.match(source)):
        found = "holds a second scheme"
    if found:
        raise _unsafe(source, found, "name a file below the root, or by an absolute path or URL")


def is_utf8(text: str) -> bool:
    """Whether text is what Unicode can say: names of a disk need not be."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unsafe(source: str, found: str, advice: str) -> ItemError:
    return ItemError(ErrorKind.UNSAFE_PATH, printable(source), found, advice)
