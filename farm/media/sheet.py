"""A contact sheet: pictures in rows with words under them, as one PNG."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyvips
from numpy.typing import NDArray

from farm.media.encode import wrap

Colour = tuple[int, int, int]
_PAPER, _INK = (250, 250, 250), (20, 20, 20)
_PLACE, _NOTICE = (232, 232, 232), (160, 30, 30)
"""of a place without pictures, and what it says"""
_GAP_PX, _LINE_PX = 8, 18
_FONT = "sans 10"
_DPI = 96
_TITLE_CHARS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One place of a sheet."""

    title: str
    lines: tuple[str, ...] = ()
    """what stands under the pictures"""
    pictures: tuple[NDArray[np.uint8], ...] = ()
    """side by side, HWC of three channels; of a cell without any, `notice` stands in their place"""
    notice: str = ""


def shortened(title: str) -> str:
    """A name that fits a cell: names lose their beginning, which is folders."""
    return title if len(title) <= _TITLE_CHARS else f"…{title[-_TITLE_CHARS:]}"


def draw_sheet(title: str, cells: Sequence[Cell], *, picture_px: int, pictures: int, columns: int) -> bytes:
    """A PNG of the cells, row by row, `columns` in each. Needs a font on the machine; without one, words are boxes.

    Args:
        picture_px: side of every picture, which are shown as they are.
        pictures: of the cells that have some.
    """
    width = pictures * picture_px + (pictures - 1) * _GAP_PX
    drawn = [_cell(cell, width, picture_px) for cell in cells]
    across = min(columns, max(len(drawn), 1))
    heading = _text(f"<big><b>{_markup(title)}</b></big>", across * width + (across - 1) * _GAP_PX, _INK)
    sheet = pyvips.Image.arrayjoin(drawn, across=across, shim=2 * _GAP_PX, background=list(_PAPER))
    sheet = heading.join(sheet, "vertical", expand=True, shim=_GAP_PX, background=list(_PAPER))
    framed = sheet.embed(
        2 * _GAP_PX, 2 * _GAP_PX, sheet.width + 4 * _GAP_PX, sheet.height + 4 * _GAP_PX, background=list(_PAPER)
    )
    data: bytes = pyvips.Operation.call("pngsave_buffer", framed, compression=6, keep="none")
    return data


def _cell(cell: Cell, width: int, height: int) -> pyvips.Image:
    """Its pictures, or its notice, on the paper, and its words below."""
    top = _plain(width, height, _PAPER if cell.pictures else _PLACE)
    for number, picture in enumerate(cell.pictures):
        top = top.insert(wrap(picture), number * (picture.shape[1] + _GAP_PX), 0)
    if not cell.pictures:
        notice = _text(_markup(cell.notice), width - 2 * _GAP_PX, _NOTICE, _PLACE)
        top = top.insert(notice, _GAP_PX, max(_GAP_PX, (height - notice.height) // 2))
    words = "\n".join((f"<b>{_markup(cell.title)}</b>", *map(_markup, cell.lines)))
    return top.join(_text(words, width, _INK), "vertical", expand=True, shim=_GAP_PX, background=list(_PAPER))


def _plain(width: int, height: int, colour: Colour) -> pyvips.Image:
    return pyvips.Image.black(width, height).new_from_image(list(colour)).copy(interpretation="srgb").cast("uchar")


def _text(markup: str, width: int, ink: Colour, paper: Colour = _PAPER) -> pyvips.Image:
    """Words, wrapped, on paper of that width; a line of paper where this libvips or this machine cannot draw any."""
    try:
        mask: pyvips.Image = pyvips.Operation.call(
            "text", markup, width=width, dpi=_DPI, font=_FONT, wrap="word-char", spacing=2
        )
        mask = mask.copy_memory()
    except pyvips.Error:
        return _plain(width, _LINE_PX, paper)
    share = mask.embed(0, 0, width, mask.height) / 255
    inked = share * list(ink) + (1 - share) * list(paper)
    return inked.rint().cast("uchar").copy(interpretation="srgb")


def _markup(text: str) -> str:
    """Any text as Pango's markup."""
    return html.escape(text, quote=False)
