"""The join of a pack: its sources' reports in, the files of one part out, `sources/PART.parquet` last."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from farm import storage
from farm.errors import ErrorKind, ItemError, UsageError
from farm.records import ItemStatus
from farm.sample import FORMS, Sample, SourceReport
from farm.shards import place
from farm.shards.form import FormWriter, ParquetWriter, TreeWriter, as_file
from farm.shards.index import PackFile, PartEntry, part_from_values
from farm.shards.lmdb_folder import LmdbWriter, load_lmdb
from farm.shards.stored import StoredMember, digest_of
from farm.shards.table import TableWriter, sample_values, samples_schema, source_values, sources_schema
from farm.shards.tar import TarWriter

_NOTE = "farm-part"
"""in the footer of `sources`: the part's entry, but for that file itself"""
_STATES = tuple(one.value for one in ItemStatus)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSpec:
    """How a pack is kept."""

    form: str
    """one of farm.sample.FORMS"""
    part: str
    """name of the part: a file name without extension, and without dots"""
    roles: tuple[str, ...]
    """members of each sample"""
    source_columns: Mapping[str, type]
    sample_columns: Mapping[str, type]
    """the operation's"""
    key: str = ""
    """what stores keep with each object: the item's"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A pack that is complete."""

    published: storage.Published
    """of `sources`, the item's output"""
    part: PartEntry


def check_form(form: str) -> None:
    """Raises UsageError for a form that is unknown, or that this machine lacks a package for."""
    if form not in FORMS:
        raise UsageError(f"form: {form!r} is not one of {', '.join(FORMS)}")
    if form == "lmdb":
        load_lmdb()


def write_pack(spec: PackSpec, reports: Iterable[SourceReport], root: storage.OutputRoot) -> Written:
    """Publish a pack: the data of its form, then `samples`, then `sources`.

    Reports are taken one at a time, in order, and let go. Of a tree the members' files are not looked at: who made
    them has published them. Raises the storage's errors, DiskError where scratch has no room, UsageError as
    check_form(), ItemError(unsupported) for a name that the form cannot hold, and ValueError for reports that
    contradict the spec or each other.
    """
    check_form(spec.form)
    with ExitStack() as stack:
        pack = _Pack(spec, root, stack)
        for report in reports:
            pack.add(report)
        return pack.finish()


