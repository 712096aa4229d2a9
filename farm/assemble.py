"""Pictures and films that were cut: which pieces are missing, and when the join may start. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from farm.records import Done, Failed, Part, PartKind, Piece, Split
from sr_kernel.fidelity import PixelStats


@dataclass(slots=True)
class _Cut:
    whole: Part
    split: Split
    wanted: int
    pieces: dict[int, Piece] = field(default_factory=dict[int, Piece])


class Assembly:
    """One entry a picture or film that has been cut and is not joined yet."""

    def __init__(self) -> None:
        self._cuts: dict[str, _Cut] = {}

    def begin(self, whole: Part, split: Split, known: Mapping[str, Piece]) -> list[Part]:
        """Parts still to run: bands or segments that no earlier run has finished (`known`, by part id), or the join."""
        parts = _segments(whole, split) if split.film else _bands(whole, split)
        cut = _Cut(whole, split, len(parts))
        cut.pieces = {part.index: piece for part in parts if (piece := _fitting(part, known)) is not None}
        self._cuts[whole.item.item_id] = cut
        missing = [part for part in parts if part.index not in cut.pieces]
        return missing or [_join(cut)]

    def add(self, part: Part, done: Done) -> Part | None:
        """A band or segment is finished; the join, if it was the last one."""
        cut = self._cuts.get(part.item.item_id)
        if cut is None:
            return None  # the item has failed in the meantime
        cut.pieces[part.index] = piece_of(part.index, done)
        return _join(cut) if len(cut.pieces) == cut.wanted else None

    def add_failed(self, part: Part, failed: Failed) -> Part | None:
        """Some samples of a pack cannot be made; the join, which says so of them, if they were the last."""
        cut = self._cuts.get(part.item.item_id)
        if cut is None or part.grid_rows is None:
            return None
        cut.pieces[part.index] = Piece(
            index=part.index,
            extent=part.grid_rows,
            url="",
            sha256="",
            bytes=0,
            stats=PixelStats(),
            failure=(failed.kind, failed.message),
        )
        return _join(cut) if len(cut.pieces) == cut.wanted else None

    def share(self, item_id: str) -> float:
        """How much of an item that is not joined yet is finished, 0..1; of films by frames, of pictures by bands."""
        cut = self._cuts[item_id]
        frames, total = self.frames(item_id)
        return frames / total if total else len(cut.pieces) / cut.wanted

    def frames(self, item_id: str) -> tuple[int, int]:
        """(restored, all) frames of a film that is not joined yet; (0, 0) for what is no film."""
        cut = self._cuts.get(item_id)
        if cut is None or cut.split.film is None:
            return 0, 0
        return sum(piece.extent[1] - piece.extent[0] for piece in cut.pieces.values()), cut.split.film.frames

    def end(self, item_id: str) -> bool:
        """Forget an item that is joined or has failed; whether it was cut, so that its pieces can be deleted."""
        return self._cuts.pop(item_id, None) is not None


def _fitting(part: Part, known: Mapping[str, Piece]) -> Piece | None:
    """What an earlier run made of this part; a segment that was cut otherwise is of no use."""
    piece = known.get(part.part_id)
    return None if piece is None or (part.span is not None and piece.extent != part.span.frames) else piece


def _bands(picture: Part, split: Split) -> list[Part]:
    width, height = split.size
    cost_px = max(1, width * height // len(split.bands))
    return [
        replace(
            picture,
            kind=PartKind.BAND,
            index=index,
            grid_rows=grid_rows,
            size=split.size,
            version=split.version,
            cost_px=cost_px,
        )
        for index, grid_rows in enumerate(split.bands)
    ]


def _segments(whole: Part, split: Split) -> list[Part]:
    width, height = split.size
    return [
        replace(
            whole,
            kind=PartKind.SEGMENT,
            index=index,
            film=split.film,
            span=span,
            size=split.size,
            cost_px=width * height * len(span.pts),
        )
        for index, span in enumerate(split.spans)
    ]


def _join(cut: _Cut) -> Part:
    pieces = tuple(cut.pieces[index] for index in range(cut.wanted))
    split = cut.split
    out_pts = tuple(pts for span in split.spans for pts in span.out_pts)
    join = replace(cut.whole, kind=PartKind.JOIN, size=split.size, pieces=pieces, cost_px=0)
    return replace(join, film=split.film, out_pts=out_pts, version=split.version)


def piece_of(index: int, done: Done) -> Piece:
    """What a finished band or segment leaves behind."""
    if done.extent is None:
        raise ValueError(f"{done.part_id} is no piece")
    return Piece(
        index=index,
        extent=done.extent,
        url=done.url,
        sha256=done.sha256,
        bytes=done.bytes,
        stats=done.stats,
        report=done.report,
        precision=done.precision,
        warning=done.warning or "",
    )
