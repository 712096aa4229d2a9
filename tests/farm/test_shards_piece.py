"""Reports that wait for their join: what goes in comes out, and damage is never taken for content."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from farm.kinds import MediaKind
from farm.sample import Member, Sample, SourceReport, SourceRow
from farm.shards import StoredMember, digest_of, read_piece, strip_data, write_piece
from tests.farm.packs import pair, reports, row


def test_reports_come_back_as_they_were() -> None:
    made = tuple(reports())
    assert read_piece(write_piece(made)) == made


def test_every_field_comes_back() -> None:
    source = SourceRow(
        url="s3://bucket/ä \ud800.mp4",
        relative_path="ä.mp4",
        key="a/b",
        kind=MediaKind.VIDEO,
        version="sha256:00",
        sha256="00",
        bytes=12,
        lq_url="/x",
        refusal=("missing", "no"),
    )
    empty = Member(role="lq", extension="png", data=b"", width=0, height=0, channels=0)
    record = {"a": True, "b": 1, "c": 0.1, "d": "é", "e": None, "f": -0.0, "g": math.inf, "h": 2**70}
    sample = Sample(key="a/b_1", members=(empty, replace(empty, data=b"xyz")), record=record)
    report = SourceReport(
        row=source, status="done", message="m", rules=("a", "b"), samples=(sample,), record=record, passing=True
    )
    (back,) = read_piece(write_piece([report]))
    assert back == report
    assert math.copysign(1, float(back.record["f"] or 0)) == -1
    assert [type(value) for value in back.record.values()] == [type(record[name]) for name in back.record]


def test_no_reports_are_a_piece_too() -> None:
    assert read_piece(write_piece([])) == ()


def test_equal_reports_make_equal_bytes() -> None:
    one = SourceReport(row=row(0, "a"), status="done", record={"a": 1, "b": 2})
    assert write_piece([one]) == write_piece([replace(one, record={"b": 2, "a": 1})])


def test_stripped_reports_keep_sizes_and_digests_and_no_bytes() -> None:
    made = tuple(reports())
    stripped = tuple(map(strip_data, made))
    piece = write_piece(stripped)
    assert read_piece(piece) == stripped
    assert len(piece) < len(write_piece(made)) / 5
    for full, bare in zip(made, stripped, strict=True):
        assert replace(bare, samples=()) == replace(full, samples=())
        for before, after in zip(full.samples, bare.samples, strict=True):
            assert after.key == before.key
            assert [*map(digest_of, after.members)] == [*map(digest_of, before.members)]
            assert all(isinstance(one, StoredMember) and not one.data for one in after.members)
    assert tuple(map(strip_data, stripped)) == stripped


def test_every_damage_is_found() -> None:
    piece = write_piece([SourceReport(row=row(0, "a"), status="done", samples=(pair("a", 1),))])
    rng = random.Random(1)
    for _ in range(200):
        at = rng.randrange(len(piece))
        broken = bytearray(piece)
        broken[at] ^= 1 << rng.randrange(8)
        with pytest.raises(ValueError, match="piece of a pack"):
            read_piece(bytes(broken))
    for length in (0, 7, 16, 47, 48, len(piece) // 2, len(piece) - 1):
        with pytest.raises(ValueError, match="piece of a pack"):
            read_piece(piece[:length])
    with pytest.raises(ValueError, match="piece of a pack"):
        read_piece(piece + b"\0")
