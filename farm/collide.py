"""Outputs that would overwrite each other or an input, found before any work. Pure: rows in, an error out."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from hashlib import blake2b

from farm.errors import ItemError, ManifestError
from farm.plan import Planner
from farm.records import ManifestRow, RefusedRow

_COLLISIONS_COUNTED = 1000


def check_outputs(read: Callable[[], Iterable[ManifestRow | RefusedRow]], planner: Planner) -> None:
    """Find, before any work, outputs that would overwrite each other or an input.

    `read` gives the manifest's rows from the start each time it is called; it is called twice only when something is
    wrong. Names count as equal when they are after case folding and NFC, as on file systems that do not tell those
    apart. Memory is one 8-byte digest a row, 64 bytes of a set. Raises ManifestError; rows that cannot have an
    output are left for `Planner.plan` to refuse.
    """
    outputs: set[int] = set()
    inputs: set[int] = set()
    clashes: list[int] = []
    below = _fold(planner.out + "/")
    for row in read():
        if isinstance(row, RefusedRow):
            continue
        source = _fold(row.source_url)
        if source.startswith(below):
            inputs.add(_short(source))
        key = _output_key(row, planner)
        if key is None:
            continue
        if key in outputs:
            clashes.append(key)
            if len(clashes) > _COLLISIONS_COUNTED:
                break
        outputs.add(key)
    _refuse_overwritten_input(read, planner, outputs & inputs)
    if clashes:
        _refuse_collision(read, planner, clashes)


def _output_key(row: ManifestRow, planner: Planner) -> int | None:
    try:
        return _short(_fold(planner.output_url(row)))
    except ItemError:
        return None


def _refuse_overwritten_input(
    read: Callable[[], Iterable[ManifestRow | RefusedRow]], planner: Planner, keys: set[int]
) -> None:
    """Raise if an output really is an input; digests of 8 bytes only make it likely."""
    if not keys:
        return
    sources = {
        folded: row
        for row in read()
        if isinstance(row, ManifestRow) and _short(folded := _fold(row.source_url)) in keys
    }
    for row in read():
        if isinstance(row, RefusedRow) or _output_key(row, planner) not in keys:
            continue
        output = planner.output_url(row)
        hit = sources.get(_fold(output))
        if hit:
            raise ManifestError(
                f"manifest: row {row.index}, {row.source_url!r}: its output {output!r} is the input of row {hit.index}"
                f" (inputs are never overwritten); choose another --out, --name or output"
            )


def _refuse_collision(
    read: Callable[[], Iterable[ManifestRow | RefusedRow]], planner: Planner, clashes: list[int]
) -> None:
    """Raise with the two rows of the first real collision; digests of 8 bytes only make it likely."""
    keys = set(clashes)
    first: dict[str, ManifestRow] = {}
    for row in read():
        if isinstance(row, RefusedRow) or _output_key(row, planner) not in keys:
            continue
        output = planner.output_url(row)
        other = first.setdefault(_fold(output), row)
        if other is not row:
            more = len(clashes) - 1
            count = f"more than {_COLLISIONS_COUNTED} others" if more >= _COLLISIONS_COUNTED else f"{more} more"
            raise ManifestError(
                f"manifest: rows {other.index} and {row.index}: {other.source_url!r} and {row.source_url!r} would both"
                f" make {output!r}{f' ({count} collide)' if more else ''}; tell them apart with"
                f" --name '{{stem}}_{{row}}_{{scale}}x.{{ext}}' or an output column"
            )


def _fold(url: str) -> str:
    """Equal for names that a file system without case or Unicode forms takes for one."""
    if url.isascii():
        return url.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", url).casefold())


def _short(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")
