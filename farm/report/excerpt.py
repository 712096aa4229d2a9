"""A report on some rows of an output root, for whoever has chosen them: which, and what they say of all."""

from __future__ import annotations

from dataclasses import dataclass

from farm.report.words import text


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """Some rows, and figures that stand above them."""

    keys: frozenset[str]
    """of their entries in the ledger"""
    shards: frozenset[int]
    """of the ledger, that hold these"""
    heading: str
    figures: tuple[tuple[str, str, str], ...]
    """name, value, and what is to be known of it"""
    note: str = ""
    """a sentence below the figures"""


def section_of(excerpt: Excerpt) -> str:
    """The figures as HTML."""
    tiles = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(more)}</small></dd></div>"
        for name, value, more in excerpt.figures
    )
    note = f'<p class="soft">{text(excerpt.note)}</p>' if excerpt.note else ""
    return f'<section><h2>{text(excerpt.heading)}</h2><dl class="tiles">{tiles}</dl>{note}</section>'
