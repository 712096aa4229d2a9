"""What a model weighs, from its row alone: parameters and memory. No torch."""

from __future__ import annotations

from sr_kernel.models import ModelSpec

_WINDOW_PX = 256
"""kept side of a window, as runs cut them unless told otherwise"""
_BOUNDED_HALO_PX = 32
"""context of a window whose network sees further than windows are cut"""
_FP32_BYTES = 4


def parameters(spec: ModelSpec) -> int | None:
    """Numbers in the network; None for networks of which the table has no shapes."""
    f, g = spec.features, spec.growth
    if spec.arch == "srvgg":
        out = 3 * spec.scale**2
        return _conv(3, f) + f + spec.blocks * (_conv(f, f) + f) + _conv(f, out)
    if spec.arch == "rrdb":
        dense = sum(_conv(f + i * g, g if i < 4 else f) for i in range(5))
        return _conv(3 * spec.align_px**2, f) + 3 * spec.blocks * dense + 4 * _conv(f, f) + _conv(f, 3)
    return spec.params or None


def window_bytes(spec: ModelSpec) -> int | None:
    """Memory that one window of 256 pixels takes in fp32, with the weights; None as in `parameters`.

    The weights once, and three layers of features where they are widest: at the source's size in SRVGG, with its output
    twice; enlarged four times in RRDB. Measured as the peak of resident memory on a CPU: 92 MiB for animevideov3, 146
    for general-x4v3, 764 for x4plus-anime, where this says 96, 120 and 785. Half precision takes about half of it.
    """
    count = parameters(spec)
    if count is None or spec.arch == "foreign":
        return None
    rrdb = spec.arch == "rrdb"
    side = _WINDOW_PX + 2 * (_BOUNDED_HALO_PX if spec.halo_px > _WINDOW_PX else spec.halo_px)
    # Of RRDB only what is kept is enlarged: halos are cut off before the tail.
    pixels = (_WINDOW_PX * 4 // spec.align_px) ** 2 if rrdb else side**2
    wide = 3 * spec.features if rrdb else 3 * spec.features + 2 * 3 * spec.scale**2
    return _FP32_BYTES * (count + pixels * wide)


def _conv(into: int, out: int) -> int:
    """Weights and biases of a 3x3 convolution."""
    return 9 * into * out + out
