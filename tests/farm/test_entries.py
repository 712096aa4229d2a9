"""Flicker scores, and films and their segments as ledger lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from farm.entries import added_seconds, done_entry, flicker, joined_report, known_piece, worst_seconds
from farm.face import FaceParams
from farm.film import SegmentReport
from farm.ledger.codec import decode, encode
from farm.ledger.table import iter_entries, table_of
from farm.records import PartKind, StageSeconds
from sr_kernel.fidelity import PixelStats

from .items import DONE, FILM, make_film, make_spans

REPORT = SegmentReport(changes=((0, 10.0, 12.0), (1, 5.0, 4.0)), damaged=(7,))
SEGMENT = replace(
    DONE,
    part_id="item0000/segment/1",
    url="/parts/1",
    stats=PixelStats(samples=3, sum_in=4, sum_out=5, sum_abs_diff=1),
    seconds=StageSeconds(infer=2.0),
    extent=(48, 96),
    frames=48,
    report=REPORT,
)

FACES = FaceParams(
    model="gfpgan-1.4",
    model_sha256="1" * 64,
    detector="resnet50",
    detector_sha256="2" * 64,
    parser_sha256="3" * 64,
    strength=1.0,
    only_center=False,
)


def test_a_segment_survives_the_ledger_whole() -> None:
    part = replace(make_film(0), kind=PartKind.SEGMENT, index=1, film=FILM, span=make_spans(100, 48)[1])
    entry = done_entry(part, SEGMENT, 1, "run")
    assert decode(encode(entry)) == entry
    piece = known_piece(1, entry)
    assert (piece.extent, piece.report, piece.stats) == ((48, 96), REPORT, SEGMENT.stats)
    assert (entry.key, entry.flicker, entry.worst_seconds) == ("item0000/segment/1", 0.0, "")


def test_a_film_is_scored_over_all_its_segments() -> None:
    joined = joined_report([REPORT, SegmentReport(changes=((1, 5.0, 11.0), (2, 0.1, 0.9)), damaged=(50,))])
    assert joined == SegmentReport(changes=((0, 10.0, 12.0), (1, 10.0, 15.0), (2, 0.1, 0.9)), damaged=(7, 50))
    assert flicker(joined) == pytest.approx(27.9 / 20.1)
    assert worst_seconds(joined) == "1:1.50 0:1.20", "a still second is not scored"
    part = replace(make_film(0), kind=PartKind.JOIN)
    entry = done_entry(part, replace(SEGMENT, extent=None, report=joined, frames=100), 1, "run")
    assert (entry.frames, entry.flicker, entry.worst_seconds) == (100, 1.3881, "1:1.50 0:1.20")


def test_a_join_has_the_seconds_of_its_pieces_too() -> None:
    spent = StageSeconds(read=1, decode=2, wait=3, infer=4, encode=5, write=6)
    own = replace(SEGMENT, seconds=StageSeconds(read=0.25, encode=0.5, write=0.125))
    entry = done_entry(replace(make_film(0), kind=PartKind.JOIN), own, 1, "run", pieces=added_seconds(spent, spent))
    stages = (entry.read_s, entry.decode_s, entry.wait_s, entry.infer_s, entry.encode_s, entry.write_s)
    assert stages == (2.25, 4, 6, 8, 10.5, 12.125)
    assert entry.total_s == 0.875, "of the join alone, as ever"


def test_a_film_that_does_not_move_has_no_score() -> None:
    assert flicker(SegmentReport()) == 0
    assert worst_seconds(SegmentReport(changes=((0, 0.0, 0.0),))) == ""


def test_a_film_whose_changes_are_not_measured_has_no_score_rather_than_one_of_0() -> None:
    join = replace(make_film(0), kind=PartKind.JOIN, film=FILM)
    still = replace(SEGMENT, extent=None, report=SegmentReport())
    assert done_entry(join, still, 1, "run").flicker == 0, "it does not change"
    alpha = replace(join, film=replace(FILM, source=replace(FILM.source, alpha=True)))
    params = replace(join.item.upscale, face=FACES)
    faces = replace(join, item=replace(join.item, params=params))
    for part in (alpha, faces):
        entry = done_entry(part, still, 1, "run")
        assert entry.flicker is None
        assert decode(encode(entry)) == entry
        assert list(iter_entries(table_of([entry]), entry.shard)) == [entry]


def test_a_ledger_of_the_version_before_films_is_still_read() -> None:
    part = replace(make_film(0), kind=PartKind.SEGMENT, index=1)
    line = encode(replace(done_entry(part, SEGMENT, 1, "run"), report=None, schema=1))
    old = line.replace(b'"extent":', b'"rows_out":').replace(
        b',"report":null,"frames":48,"flicker":0.0,"worst_seconds":"","source_sha256":"","allowances":[],"noted_unix":0.0',
        b"",
    )
    assert b"report" not in old
    assert b"allowances" not in old
    assert decode(old).extent == (48, 96)
    assert decode(encode(decode(old))) == decode(old), "compacting writes it as today's version"


def test_an_entry_says_the_scale_that_was_asked_for() -> None:
    """Also where another program's name of a model stands for it: realesr-animevideov3-x2 is animevideov3, scale 2."""
    part = replace(make_film(0), kind=PartKind.JOIN)
    params = part.item.upscale
    for asked, said in (
        (replace(params, outscale=3.5), "3.5"),
        (replace(params, outscale=0.0, size=(64, 48)), "64x48"),
    ):
        entry = done_entry(replace(part, item=replace(part.item, params=asked)), SEGMENT, 1, "run")
        assert entry.scale == said
        assert decode(encode(entry)).scale == said
