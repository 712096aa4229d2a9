"""At which quality a JPEG was saved, from its quantisation tables; no pixel is decoded."""

from __future__ import annotations

from functools import lru_cache
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int64]
"""64 divisors in the order of the file, zigzag"""

_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""
"""ITU-T T.81, tables K.1 and K.2, row by row"""
_QUANTISATION, _SCAN = 0xDB, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SEGMENTS = 1000
"""before the first scan; files with more are not looked at further"""


def jpeg_quality(file: BinaryIO) -> int | None:
    """The quality 1..100 whose tables by libjpeg's scaling (IJG, jpeg_set_quality) are nearest to those of the file.

    Exact for what libjpeg and its kin wrote; for tables of another make (cameras, Photoshop, mozjpeg) the quality that
    loses about as much. None when the file has no tables before its first scan, or none for its first component. Of
    qualities that give the same tables the lowest.

    Args:
        file: a JPEG; its position is changed.
    """
    tables, used = _read_tables(file)
    if not used or used[0] not in tables:
        return None
    luma = tables[used[0]]
    others = [tables[at] for at in sorted(set(used[1:]) - {used[0]}) if at in tables]
    distance = np.abs(_scaled(_LUMA) - luma).sum(axis=1)
    for table in others:
        distance = distance + np.abs(_scaled(_CHROMA) - table).sum(axis=1)
    return int(distance.argmin()) + 1


def _read_tables(file: BinaryIO) -> tuple[dict[int, Table], list[int]]:
    """Tables by number, and the number that each component of the frame uses; as far as the file is well formed."""
    tables: dict[int, Table] = {}
    used: list[int] = []
    file.seek(2)
    for _ in range(_MOST_SEGMENTS):
        head = file.read(2)
        while len(head) == 2 and head[1] == 0xFF:  # fill bytes
            head = head[1:] + file.read(1)
        if len(head) < 2 or head[0] != 0xFF or head[1] == _SCAN:
            break
        length = int.from_bytes(file.read(2), "big") - 2
        if length < 0:
            break
        body = file.read(length)
        if head[1] == _QUANTISATION:
            tables.update(_parse_tables(body))
        elif head[1] in _FRAMES and len(body) > 5:
            used = list(body[8 : 6 + 3 * body[5] : 3])
    return tables, used


def _parse_tables(body: bytes) -> dict[int, Table]:
    """Of one DQT segment: each table has its precision and number in one byte, then 64 divisors of one or two bytes."""
    tables: dict[int, Table] = {}
    at = 0
    while at < len(body):
        precision, number = divmod(body[at], 16)
        size = 128 if precision else 64
        raw = body[at + 1 : at + 1 + size]
        if len(raw) < size:
            break
        tables[number] = np.frombuffer(raw, ">u2" if precision else "u1").astype(np.int64)
        at += 1 + size
    return tables


@lru_cache(maxsize=2)
def _scaled(base: str) -> NDArray[np.int64]:
    """The tables [100, 64] of all qualities in zigzag order, as jpeg_set_quality scales them (baseline, 1..255)."""
    rows = np.array(base.split(), np.int64)[_zigzag()]
    quality = np.arange(1, 101)[:, None]
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return np.clip((rows * percent + 50) // 100, 1, 255)


def _zigzag() -> list[int]:
    """Position in the block, row by row, of each divisor of a file (ITU-T T.81, figure 5)."""
    cells = [(row, column) for row in range(8) for column in range(8)]

    def order(cell: tuple[int, int]) -> tuple[int, int]:
        diagonal = sum(cell)
        return diagonal, cell[0] if diagonal % 2 else cell[1]

    return [8 * row + column for row, column in sorted(cells, key=order)]
