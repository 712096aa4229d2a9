"""A model's weight file: where it lies, whether it is the right one, and how it gets here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from farm import storage
from farm.errors import DiskError, FarmError, ModelError
from farm.fetch.download import TransferError, download, shown, size_of
from farm.storage import faults, local
from sr_kernel.cache import cache_folder
from sr_kernel.models import BOX, DATA_FOLDER, ModelSpec

DIR_VARIABLE = "FARM_WEIGHTS_DIR"
MIRROR_VARIABLE = "FARM_WEIGHTS_MIRROR"
_CHUNK_BYTES = 1 << 20
_DIGEST_MARK = "#sha256="
_SHA256 = re.compile(r"[0-9a-f]{64}")
Progress = Callable[[int, int], None]
"""called with (bytes here, bytes in all)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteWeights:
    """A weight file on an object store, pinned by its digest: `s3://BUCKET/NAME.pth#sha256=HEX`."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.url

    @property
    def bytes(self) -> int:
        """0: the store says it."""
        return 0

    @property
    def path(self) -> Path:
        """Where it lies in the cache. The file keeps its name, because models are called by it."""
        return cache_folder("weights") / "by-sha256" / self.sha256 / storage.name(self.url)


def parse_remote(model: str) -> RemoteWeights | None:
    """What `model` says if it is an object store's URL, else None. Raises ModelError where the digest is missing."""
    if not storage.is_remote(model):
        return None
    url, _, digest = model.rpartition(_DIGEST_MARK)
    if not url or not _SHA256.fullmatch(digest.lower()):
        raise ModelError(
            f"model {model}: weights on a store are pinned by their digest; write {url or model}{_DIGEST_MARK}HEX, "
            "with the 64 digits that sha256sum prints"
        )
    return RemoteWeights(url=url, sha256=digest.lower())


def ensure_file(model: str, progress: Progress | None = None) -> Path:
    """A weight file given by path, or by an object store's URL: then fetched into the cache, once, and verified.

    Raises ModelError, DiskError. A path is not looked at.
    """
    remote = parse_remote(model)
    if remote is None:
        return Path(model)
    if not _is_right(remote, remote.path):
        try:
            _obtain(remote, remote.url, remote.path, progress)
        except TransferError as error:
            raise ModelError(f"model {remote.url}: {error}; check the URL, the digest and the store") from error
    return remote.path


def folders(weights_dir: str | None = None) -> tuple[Path, ...]:
    """Where weights are looked for, in order: `weights_dir`, FARM_WEIGHTS_DIR, the user's cache."""
    named = (weights_dir, os.environ.get(DIR_VARIABLE))
    return (*(Path(one).expanduser() for one in named if one), cache_folder("weights"))


def places(spec: ModelSpec, weights_dir: str | None = None) -> tuple[Path, ...]:
    """Where the model's file may lie, in order. Of the model that ships it is one place: what else lies about must not
    decide what the default is."""
    return tuple(folder / spec.file for folder in ((DATA_FOLDER,) if spec.name == BOX else folders(weights_dir)))


def locate(spec: ModelSpec, weights_dir: str | None = None) -> Path | None:
    """The first of places() that has the model's size; None when there is none. Its digest is not checked."""
    for path in places(spec, weights_dir):
        if path.is_file() and spec.bytes in (0, path.stat().st_size):
            return path
    return None


def verify(spec: ModelSpec | RemoteWeights, path: Path) -> None:
    """Raises ModelError unless the file has the size and the sha256 that are pinned, where they are."""
    try:
        size, digest = path.stat().st_size, sha256_of(path)
    except OSError as error:
        raise ModelError(f"model {spec.name}: {path}: {error.strerror}; check the file") from error
    if spec.bytes not in (0, size):
        raise ModelError(f"model {spec.name}: {path}: {size} bytes, not {spec.bytes}; delete it")
    if spec.sha256 not in ("", digest):
        raise ModelError(f"model {spec.name}: {path}: sha256 is {digest}, not {spec.sha256}; delete it")
    if isinstance(spec, ModelSpec) and not digest.startswith(spec.digest_start):
        raise ModelError(f"model {spec.name}: {path}: sha256 is {digest}, not {spec.digest_start}...; delete it")


