"""How fast workers are, learned from what has ended, and when a unit is late beyond any doubt. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Mapping

from farm.expected import carried_bytes, factor, model_key, work_px
from farm.params import UpscaleParams
from farm.records import Part, PartKind, Unit

_CARRIED_S: Mapping[PartKind, float] = {PartKind.JOIN: 4 * 3600.0, PartKind.FILM: 1800.0}
_CARRIED_BYTES_S = 1e6
"""a join, or the reading of a film's packets, may take so many seconds, and longer at so many bytes a second"""
_ENCODED_PX_S = 3e5
"""output pixels a second that no encoder falls below: x265 at its slowest makes 0.1 frames of 8K on one thread"""
_DECODED_PX_S = 5e6
_SEARCHED_PX_S: Mapping[str, float] = {"cpu": 3e4, "cuda": 1e6}
"""pixels a second that no face detector falls below"""
_CROWD_S: Mapping[str, float] = {"cpu": 3000.0, "cuda": 100.0}
"""what a hundred faces of one picture take at most: GFPGAN and its parser take a face 15 s on a core of 2020"""
_DAMAGE_FRAMES = 20_000
"""frames that are decoded at most to list the damaged ones"""


class Pace:
    """How fast workers are with each model, learned from what has ended: sizes units and sets deadlines.

    Before anything of a model has ended its deadline rests on `floors_px_s`, a rate by model name that no working
    machine falls below. `cap_px`: no single part computes more source pixels, whatever its estimate says.
    """

    def __init__(
        self, *, floors_px_s: Mapping[str, float], unit_s: float = 4.0, cap_px: int, most_s: float | None = None
    ) -> None:
        """`most_s`: the latest deadline, whatever the work; None lets each be as late as its work may need."""
        self._most_s = most_s
        self._floors_px_s = floors_px_s
        self._unit_s = unit_s
        self._cap_px = cap_px
        self._px_s: dict[str, float] = {}
        """pixels through the network a second of accelerator time, moving average, by model key"""

    def observe(self, part: Part, px: int, seconds: float) -> None:
        """A part of `px` source pixels has kept its accelerator busy for `seconds`."""
        if px > 0 and seconds > 0:
            key, rate = model_key(part), px * factor(part) / seconds
            self._px_s[key] = 0.8 * self._px_s.get(key, rate) + 0.2 * rate

    def rate(self, key: str) -> float | None:
        """Pixels through the network a second; None while nothing is known."""
        return self._px_s.get(key)

    def target_px(self, key: str) -> int:
        """Network pixels of a unit that lasts about `unit_s`; 0 (one part a unit) while nothing is known."""
        return int(self._px_s.get(key, 0.0) * self._unit_s)

    def deadline_s(self, unit: Unit) -> float:
        """Far beyond what the unit can need: it tells a hung worker from a slow one."""
        needed_s = self._needed_s(unit)
        return needed_s if self._most_s is None else min(self._most_s, needed_s)

    def _needed_s(self, unit: Unit) -> float:
        if all(part.kind in (PartKind.JOIN, PartKind.FILM) for part in unit.parts):
            return max(_CARRIED_S[part.kind] + carried_bytes(part) / _CARRIED_BYTES_S for part in unit.parts)
        px = sum(max(work_px(part), self._cap_px * factor(part)) for part in unit.parts)
        part = unit.parts[0]
        rate = self._px_s.get(model_key(part))
        floor = self._floors_px_s.get(part.item.params.model, min(self._floors_px_s.values()))
        beside_s = sum(_beside_network_s(part) + _faces_s(part) for part in unit.parts)
        return 180.0 + beside_s + (20 * px / rate if rate else px / floor)


def _beside_network_s(part: Part) -> float:
    """Seconds that a segment may take beside its network: the slowest encoder, and all that may have to be decoded.

    That is the frames between the keyframe and the segment and, where damage is found, the list of all that is damaged.
    """
    film, span = part.film, part.span
    if film is None or span is None:
        return 0.0
    before = span.frames[0]
    if span.seek_pts is not None:
        before = int((span.pts[0] - span.seek_pts) * film.time_base * film.rate)
    decoded = max(0, before) + min(film.frames, _DAMAGE_FRAMES)
    encoded_px = len(span.pts) * film.target.width * film.target.height
    return encoded_px / _ENCODED_PX_S + decoded * film.source.width * film.source.height / _DECODED_PX_S


def _faces_s(part: Part) -> float:
    """Seconds that a part may take over faces: to look for them in all its pixels, and to restore a crowd of them."""
    params = part.item.params
    if not isinstance(params, UpscaleParams) or params.face is None:
        return 0.0
    pictures = len(part.span.pts) if part.span else 1
    return part.cost_px / _SEARCHED_PX_S[params.device_class] + pictures * _CROWD_S[params.device_class]
