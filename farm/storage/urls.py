"""Arithmetic on URLs: a plain absolute path, file://, s3:// and cos://. No I/O."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from urllib.parse import unquote

from farm.errors import ErrorKind, ItemError, UsageError
from farm.storage.schemes import SCHEMES

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme(url: str) -> str | None:
    """The lower-case scheme in front of ``://``; None for a plain path."""
    match = _SCHEME.match(url)
    return match.group(1).lower() if match else None


def is_remote(url: str) -> bool:
    """Whether the URL lies on an object store that we know."""
    return scheme(url) in SCHEMES


def join(root: str, *parts: str) -> str:
    """`root` and `parts` with one slash between them; the parts are taken as they are, `..` included."""
    return "/".join([root.rstrip("/"), *(part.strip("/") for part in parts if part.strip("/"))]) or "/"


def parent(url: str) -> str:
    """The URL without its last component; a bucket and / are their own parents."""
    start = _path_start(url)
    head = posixpath.dirname(url[start:].rstrip("/") or "/")
    return url[:start] + (head.rstrip("/") if start else head) or "/"


def name(url: str) -> str:
    """The last component; empty for a bucket and for /."""
    return posixpath.basename(url[_path_start(url) :].rstrip("/"))


def local_path(url: str) -> Path | None:
    """The path of a local URL, None for an object store's.

    Raises ItemError(unsupported) for schemes that we do not read.
    """
    found = scheme(url)
    if found is None:
        return Path(url)
    if found == "file":
        host, slash, path = url[len("file://") :].partition("/")
        if not slash or host not in ("", "localhost"):
            raise ItemError(ErrorKind.UNSUPPORTED, url, "names another machine", "write file:///PATH")
        return Path("/" + unquote(path, errors="surrogateescape"))
    if found in SCHEMES:
        return None
    raise ItemError(ErrorKind.UNSUPPORTED, url, f"the scheme {found}:// is not read", _known())


def split_key(url: str) -> tuple[str, str, str]:
    """(scheme, bucket, key) of an object store's URL.

    Raises UsageError where credentials stand in the URL (without repeating them), where the bucket is missing, and
    where no bucket of that store has such a name.
    """
    found = scheme(url)
    if found is None or found not in SCHEMES:
        raise ItemError(ErrorKind.UNSUPPORTED, url, "not an object store's URL", _known())
    bucket, _, key = url.split("://", 1)[1].partition("/")
    if "@" in bucket:
        raise UsageError(f"{found}://: the URL holds credentials; put them into the AWS environment or configuration")
    if not bucket:
        raise UsageError(f"{url}: the bucket is missing; write {found}://BUCKET/KEY")
    if not SCHEMES[found].bucket.fullmatch(bucket):
        raise UsageError(f"{url}: {bucket} is no bucket of {SCHEMES[found].title}; write {SCHEMES[found].bucket_rule}")
    return found, bucket, key


def _known() -> str:
    return f"use a path, file://{''.join(f' or {one}://' for one in SCHEMES)}"


def _path_start(url: str) -> int:
    match = _SCHEME.match(url)
    if match is None:
        return 0
    if match.group(1).lower() not in SCHEMES:
        return match.end()
    slash = url.find("/", match.end())
    return slash if slash >= 0 else len(url)


def below(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or lies in it; both canonical."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
