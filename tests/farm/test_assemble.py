from __future__ import annotations

from dataclasses import replace

from farm.assemble import Assembly, piece_of
from farm.records import Done, Part, PartKind, Split

from .items import DONE, FILM, make_film, make_part, make_spans

BANDS = ((0, 2), (2, 4), (4, 5))


def split_of(part: Part) -> Split:
    return Split(part_id=part.part_id, size=(300, 500), bands=BANDS, node="n", worker="w")


def done_band(part: Part) -> Done:
    url, extent = f"/pieces/{part.index}", (part.index, part.index + 1)
    return replace(DONE, part_id=part.part_id, url=url, sha256=str(part.index), extent=extent)


def test_the_join_comes_with_the_last_band_and_in_order() -> None:
    assembly = Assembly()
    bands = assembly.begin(make_part(0), split_of(make_part(0)), {})
    assert [(band.kind, band.index, band.grid_rows) for band in bands] == [
        (PartKind.BAND, index, rows) for index, rows in enumerate(BANDS)
    ]
    assert all(band.cost_px == 50_000 for band in bands)
    assert assembly.add(bands[2], done_band(bands[2])) is None
    assert assembly.add(bands[0], done_band(bands[0])) is None
    assert assembly.share("item0000") == 2 / 3
    join = assembly.add(bands[1], done_band(bands[1]))
    assert join is not None
    assert join.kind is PartKind.JOIN
    assert [piece.index for piece in join.pieces] == [0, 1, 2]
    assert assembly.end("item0000")
    assert not assembly.end("item0000")


def test_bands_of_an_earlier_run_are_not_run_again() -> None:
    picture = make_part(0)
    bands = Assembly().begin(picture, split_of(picture), {})
    known = {band.part_id: piece_of(band.index, done_band(band)) for band in bands}
    first = known.pop(bands[1].part_id)
    (missing,) = Assembly().begin(picture, split_of(picture), known)
    assert missing.index == 1
    (join,) = Assembly().begin(picture, split_of(picture), {**known, bands[1].part_id: first})
    assert join.kind is PartKind.JOIN


def test_a_band_of_a_picture_that_has_failed_joins_nothing() -> None:
    assembly = Assembly()
    bands = assembly.begin(make_part(0), split_of(make_part(0)), {})
    assembly.end("item0000")
    assert assembly.add(bands[0], done_band(bands[0])) is None


def split_film(part: Part) -> Split:
    return Split(part_id=part.part_id, size=(30, 20), film=FILM, spans=make_spans(100, 48), node="n", worker="w")


def test_a_film_is_cut_into_its_spans_and_joined_with_every_timestamp() -> None:
    film, assembly = make_film(0), Assembly()
    segments = assembly.begin(film, split_film(film), {})
    assert [(one.kind, one.index, one.span and one.span.frames) for one in segments] == [
        (PartKind.SEGMENT, 0, (0, 48)),
        (PartKind.SEGMENT, 1, (48, 96)),
        (PartKind.SEGMENT, 2, (96, 100)),
    ]
    assert [one.cost_px for one in segments] == [600 * 48, 600 * 48, 600 * 4]
    assert assembly.frames("item0000") == (0, 100)
    joins = [assembly.add(one, replace(done_band(one), extent=one.span and one.span.frames)) for one in segments]
    assert joins[:2] == [None, None]
    assert joins[2] is not None
    assert (joins[2].kind, joins[2].film, joins[2].out_pts) == (PartKind.JOIN, FILM, tuple(range(100)))
    assert assembly.frames("item0000") == (100, 100)


def test_segments_of_an_earlier_run_are_not_run_again() -> None:
    film = make_film(0)
    segments = Assembly().begin(film, split_film(film), {})
    known = {segments[1].part_id: piece_of(1, replace(done_band(segments[1]), extent=(48, 96)))}
    assembly = Assembly()
    assert [one.index for one in assembly.begin(film, split_film(film), known)] == [0, 2]
    assert assembly.frames("item0000") == (48, 100)
    assert assembly.share("item0000") == 0.48


def test_a_segment_that_was_cut_otherwise_is_made_anew() -> None:
    film = make_film(0)
    segments = Assembly().begin(film, split_film(film), {})
    known = {segments[1].part_id: piece_of(1, replace(done_band(segments[1]), extent=(40, 80)))}
    assembly = Assembly()
    assert [one.index for one in assembly.begin(film, split_film(film), known)] == [0, 1, 2]
    assert assembly.share("item0000") == 0
