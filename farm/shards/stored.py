"""Members whose bytes lie elsewhere already."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from farm.sample import Member, SourceReport


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMember(Member):
    """A member that was published: `data` is empty, and these stand for it."""

    sha256: str
    bytes: int


def digest_of(member: Member) -> tuple[str, int]:
    """(sha256, bytes) of a member's file."""
    if isinstance(member, StoredMember):
        return member.sha256, member.bytes
    return hashlib.sha256(member.data).hexdigest(), len(member.data)


def strip_data(report: SourceReport) -> SourceReport:
    """The report without the bytes of its members, for who has published them: pieces of it stay small."""
    samples = (replace(one, members=tuple(map(_stripped, one.members))) for one in report.samples)
    return replace(report, samples=tuple(samples))


def _stripped(member: Member) -> StoredMember:
    sha256, size = digest_of(member)
    return StoredMember(
        role=member.role,
        extension=member.extension,
        data=b"",
        width=member.width,
        height=member.height,
        channels=member.channels,
        sha256=sha256,
        bytes=size,
    )
