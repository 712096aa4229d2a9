"""What lies in an output root against what its ledger says is done: `farm verify RUN`.

Every output, or one of so many shares of them, is read: it must be there, with the recorded size and digest, and decode
to the recorded width, height and number of frames. One that cannot be read just now, as its disk or store does not let
us, is no damage: nothing is known of it. Nothing is written and no lock is taken.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from farm import ledger, manifest, shards, storage
from farm.checks import at_least
from farm.errors import ErrorKind, FarmError, ItemError, UsageError
from farm.kinds import EXTENSION_FORMATS, extension_of
from farm.media import image, video
from farm.progress import size as shown_size
from farm.sample import OPERATIONS
from farm.storage import faults

_WHOLE_BYTES = 32 << 20
"""files up to this size are read once, for their digest and their pixels; larger ones once for each"""
_ANY_PX = 1 << 48
"""what is decoded was made by us, and its size is compared before"""
_AHEAD = 4
"""outputs that wait for each thread"""
_COLUMNS = ["output", "status", "sha256", "bytes", "width", "height", "frames", "model"]
"""of the ledger that are looked at"""
_ROWS = 1024
_NAMED = 10_000
"""damaged outputs that are held to be named"""
_INDEX = "json"
"""extension of the output that stands for a numbered sequence"""
_UNREAD = frozenset({ErrorKind.STORAGE_ERROR, ErrorKind.FORBIDDEN})
"""classes that say nothing of what an output holds"""
_REDO = "run the same submit again with --verify-outputs to make it anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyConfig:
    """What is looked at, and how."""

    root: str
    """an output root, on a disk or a store"""
    share: int = 1
    """1..`shares`: which of so many parts of the outputs; each output is in exactly one, by its name"""
    shares: int = 1
    workers: int | None = None
    """threads that read and decode; None means two a core"""
    decode: bool = True

    def __post_init__(self) -> None:
        at_least("workers", self.threads, 1)
        if not 1 <= self.share <= self.shares:
            raise UsageError(f"--subset: {self.share}/{self.shares} is no share; give one such as 3/7")

    @property
    def threads(self) -> int:
        return 2 * (os.cpu_count() or 1) if self.workers is None else self.workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """An output that is not as the ledger says."""

    output: str
    sha256: str
    """that the ledger says of it"""
    messages: tuple[str, ...]
    """of each of its files that is wrong, ``class: url: what was found (what was expected); what to do``"""


@dataclass(slots=True)
class Verified:
    """What was looked at, and what is wrong."""

    outputs: int = 0
    """that were looked at"""
    files: int = 0
    """of them: a set of training data or a sequence has several"""
    bytes: int = 0
    damaged: int = 0
    unread: int = 0
    """that could not be read just now, and are not known to be damaged"""
    unjudged: int = 0
    """outputs whose decoder this machine lacks; their digests are right"""
    named: list[Damage] = field(default_factory=list[Damage])
    """the first damaged ones"""
    refused: list[FarmError] = field(default_factory=list[FarmError])
    """the first errors of those that could not be read, of a run that would need them"""

    @property
    def exit_code(self) -> int:
        return 3 if self.damaged else max((one.exit_code for one in self.refused), default=0)

    def __str__(self) -> str:
        files = f" in {self.files} files" if self.files > self.outputs else ""
        undecoded = f", {self.unjudged} not decoded: this machine lacks the decoder" if self.unjudged else ""
        unread = f", {self.unread} that could not be read" if self.unread else ""
        right = self.outputs - self.damaged - self.unread
        wrong = f"{self.damaged} damaged or missing{unread}"
        return f"{right} outputs as recorded, {wrong} ({shown_size(self.bytes)}{files}){undecoded}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """What the ledger says of an output, or a list of files says of one of them."""

    url: str
    sha256: str
    """empty where nothing is known of it, as for the next"""
    bytes: int | None
    width: int = 0
    height: int = 0
    frames: int = 0
    model: str = ""
    advice: str = _REDO

    @property
    def is_index(self) -> bool:
        """Whether it is the list of a sequence's pictures."""
        return extension_of(self.url) == _INDEX

    @property
    def is_part(self) -> bool:
        """Whether it is the last table of some files of training data."""
        return self.model in OPERATIONS


