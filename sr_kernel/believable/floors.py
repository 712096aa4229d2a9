"""Which figures are beyond belief. No torch.

bench/fidelity.py restores real pictures, plants faults in them and shows where both lie; docs/fidelity.md says it.
"""

from __future__ import annotations

from sr_kernel.fidelity import PixelStats

LEAST_CONSISTENCY_DB = 18.0
"""real outputs had 20.9 dB at least"""
MOST_COLOUR_LEVELS = 8.0
"""real outputs had 7.1 at most"""
MOST_OFF_SHARE = 0.001
"""one of 108 real outputs had 0.06, the others none"""
MOST_STRIPED_SHARE = 0.25
"""real outputs had 0.2 at most, stripes of 3 levels 0.16 to 1, of 6 levels 0.38 at least"""
LEAST_STRIPED_BLOCKS = 4
"""that few blocks have stripes by chance, in a small picture"""
MOST_LATTICE_LEVELS = 1.4
"""real outputs had 1.24 at most"""
MOST_SEAM_SCORE = 3.0
"""real outputs had 1.9 at most, of as many edges as are asked for"""
LEAST_SEAMS = 4
"""that few edges can be of one contour"""


def suspicions(stats: PixelStats) -> dict[str, float]:
    """The figures that are beyond belief, by the names of their columns; empty for a believable output."""
    striped = stats.striped >= LEAST_STRIPED_BLOCKS
    figures = {
        "consistency": (stats.consistency, LEAST_CONSISTENCY_DB, -1),
        "colour": (stats.colour, MOST_COLOUR_LEVELS, 1),
        "off": (stats.off, MOST_OFF_SHARE, 1),
        "stripes": (stats.stripes if striped else None, MOST_STRIPED_SHARE, 1),
        "lattice": (stats.lattice, MOST_LATTICE_LEVELS, 1),
        "seam": (stats.seam_score if stats.seams >= LEAST_SEAMS else None, MOST_SEAM_SCORE, 1),
    }
    return {
        name: figure
        for name, (figure, bound, sign) in figures.items()
        if figure is not None and sign * figure > sign * bound
    }
