"""How much work a part is, and how long it will keep a worker: learned from what has ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from farm.params import UpscaleParams
from farm.records import Outcome, Part, PartKind, Split, Unit
from farm.target import work_factor

_CARRYING_BYTES_S: Mapping[PartKind, float] = {PartKind.JOIN: 2e7, PartKind.FILM: 5e7}
"""bytes a second that a join, or the reading of packets, is taken to carry until one has ended"""
_DOUBT = 1.5
"""what is expected takes so much longer, to be on the safe side of the end"""
_FIRST_S = 4.0
"""what anything is taken to last while nothing at all has ended"""


def model_key(part: Part) -> str:
    """Parts with equal keys can share a unit and a resident model; a join needs no model."""
    if part.kind is PartKind.JOIN:
        return ""
    return part.item.params.resident


def factor(part: Part) -> float:
    """Pixels that go through the network for one of the part's source."""
    params = part.item.params
    return work_factor(params) if isinstance(params, UpscaleParams) else 1.0


def own_px(part: Part) -> int:
    """Source pixels of a picture that its worker restores itself: one that turns out larger than a band is only opened,
    and cut."""
    params = part.item.params
    if isinstance(params, UpscaleParams) and params.face is None:
        return min(part.cost_px, params.band_px)
    return part.cost_px


def work_px(part: Part) -> int:
    """Pixels that go through the network, estimated."""
    return int(part.cost_px * factor(part))


def kept_px(part: Part) -> int:
    """Pixels through the network that a part keeps its worker busy with: one that is only opened, and cut, none."""
    if part.kind is PartKind.FILM or (part.kind is PartKind.PICTURE and part.item.is_pack):
        return 0
    return int(own_px(part) * factor(part)) if part.kind is PartKind.PICTURE else work_px(part)


def carried_bytes(part: Part) -> int:
    """What a part reads and writes that computes nothing: a whole source, all pieces of an item."""
    return (part.item.row.bytes or part.item.cost_px) + sum(piece.bytes for piece in part.pieces)


class Expected:
    """Seconds that parts will keep a worker. `rate`: pixels through the network a second, by model key."""

    def __init__(self, rate: Callable[[str], float | None]) -> None:
        self._rate = rate
        self._size_s: dict[tuple[PartKind, str], float] = {}
        """size a second of a worker's time, moving average, by kind of part and model key"""
        self._longest_s = 0.0
        """that a unit has taken"""

    def took(self, unit: Unit, outcomes: Sequence[Outcome], seconds: float) -> None:
        """A unit has kept its worker for `seconds`."""
        self._longest_s = max(self._longest_s, seconds)
        part = unit.parts[0]
        is_cut = part.kind is not PartKind.FILM and any(isinstance(one, Split) for one in outcomes)
        if seconds <= 0 or is_cut or len(outcomes) < len(unit.parts):
            return  # what was only opened, or stopped, says nothing of how long others take
        key, rate = (part.kind, model_key(part)), sum(map(_size, unit.parts)) / seconds
        if rate > 0:
            self._size_s[key] = 0.8 * self._size_s.get(key, rate) + 0.2 * rate

    def part_s(self, part: Part) -> float:
        """Rather too many; what nobody knows lasts as long as the longest unit yet."""
        if part.item.is_pack and part.kind is PartKind.PICTURE:
            return 0.0  # it is opened, and cut into its rows
        key = model_key(part)
        rate = self._size_s.get((part.kind, key)) or _CARRYING_BYTES_S.get(part.kind) or self._rate(key)
        return _DOUBT * _size(part) / rate if rate else self._longest_s or _FIRST_S


def _size(part: Part) -> float:
    """What a part's time grows with: bytes that are carried, or pixels that go through the network."""
    if part.kind in _CARRYING_BYTES_S:
        return carried_bytes(part)
    return own_px(part) * factor(part) if part.kind is PartKind.PICTURE else work_px(part)