@dataclass(slots=True)
class _Found:
    """What looking at one output has given."""

    record: _Record
    files: int = 0
    bytes: int = 0
    unjudged: bool = False
    wrong: list[ItemError] = field(default_factory=list[ItemError])
    unread: list[ItemError] = field(default_factory=list[ItemError])

    def note(self, error: ItemError, url: str, advice: str) -> None:
        """What keeps a file from being as recorded, or from being looked at."""
        if error.kind in _UNREAD:
            self.unread.append(error)
        else:
            self.wrong.append(ItemError(error.kind, url, error.found, advice))


def verify(config: VerifyConfig, on_progress: Callable[[Verified], None] = lambda _: None) -> Verified:
    """Look at every output of the share. Raises UsageError where there is no ledger, and what farm.storage raises."""
    root = manifest.canonical(config.root)
    total, waiting = Verified(), set[Future[_Found]]()
    with ThreadPoolExecutor(config.threads, thread_name_prefix="verify") as pool:
        try:
            for record in _records(root, config):
                waiting.add(pool.submit(_look, root, record, decode=config.decode))
                while len(waiting) >= _AHEAD * config.threads:
                    waiting = _take(total, waiting, on_progress)
            while waiting:
                waiting = _take(total, waiting, on_progress)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    _forget_replaced(total, root, config)
    return total


def _take(
    total: Verified, waiting: set[Future[_Found]], on_progress: Callable[[Verified], None]
) -> set[Future[_Found]]:
    """Count what has been looked at."""
    ended, left = wait(waiting, return_when=FIRST_COMPLETED)
    for found in (future.result() for future in ended):
        total.outputs += 1
        total.files += found.files
        total.bytes += found.bytes
        total.unjudged += found.unjudged
        total.damaged += bool(found.wrong)
        total.unread += bool(found.unread and not found.wrong)
        if found.wrong and len(total.named) < _NAMED:
            messages = tuple(map(str, found.wrong))
            total.named.append(Damage(output=found.record.url, sha256=found.record.sha256, messages=messages))
        total.refused += map(_of_the_run, found.unread[: _NAMED - len(total.refused)])
    on_progress(total)
    return left


def _of_the_run(error: ItemError) -> FarmError:
    """What a run that needs the file would end with."""
    try:
        with faults.run_level(error.url):
            raise error
    except FarmError as ended:
        return ended


def _forget_replaced(total: Verified, root: str, config: VerifyConfig) -> None:
    """A run that works meanwhile makes outputs anew: what the ledger says otherwise of by now was not damaged."""
    if not total.named:
        return
    named = {one.output for one in total.named}
    now = {record.url: record.sha256 for record in _records(root, config) if record.url in named}
    kept = [one for one in total.named if now.get(one.output) == one.sha256]
    total.damaged -= len(total.named) - len(kept)
    total.named = sorted(kept, key=lambda one: one.output)


# -- what the ledger says ----------------------------------------------------------------------------------------


def _records(root: str, config: VerifyConfig) -> Iterator[_Record]:
    """The outputs of the share."""
    found, named = False, _named_parts(root)
    for table in ledger.iter_results(root, _COLUMNS):
        for row in _rows(table):
            found = True
            if row["status"] != "done" or _share_of(row["output"], root, config.shares) != config.share:
                continue
            record = _record(row)
            if not record.is_part or named is None or record.url in named:
                yield record
    if not found:
        raise UsageError(f"{root}: no ledger of a run is in it; name what --out named")


def _named_parts(root: str) -> set[str] | None:
    """The parts of a data set that is complete; those of its earlier states were removed. None where there is none."""
    try:
        index = shards.read_index(root)
    except ItemError as error:
        if error.kind is not ErrorKind.MISSING:
            raise _of_the_run(error) from error
        return None
    return {storage.join(root, shards.sources_path(part.name)) for part in index.parts}


def _rows(table: ledger.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_ROWS):
        yield from batch.to_pylist()


def _record(row: dict[str, Any]) -> _Record:
    return _Record(
        url=row["output"], **{name: row[name] for name in ("sha256", "bytes", "width", "height", "frames", "model")}
    )


def _share_of(url: str, root: str, shares: int) -> int:
    """1..shares, by the name below the root: the same wherever the root lies."""
    below = url.removeprefix(root).lstrip("/")
    return int(hashlib.sha256(below.encode("utf-8", "surrogateescape")).hexdigest()[:12], 16) % shares + 1


# -- what is there -----------------------------------------------------------------------------------------------


def _look(root: str, record: _Record, *, decode: bool) -> _Found:
    found = _Found(record=record)
    if not _check(found, record, decode=decode and not record.is_part and not record.is_index):
        return found
    try:
        for member in _members(root, record):
            _check(found, member, decode=decode and member.width > 0)
    except ItemError as error:
        found.note(error, error.url, error.advice)
    return found


