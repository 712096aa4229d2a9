"""What size an output has, and by which passes of the network it is reached for the least work. Pure.

A picture goes through the network as often as its target needs, `UpscaleParams.passes` times at most. Passes are
planned from the last one backwards: it multiplies by the network's scale, so what it reads is only as large as the
target needs. A target of x6 by a x4 network costs 1 + 2.25 units of work, not 1 + 16; one of x16 leaves exactly x4 to
its second pass, so that it is what two runs at x4 make.
"""

from __future__ import annotations

from dataclasses import dataclass

from farm.params import Params, UpscaleParams

MOST_OUTSCALE = 16
"""what passes are planned for; what is larger, which only a size can ask for, is reached by resampling"""

SMALLER = "lower --outscale, --size or --max-side"
"""advice where an output is too large"""

Size = tuple[int, int]
"""width and height in pixels"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One way through the network and the resampling behind it."""

    source: Size
    out: Size


def most_passes(scale: int) -> int:
    """Passes after which a network of this scale has multiplied sides by MOST_OUTSCALE; 1 where it multiplies none."""
    passes = 1
    while scale > 1 and scale**passes < MOST_OUTSCALE:
        passes += 1
    return passes


def final_size(width: int, height: int, params: UpscaleParams) -> Size:
    """Width and height of the output of a picture of this upright size; each side is at least one pixel.

    A scale gives int(side * outscale), as upstream; `size` gives the fitted size, whose other side is rounded to the
    nearest pixel; `max_side` then makes the longer side as long as it says, and the other in proportion.
    """
    if params.size is None:
        made = max(1, int(width * params.outscale)), max(1, int(height * params.outscale))
    else:
        made = _fitted((width, height), params.size, params.fit)
    longest = max(made)
    if not params.max_side or longest <= params.max_side:
        return made
    return _share(made[0], params.max_side, longest), _share(made[1], params.max_side, longest)


def plan_passes(width: int, height: int, params: UpscaleParams, out: Size | None = None) -> tuple[Pass, ...]:
    """The passes that reach the output, in order; `out`: its size where a codec cannot hold `final_size`.

    The fewest that suffice, at least one. Where even the most do not suffice, the last one's output is resampled to a
    larger size.
    """
    source, final = (width, height), out or final_size(width, height, params)
    passes = 1
    while passes < params.passes and any(b > a * params.scale**passes for a, b in zip(source, final, strict=True)):
        passes += 1
    across, down = (_sides(a, b, params.scale, passes) for a, b in zip(source, final, strict=True))
    sizes = tuple(zip(across, down, strict=True))
    return tuple(Pass(source=sizes[at], out=sizes[at + 1]) for at in range(passes))


def asked(params: Params) -> str:
    """What size was asked for, in the words of names and messages: 3.5 (of a scale) or 3840x2160; "": no size is."""
    if not isinstance(params, UpscaleParams):
        return ""
    return f"{params.outscale:g}" if params.size is None else f"{params.size[0]}x{params.size[1]}"


def work_factor(params: UpscaleParams) -> float:
    """Pixels that go through the network for one of the source, at most: 1 for what one pass reaches."""
    reach = params.scale**params.passes if params.size else params.outscale
    reads = 1.0
    total = 1.0
    for _ in range(params.passes - 1):
        reach = reach / params.scale
        if reach <= 1:
            break
        reads = reach**2
        total += reads
    return total


def _sides(length: int, final: int, scale: int, passes: int) -> list[int]:
    """One side before the first pass, between passes and after the last.

    A side that only the other side's need takes through the network again is not made smaller in between than source
    and output are, and none is made larger by resampling before the last pass.
    """
    sides = [final]
    for before in range(passes - 1, 0, -1):
        wanted = max(-(-sides[0] // scale), min(length, sides[0]))
        sides.insert(0, min(wanted, length * scale**before))
    return [length, *sides]


def _fitted(source: Size, box: Size, fit: str) -> Size:
    """`source` in proportion within (contain) or over (cover) `box`, or the box itself (stretch)."""
    if fit == "stretch":
        return box
    (width, height), (across, down) = source, box
    by_width = across * height <= down * width  # scaled to the box's width, the height does not exceed it
    if by_width == (fit == "contain"):
        return across, _share(height, across, width)
    return _share(width, down, height), down


def _share(side: int, part: int, whole: int) -> int:
    """side * part / whole to the nearest pixel, at least one; exact for any size."""
    return max(1, (2 * side * part + whole) // (2 * whole))
