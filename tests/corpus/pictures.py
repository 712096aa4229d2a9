"""Every picture of the corpus."""

from __future__ import annotations

from collections.abc import Iterator

from tests.corpus.case import Case
from tests.corpus.flips import flips
from tests.corpus.foreign import NOWHERE, foreign
from tests.corpus.jpeg import jpeg_kinds, jpegs
from tests.corpus.odd import names, odd
from tests.corpus.others import others
from tests.corpus.png import pngs
from tests.corpus.tiff import tiffs

FLIPS = 12
"""of each format and seed"""


def pictures(seed: int, *, asked: str = NOWHERE) -> Iterator[Case]:
    """All pictures, bad and odd; `asked` is a URL that some of them name."""
    yield from pngs(seed)
    yield from jpegs(seed)
    yield from jpeg_kinds(seed)
    yield from tiffs(seed)
    yield from others(seed)
    yield from foreign(asked)
    yield from odd(seed)
    yield from names(seed)
    yield from flips(seed, FLIPS)