def ensure(
    spec: ModelSpec, weights_dir: str | None = None, progress: Progress | None = None, *, unverified: bool = False
) -> Path:
    """The model's file, verified; fetched into the cache when no folder has it.

    However many processes ask at once, one downloads and the others wait for it. An interrupted download is taken up
    where it ended. A file of which no digest is known is fetched only for who says `unverified`. Raises ModelError,
    which says where it looked and how to get the weights; DiskError.
    """
    path = locate(spec, weights_dir)
    if path is None or (path.parent == cache_folder("weights") and not _is_right(spec, path)):
        return _fetch(spec, weights_dir, progress, unverified)
    verify(spec, path)
    return path


def _fetch(spec: ModelSpec, weights_dir: str | None, progress: Progress | None, unverified: bool) -> Path:
    if spec.name == BOX:
        raise ModelError(
            f"model {BOX}: {DATA_FOLDER / spec.file} ships with the farm and is not there; install it again"
        )
    if not source_url(spec):
        raise _not_here(spec, weights_dir, "there is no release")
    if not (spec.sha256 or unverified):
        why = "its digest is not known, so a download could not be checked"
        raise _not_here(spec, weights_dir, f"{why} (`farm models fetch {spec.name}` fetches it all the same)")
    target = cache_folder("weights") / spec.file
    try:
        _obtain(spec, source_url(spec), target, progress)
    except TransferError as error:
        raise _not_here(spec, weights_dir, str(error)) from error
    return target


def _obtain(wanted: ModelSpec | RemoteWeights, url: str, target: Path, progress: Progress | None) -> None:
    """Fetch `target` unless it is there and right; one process does, the others wait for it."""
    try:
        with faults.writing(str(target), wanted.bytes):
            local.make_folder(target.parent)
            with (target.parent / f".{target.name}.lock").open("wb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not _is_right(wanted, target):
                    _download(wanted, url, target, progress)
    except (ModelError, DiskError, TransferError):
        raise
    except FarmError as error:
        raise ModelError(f"model {wanted.name}: {error}") from error


def _download(wanted: ModelSpec | RemoteWeights, url: str, target: Path, progress: Progress | None) -> None:
    part = target.with_name(f".{target.name}.part")
    download(url, part, wanted.bytes or size_of(url), progress)
    try:
        verify(wanted, part)
    except ModelError as error:
        part.unlink()
        raise TransferError(f"{shown(url)} holds another file: {error}") from error
    os.replace(part, target)
    local.sync_folder(target.parent)


def source_url(spec: ModelSpec) -> str:
    """Where the file is fetched from: the release, or its name below FARM_WEIGHTS_MIRROR.

    The mirror is http, https, an object store's folder or a local one.
    """
    mirror = os.environ.get(MIRROR_VARIABLE)
    if mirror and "@" in mirror.partition("://")[2].partition("/")[0]:
        raise ModelError(f"{MIRROR_VARIABLE}: the address holds credentials; use a mirror that asks for none")
    return storage.join(mirror, spec.file) if mirror else spec.url


def _not_here(spec: ModelSpec, weights_dir: str | None, why: str) -> ModelError:
    looked = ", ".join(str(folder) for folder in folders(weights_dir))
    instead = f"; --model {BOX} needs no file" if spec.role == "restore" else ""
    return ModelError(
        f"model {spec.name}: {spec.file} is not in {looked}, and {why}; put it into one of these folders, "
        f"name another with --weights-dir or {DIR_VARIABLE}, or set {MIRROR_VARIABLE} to where it can be fetched"
        f"{instead}"
    )


def _is_right(spec: ModelSpec | RemoteWeights, path: Path) -> bool:
    try:
        verify(spec, path)
    except ModelError:
        return False
    return True


def sha256_of(path: Path) -> str:
    """The digest of a file; computed once a process while its size and time stay. Raises OSError."""
    found = path.stat()
    return _digest(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(path: Path, _size: int, _mtime_ns: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