def _check(found: _Found, record: _Record, *, decode: bool) -> bool:
    """Look at one file; whether it is as recorded."""
    found.files += 1
    try:
        size, data = _compare(record)
        found.bytes += size
        found.unjudged |= decode and not _decode(record, data)
    except ItemError as error:
        found.note(error, record.url, record.advice)
        return False
    return True


def _compare(record: _Record) -> tuple[int, bytes | None]:
    """(bytes, content if it is small) of a file that is as recorded. Raises ItemError for all others."""
    there = storage.stat(record.url)
    if record.bytes is not None and there.bytes != record.bytes:
        raise _differs(record, f"{there.bytes} bytes (recorded: {record.bytes})")
    data = storage.read_bytes(record.url) if there.bytes <= _WHOLE_BYTES else None
    digest = storage.sha256_of(record.url) if data is None else hashlib.sha256(data).hexdigest()
    if record.sha256 and digest != record.sha256:
        raise _differs(record, f"sha256 {digest[:16]} (recorded: {record.sha256[:16]})")
    return there.bytes, data


def _differs(record: _Record, found: str) -> ItemError:
    return ItemError(ErrorKind.CORRUPT, record.url, found, record.advice)


def _decode(record: _Record, data: bytes | None) -> bool:
    """Whether this machine has its decoder. Raises ItemError unless it decodes to the recorded size."""
    try:
        size, frames = _shown(record, data)
    except ItemError as error:
        if error.kind is ErrorKind.UNSUPPORTED:
            return False
        raise
    if (*size, frames) != (record.width, record.height, record.frames):
        found = f"{size[0]} x {size[1]}" + (f", {frames} frames" if frames else "")
        wanted = f"{record.width} x {record.height}" + (f", {record.frames} frames" if record.frames else "")
        raise _differs(record, f"{found} (recorded: {wanted})")
    return True


def _shown(record: _Record, data: bytes | None) -> tuple[tuple[int, int], int]:
    """(width, height) and frames, 0 for a picture, of what it decodes to. Raises ItemError."""
    with storage.open_read(record.url) if data is None else BytesIO(data) as file:
        if record.frames:
            shown = video.read_frames(file, record.url, _ANY_PX)
            return (shown.film.source.width, shown.film.source.height), len(shown.stamps)
        header = image.prove(file, record.url, image.ReadLimits(max_pixels=_ANY_PX, pages="first"))
        return (header.width, header.height), 0


# -- outputs of several files --------------------------------------------------------------------------------------


def _members(root: str, record: _Record) -> Iterator[_Record]:
    """The files that an output stands for beside itself. Raises ItemError where its list of them cannot be read."""
    advice = f"delete {record.url} and run the same command again, which makes all of them anew"
    if record.is_part:
        yield from _files_of_part(root, record.url, advice)
    elif record.is_index:
        yield from _pictures_of(record.url, advice)


def _files_of_part(root: str, url: str, advice: str) -> Iterator[_Record]:
    """The tables and shards of a part; of a tree every sample's files."""
    name = url.removeprefix(storage.join(root, shards.sources_path(""))[: -len(".parquet")]).removesuffix(".parquet")
    part = shards.read_part(root, name)
    others = [file for file in part.files if file.path != shards.sources_path(name)]
    for file in others:
        yield _Record(url=storage.join(root, file.path), sha256=file.sha256, bytes=file.bytes, advice=advice)
    if [file.path for file in others] != [shards.samples_path(name)]:
        return  # their bytes are in the shards
    for path, sha256, size, width, height in shards.iter_members(root, name):
        is_picture = extension_of(path) in EXTENSION_FORMATS
        yield _Record(
            url=storage.join(root, path),
            sha256=sha256,
            bytes=size,
            width=width if is_picture else 0,
            height=height if is_picture else 0,
            advice=advice,
        )


def _pictures_of(url: str, advice: str) -> Iterator[_Record]:
    """The pictures of a numbered sequence; lists of earlier versions say neither their sizes nor their digests."""
    index: dict[str, Any] = json.loads(storage.read_bytes(url))
    names: list[str] = index["names"]
    nothing: list[None] = [None] * len(names)
    known = zip(names, index.get("sha256") or nothing, index.get("bytes") or nothing, strict=True)
    for name, sha256, size in known:
        yield _Record(
            url=storage.join(storage.parent(url), name),
            sha256=sha256 or "",
            bytes=size,
            width=index["width"],
            height=index["height"],
            advice=advice,
        )
