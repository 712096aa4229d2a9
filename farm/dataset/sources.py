"""The rows of a manifest as sources of training data: named, asked after, and refused where they cannot be one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from farm import manifest, storage
from farm.blocks import UPSCALE, version_word
from farm.config import RunConfig
from farm.errors import ErrorKind, ItemError, UsageError
from farm.kinds import MediaKind
from farm.manifest import FILE_FORMS, Row, canonical, form_of
from farm.manifest.files import read_entries
from farm.records import FileStat, RefusedRow
from farm.sample import SourceRow, safe_key
from farm.storage import faults

_ASKED_ROWS = 1000
"""rows whose versions are asked for at once: a page of a store's listing answers for as many"""
OTHER_TASK = "other_task"
"""rule for rows of a mixed manifest that ask for something else"""


def iter_sources(config: RunConfig, operation: str, out: str) -> Iterator[SourceRow]:
    """Every row of the manifest, in order, with its version. Raises FarmError as reading a manifest does.

    A source that is not there, or may not be read, is refused: when that changes, so does its version, and its pack is
    made again.
    """
    stats = storage.ManyStats()
    rows = _pairs(config) if operation == "pairs" else _singles(config, operation, out)
    while batch := list(islice(rows, _ASKED_ROWS)):
        yield from _asked(batch, stats)


def _singles(config: RunConfig, operation: str, out: str) -> Iterator[SourceRow]:
    for row in manifest.read_manifest(config.manifest, root=config.root, out=out, limit=config.limits.limit):
        yield _source(row, operation)


def _pairs(config: RunConfig) -> Iterator[SourceRow]:
    place = canonical(config.manifest)
    if form_of(config.manifest) not in FILE_FORMS:
        raise UsageError("prepare pairs: two folders say nothing of what belongs together; give a manifest with lq")
    for entry in islice(read_entries(place, config.root or storage.parent(place)), config.limits.limit):
        row = _source(entry.row, "pairs")
        if not row.refusal[0] and entry.lq_url is None:
            row = _refused(row, ItemError(ErrorKind.MISSING, row.url, "has no second picture", "fill the column lq"))
        yield replace(row, lq_url=entry.lq_url)


def _source(row: Row, operation: str) -> SourceRow:
    if isinstance(row, RefusedRow):
        unsafe = SourceRow(url="", relative_path=row.source, key=safe_key(row.source))
        return _refused(unsafe, row.error)
    source = SourceRow(
        url=row.source_url,
        relative_path=row.relative_path,
        key=safe_key(row.relative_path),
        kind=row.kind,
        version=version_word(row),
        sha256=row.sha256,
        bytes=row.bytes,
    )
    if row.task not in (UPSCALE, operation):
        return replace(source, skip=OTHER_TASK)
    wants_film = operation == "frames"
    if (row.kind is MediaKind.VIDEO) == wants_film or operation == "pairs":
        return source
    found, advice = (
        ("is no film", "leave pictures out of the manifest")
        if wants_film
        else ("is a film", "run `farm prepare frames` first and take its pictures, or leave films out")
    )
    return _refused(source, ItemError(ErrorKind.UNSUPPORTED, row.source_url, found, advice))


def _refused(row: SourceRow, error: ItemError) -> SourceRow:
    return replace(row, refusal=(error.kind.value, str(error)), version="")


def _asked(rows: list[SourceRow], stats: storage.ManyStats) -> Iterator[SourceRow]:
    wanted = [row.url for row in rows if _is_open(row) and not row.version]
    pairs = [row.lq_url for row in rows if _is_open(row) and row.lq_url]
    answers = dict(zip([*wanted, *pairs], stats.ask([*wanted, *pairs]), strict=True))
    for row in rows:
        if _is_open(row):
            row = _with_version(row, answers)
        yield row


def _is_open(row: SourceRow) -> bool:
    return not row.skip and not row.refusal[0]


def _with_version(row: SourceRow, answers: dict[str, FileStat | ItemError]) -> SourceRow:
    if not row.version:
        answer = _answer(row.url, answers)
        if isinstance(answer, ItemError):
            return _refused(row, answer)
        row = replace(row, version=answer.version, bytes=answer.bytes)
    if row.lq_url:
        answer = _answer(row.lq_url, answers)
        if isinstance(answer, ItemError):
            return _refused(row, answer)
        row = replace(row, lq_version=answer.version)
    return row


def _answer(url: str, answers: dict[str, FileStat | ItemError]) -> FileStat | ItemError:
    """What is known of a file. A store that cannot say is no fault of the row: it ends the run."""
    answer = answers[url]
    if isinstance(answer, ItemError) and answer.kind is ErrorKind.STORAGE_ERROR:
        with faults.run_level(url):
            raise answer
    return answer
