"""Reports that wait for their pack's join, as bytes: read from storage, so nothing in them is ever executed.

"SRPIECE1" | bytes of the header, 8, little-endian | header, JSON | members' bytes, one after another | sha256 of all
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from farm.kinds import MediaKind
from farm.sample import Member, Sample, SourceReport, SourceRow
from farm.shards.stored import StoredMember

_MAGIC = b"SRPIECE1"
"""a piece of another shape gets another number"""
_HEAD_BYTES = len(_MAGIC) + 8
_DIGEST_BYTES = 32


def write_piece(reports: Sequence[SourceReport]) -> bytes:
    """The reports and their members' bytes; the same bytes for equal reports."""
    header = json.dumps([_report_values(one) for one in reports], sort_keys=True, separators=(",", ":")).encode("ascii")
    parts = [_MAGIC, len(header).to_bytes(8, "little"), header]
    parts += [member.data for one in reports for sample in one.samples for member in sample.members]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.digest()])


def read_piece(data: bytes) -> tuple[SourceReport, ...]:
    """What write_piece was given. Raises ValueError for anything that is not exactly what it gave."""
    view = memoryview(data)
    if len(view) < _HEAD_BYTES + _DIGEST_BYTES or bytes(view[: len(_MAGIC)]) != _MAGIC:
        raise ValueError(f"{len(view)} bytes that are no piece of a pack")
    content = view[:-_DIGEST_BYTES]
    if hashlib.sha256(content).digest() != bytes(view[-_DIGEST_BYTES:]):
        raise ValueError(f"a damaged piece of a pack: {len(view)} bytes with another digest than they carry")
    end = _HEAD_BYTES + int.from_bytes(view[len(_MAGIC) : _HEAD_BYTES], "little")
    try:
        reports: list[dict[str, Any]] = json.loads(bytes(content[_HEAD_BYTES:end]))
        bodies = _Bodies(content[end:])
        made = tuple(_report(values, bodies) for values in reports)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"a piece of a pack of another version of the farm ({error})") from error
    bodies.check_empty()
    return made


def _report_values(report: SourceReport) -> dict[str, Any]:
    values = {one.name: getattr(report, one.name) for one in fields(SourceReport)}
    values["row"] = {one.name: getattr(report.row, one.name) for one in fields(SourceRow)}
    values["row"]["kind"] = report.row.kind.value
    values["record"] = dict(report.record)
    values["samples"] = [
        {"key": one.key, "members": [*map(_member_values, one.members)], "record": dict(one.record)}
        for one in report.samples
    ]
    return values


def _member_values(member: Member) -> dict[str, Any]:
    values = {one.name: getattr(member, one.name) for one in fields(member) if one.name != "data"}
    if not isinstance(member, StoredMember):
        values["here"] = len(member.data)
    return values


def _report(values: dict[str, Any], bodies: _Bodies) -> SourceReport:
    row = values["row"]
    row["kind"] = MediaKind(row["kind"])
    row["refusal"] = tuple(row["refusal"])
    values["row"] = SourceRow(**row)
    values["rules"] = tuple(values["rules"])
    values["samples"] = tuple(_iter_samples(values["samples"], bodies))
    return SourceReport(**values)


def _iter_samples(samples: list[dict[str, Any]], bodies: _Bodies) -> Iterator[Sample]:
    for values in samples:
        values["members"] = tuple(_member(one, bodies) for one in values["members"])
        yield Sample(**values)


def _member(values: Mapping[str, Any], bodies: _Bodies) -> Member:
    if "here" not in values:
        return StoredMember(data=b"", **values)
    known = {name: value for name, value in values.items() if name != "here"}
    return Member(data=bodies.take(values["here"]), **known)


class _Bodies:
    """The members' bytes, taken in order."""

    def __init__(self, view: memoryview) -> None:
        self._rest = view

    def take(self, length: int) -> bytes:
        if not 0 <= length <= len(self._rest):
            raise ValueError(f"a member of {length} bytes where {len(self._rest)} are left")
        taken, self._rest = bytes(self._rest[:length]), self._rest[length:]
        return taken

    def check_empty(self) -> None:
        if len(self._rest):
            raise ValueError(f"a piece of a pack with {len(self._rest)} bytes that belong to nothing")
