from __future__ import annotations

from farm.assemble import Assembly, piece_of
from farm.records import Done, Part, PartKind, Split, StageSeconds
from sr_kernel.fidelity import PixelStats

from .items import make_part

BANDS = ((0, 2), (2, 4), (4, 5))


def split_of(part: Part) -> Split:
    return Split(part_id=part.part_id, size=(300, 500), bands=BANDS, node="n", worker="w")


def done_band(part: Part) -> Done:
    return Done(
        part_id=part.part_id,
        url=f"/pieces/{part.index}",
        sha256=str(part.index),
        bytes=1,
        width=1,
        height=1,
        source_px=50_000,
        mode="exact",
        precision="fp32",
        stats=PixelStats(samples=1),
        seconds=StageSeconds(),
        node="n",
        worker="w",
        extent=(part.index, part.index + 1),
    )


def test_the_join_comes_with_the_last_band_and_in_order() -> None:
    assembly = Assembly()
    bands = assembly.begin(make_part(0), split_of(make_part(0)), {})
    assert [(band.kind, band.index, band.grid_rows) for band in bands] == [
        (PartKind.BAND, index, rows) for index, rows in enumerate(BANDS)
    ]
    assert all(band.cost_px == 50_000 for band in bands)
    assert assembly.add(bands[2], done_band(bands[2])) is None
    assert assembly.add(bands[0], done_band(bands[0])) is None
    assert assembly.fraction == 2 / 3
    join = assembly.add(bands[1], done_band(bands[1]))
    assert join is not None
    assert join.kind is PartKind.JOIN
    assert [piece.index for piece in join.pieces] == [0, 1, 2]
    assert assembly.end("item0000")
    assert not assembly.end("item0000")
    assert assembly.fraction == 0


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