def read_part(out: str, part: str) -> PartEntry:
    """What write_pack has made of a part, from its `sources` alone.

    Raises the storage's errors, and ItemError(corrupt) for a file that is none of ours.
    """
    import pyarrow
    from pyarrow import parquet

    arrow, path = cast(Any, pyarrow), place.sources_path(part)
    url = storage.join(out, path)
    data = storage.read_bytes(url)
    try:
        notes: Mapping[bytes, bytes] = cast(Any, parquet).read_metadata(arrow.BufferReader(data)).metadata or {}
        entry = part_from_values(json.loads(notes[_NOTE.encode()]))
    except (arrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ItemError(ErrorKind.CORRUPT, url, f"no table of a part ({error})", "delete it and run again") from error
    own = PackFile(path=path, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return replace(entry, files=(*entry.files, own))


def iter_members(out: str, part: str) -> Iterator[tuple[str, str, int, int, int]]:
    """(path below the output root, sha256, bytes, width, height) of every sample's files of a part that is a tree.

    Raises the storage's errors, and ItemError(corrupt) for a table that is none of ours.
    """
    from pyarrow import parquet

    url = storage.join(out, place.samples_path(part))
    try:
        with storage.open_read(url) as source:
            file = cast(Any, parquet).ParquetFile(source)
            roles = [name.removesuffix("_sha256") for name in file.schema_arrow.names if name.endswith("_sha256")]
            names = [[f"{role}_{what}" for what in ("path", "sha256", "bytes", "width", "height")] for role in roles]
            for batch in file.iter_batches(columns=[name for one in names for name in one]):
                for row in batch.to_pylist():
                    members = (tuple(row[name] for name in one) for one in names)
                    yield from (member for member in members if member[0] is not None)
    except (KeyError, ValueError, OSError) as error:  # ArrowInvalid is a ValueError
        raise ItemError(ErrorKind.CORRUPT, url, f"no table of samples ({error})", "delete it and run again") from error


class _Pack:
    """A part that is being written."""

    def __init__(self, spec: PackSpec, root: storage.OutputRoot, stack: ExitStack) -> None:
        self._spec = spec
        self._root = root
        self._data = stack.enter_context(closing(_form_writer(spec, root)))
        offsets, files = spec.form == "tar", spec.form == "parquet"
        samples = samples_schema(spec.roles, spec.sample_columns, offsets=offsets, files=files)
        self._samples = _PublishedTable(place.samples_path(spec.part), samples, spec, root, stack)
        sources = sources_schema(spec.source_columns)
        self._sources = _PublishedTable(place.sources_path(spec.part), sources, spec, root, stack)
        self._ends: Counter[str] = Counter()
        self._keys: set[str] = set()
        self._member_bytes = 0

    def add(self, report: SourceReport) -> None:
        done = report.status == ItemStatus.DONE.value
        if report.status not in _STATES or (report.samples and not done):
            raise ValueError(f"{report.row.key}: ended as {report.status!r} with {len(report.samples)} samples")
        self._ends[report.status] += 1
        self._sources.rows.add(source_values(report))
        for sample in report.samples:
            self._check(sample)
            self._keys.add(sample.key)
            self._member_bytes += sum(digest_of(one)[1] for one in sample.members)
            self._samples.rows.add(sample_values(sample, report, self._spec.part, self._data.add(sample)))

    def finish(self) -> Written:
        files = [*self._data.finish(), self._samples.finish()]
        entry = PartEntry(
            name=self._spec.part,
            **{state: self._ends[state] for state in _STATES},
            samples=len(self._keys),
            member_bytes=self._member_bytes,
            files=tuple(files),
        )
        last = self._sources.finish({_NOTE: json.dumps(asdict(entry), sort_keys=True)})
        published = storage.Published(url=storage.join(self._root.url, last.path), sha256=last.sha256, bytes=last.bytes)
        return Written(published=published, part=replace(entry, files=(*entry.files, last)))

    def _check(self, sample: Sample) -> None:
        roles = [one.role for one in sample.members]
        if sample.key in self._keys:
            raise ValueError(f"{sample.key}: two samples of this name")
        if len(set(roles)) < len(roles) or not set(roles) <= set(self._spec.roles):
            raise ValueError(f"{sample.key}: has {', '.join(roles)} where {', '.join(self._spec.roles)} are asked for")
        if self._spec.form != "tree" and any(isinstance(one, StoredMember) for one in sample.members):
            raise ValueError(f"{sample.key}: its bytes lie elsewhere, and the form {self._spec.form} keeps them")


class _PublishedTable:
    """A table on its way to its place."""

    def __init__(self, path: str, schema: Any, spec: PackSpec, root: storage.OutputRoot, stack: ExitStack) -> None:
        self._path = path
        self._sink = stack.enter_context(root.open_stream(storage.join(root.url, path), key=spec.key))
        self.rows = TableWriter(self._sink, schema)
        stack.callback(self.rows.abandon)

    def finish(self, notes: Mapping[str, str] | None = None) -> PackFile:
        self.rows.close(notes)
        return as_file(self._sink.commit(), self._path)


def _form_writer(spec: PackSpec, root: storage.OutputRoot) -> FormWriter:
    if spec.form == "tar":
        return TarWriter(spec.part, root, spec.key)
    if spec.form == "lmdb":
        return LmdbWriter(spec.part, root, spec.key)
    return TreeWriter() if spec.form == "tree" else ParquetWriter()
