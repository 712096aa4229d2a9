"""Pictures that were cut: which bands are missing, and when the join may start. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farm.records import Done, Part, PartKind, Piece, Split


@dataclass(slots=True)
class _Cut:
    picture: Part
    size: tuple[int, int]
    wanted: int
    pieces: dict[int, Piece] = field(default_factory=dict[int, Piece])


class Assembly:
    """One entry a picture that has been cut and is not joined yet."""

    def __init__(self) -> None:
        self._cuts: dict[str, _Cut] = {}

    def begin(self, picture: Part, split: Split, known: Mapping[str, Piece]) -> list[Part]:
        """Parts still to run: the bands that no earlier run has finished (`known`, by part id), or the join."""
        width, height = split.size
        bands = [
            replace(
                picture,
                kind=PartKind.BAND,
                index=index,
                grid_rows=grid_rows,
                size=split.size,
                cost_px=max(1, width * height // len(split.bands)),
            )
            for index, grid_rows in enumerate(split.bands)
        ]
        cut = _Cut(picture, split.size, len(bands))
        cut.pieces = {band.index: known[band.part_id] for band in bands if band.part_id in known}
        self._cuts[picture.item.item_id] = cut
        missing = [band for band in bands if band.index not in cut.pieces]
        return missing or [self._join(cut)]

    def add(self, band: Part, done: Done) -> Part | None:
        """A band is finished; the join, if it was the last one."""
        cut = self._cuts.get(band.item.item_id)
        if cut is None:
            return None  # the item has failed in the meantime
        cut.pieces[band.index] = piece_of(band.index, done)
        return self._join(cut) if len(cut.pieces) == cut.wanted else None

    @property
    def fraction(self) -> float:
        """How many pictures' worth of bands is finished, of those that are not joined yet."""
        return sum(len(cut.pieces) / cut.wanted for cut in self._cuts.values())

    def end(self, item_id: str) -> bool:
        """Forget a picture that is joined or has failed; whether it was cut, so that its pieces can be deleted."""
        return self._cuts.pop(item_id, None) is not None

    def _join(self, cut: _Cut) -> Part:
        pieces = tuple(cut.pieces[index] for index in range(cut.wanted))
        return replace(cut.picture, kind=PartKind.JOIN, size=cut.size, pieces=pieces, cost_px=0)


def piece_of(index: int, done: Done) -> Piece:
    """What a finished band leaves behind."""
    if done.rows_out is None:
        raise ValueError(f"{done.part_id} is no band")
    return Piece(
        index=index, rows_out=done.rows_out, url=done.url, sha256=done.sha256, bytes=done.bytes, stats=done.stats
    )
